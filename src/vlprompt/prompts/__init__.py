"""Prompts as data, and the interpreters that evaluate them."""

"""Interpreters: ways to evaluate prompts. `plain` defines what is right, `fast` computes nothing twice."""

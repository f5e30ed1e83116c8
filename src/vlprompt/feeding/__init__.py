"""Feeding: what turns the pictures of a split into what a method needs, once."""

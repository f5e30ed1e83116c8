"""Backbones: two frozen towers, from weights in every common layout, with their tokens and pixels."""

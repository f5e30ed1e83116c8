"""Weights: one file per layout, each from a state dict to sizes and tensors under our names; and the files they lie in."""

"""Sweeps: a grid of runs, on one machine or many, that may be interrupted anywhere and goes on where it was."""

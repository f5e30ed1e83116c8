"""Training: one loop for all methods, with its inputs, schedule, checkpoints and progress."""

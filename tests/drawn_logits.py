"""Logits whose temperature is known."""

import numpy as np

from vlprompt.temperature import log_probabilities


def drawn(seed, count=400, classes=5, scale=3.0, sharper=1.0):
    """Logits and labels that are drawn from softmax(logits / sharper)."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(count, classes)) * scale
    p = np.exp(log_probabilities(true))
    labels = np.array([rng.choice(classes, p=row) for row in p])
    return (true * sharper).astype(np.float32), labels

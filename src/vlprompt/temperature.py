"""One temperature for logits: the T of least negative log-likelihood, and the likelihood itself.

    p = softmax(logits / T)

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.
"""

from __future__ import annotations

import numpy as np

LOWEST, HIGHEST = 0.05, 20.0  # of T; without limits it runs away where every picture is right


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """log softmax(logits / T), float64, [N, C]."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the true classes, in nats. logits: [N, C]; labels: [N]."""
    return float(-log_probabilities(logits, temperature)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T within LOWEST..HIGHEST of least negative log-likelihood; 1 without pictures.

    The likelihood is convex in 1 / T, so its slope is halved down to its zero; the result is never worse than T = 1.
    """
    if not len(labels):
        return 1.0
    rows = np.arange(len(labels))
    own = logits.astype(np.float64)

    def slope(inverse: float) -> float:
        """d NLL / d (1 / T): mean logit under the probabilities less that of the true class."""
        p = np.exp(log_probabilities(logits, 1.0 / inverse))
        return float(((p * own).sum(axis=1) - own[rows, labels]).mean())

    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    if slope(low) >= 0:
        found = HIGHEST
    elif slope(high) <= 0:
        found = LOWEST
    else:
        for _ in range(40):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if slope(middle) < 0 else (low, middle)
        found = 1.0 / (low * high) ** 0.5
    return found if nll(logits, labels, found) <= nll(logits, labels) else 1.0

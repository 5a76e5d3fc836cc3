"""Temperature scaling: one number, fitted on validation, that mends over- or under-confidence.

Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2. The predicted class never changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BOUNDS = (0.05, 20.0)
# log of the smallest normal float32: what a probability of 0 is taken for.
FLOOR = -87.0


def _log_scores(scores: Floats) -> NDArray[np.float64]:
    """(N, C) logits, shifted so that each row's highest is 0 and none is below `FLOOR`."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.asarray(np.maximum(scores - scores.max(axis=1, keepdims=True), FLOOR))


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def fit_temperature(logits: Floats, labels: NDArray[np.integer]) -> float:
    """The temperature T that maximises the likelihood of `labels` under softmax(logits / T).

    The negative log-likelihood is convex in b = 1/T. A prior worth about one example, b - log b, is added: it is
    convex too, is lowest at T = 1, and keeps T finite and above zero when every example is right (or N = 0).

    Args:
        logits: (N, C) float, logits or log-probabilities; minus infinity is allowed.
        labels: (N,) int in 0..C-1.

    Returns:
        T, between 0.05 and 20. Above 1 the model was over-confident.
    """
    from scipy.optimize import brentq

    if len(labels) == 0:
        return 1.0
    scores = _log_scores(logits)
    of_truth = scores[np.arange(len(labels)), labels].sum()

    def slope(log_b: float) -> float:
        """Derivative of the objective with respect to b; it rises with b."""
        b = np.exp(log_b)
        return float((_softmax(scores * b) * scores).sum() - of_truth + 1.0 - 1.0 / b)

    low, high = -np.log(BOUNDS[1]), -np.log(BOUNDS[0])
    if slope(low) >= 0:
        return BOUNDS[1]
    if slope(high) <= 0:
        return BOUNDS[0]
    return float(np.exp(-brentq(slope, low, high, xtol=1e-6)))


def apply_temperature(probabilities: Floats, temperature: float) -> NDArray[np.float64]:
    """(N, C) probabilities after division of their logarithms by `temperature`. T = 1 leaves them as they are.

    Raises:
        ValueError: the temperature is not above zero.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above zero, not {temperature}")
    with np.errstate(divide="ignore"):
        scores = np.log(np.asarray(probabilities, dtype=np.float64))
    return _softmax(_log_scores(scores) / temperature)

"""The prior shift: one number, chosen on validation, that moves decisions between frequent and rare classes.

A classifier that was fitted to skewed classes leans to the frequent ones. Where the primary metric counts every class
alike, `logits - tau log(frequency)` decides better: post-hoc logit adjustment (Menon et al. 2021, equation 9), the
threshold moving of old for many classes at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TAUS = tuple(k / 10 for k in range(21))
"""0 leaves decisions as they are; 1 is as if all classes were equally frequent."""


def choose_shift(
    logits: NDArray[np.floating], labels: NDArray[np.int64], frequencies: NDArray[np.floating], metric: str
) -> tuple[float, NDArray[np.float32]]:
    """The tau of :data:`TAUS` with the best value of the primary metric on held-out predictions; the smallest on a tie.

    One number for all classes, not one for each: from a few dozen held-out examples more cannot be learned.

    Args:
        logits: (N, C) of examples that were not trained on.
        labels: (N,) int64, theirs.
        frequencies: (C,) share of each class among the training examples; a class with 0 is left as it is.
        metric: `accuracy` or `balanced_accuracy`.

    Returns:
        tau, and what is added to the logits (C,) float32.
    """
    logs = np.log(np.where(frequencies > 0, frequencies, 1.0))
    best, chosen = -1.0, 0.0
    for tau in TAUS:
        value = _score((logits - tau * logs).argmax(axis=1) == labels, labels, metric)
        if value > best + 1e-12:
            best, chosen = value, tau
    return chosen, (-chosen * logs).astype(np.float32)


def _score(right: NDArray[np.bool_], labels: NDArray[np.int64], metric: str) -> float:
    """The share that is right, of all examples, or as the mean over the classes that occur."""
    if metric == "accuracy":
        return float(right.mean())
    hits, counts = np.bincount(labels, weights=right), np.bincount(labels)
    return float((hits[counts > 0] / counts[counts > 0]).mean())

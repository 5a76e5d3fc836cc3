"""PARC: whether examples that differ in features differ in label."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from headstart.score.spectrum import labelled

MOST = 1_500
"""Examples that are compared with one another; of more, this many at even distances are taken."""


def parc(features: ArrayLike, labels: ArrayLike) -> float:
    """Pairwise annotation representation comparison (Bolya et al. 2021, "Scalable diverse model selection").

    Spearman's correlation, over all pairs of examples, between 1 - Pearson's correlation of their features and
    1 - Pearson's correlation of their one-hot labels. The latter has two values, so that its ranks are those of
    "different class". Of more than 1,500 examples, 1,500 at even distances in the given order are taken.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers.

    Returns:
        Between -1 and 1; larger transfers better; 0 where all pairs are alike. Unchanged by common scaling of the
        features, not by rotations: Pearson's correlation of two examples subtracts the mean over features.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    from scipy.stats import rankdata

    data = labelled(features, labels)
    rows = np.arange(len(data.X))
    if len(rows) > MOST:
        rows = np.linspace(0, len(rows) - 1, MOST).astype(np.int64)
    X, y = data.X[rows], data.y[rows]
    X = X - X.mean(axis=1, keepdims=True)
    X /= np.maximum(np.sqrt((X**2).sum(axis=1, keepdims=True)), 1e-300)
    below = np.tril_indices(len(X), -1)
    ranks = rankdata(1 - (X @ X.T)[below])
    differ = (y[:, None] != y)[below].astype(np.float64)
    ranks -= ranks.mean()
    differ -= differ.mean()
    scale = float(np.sqrt((ranks**2).sum() * (differ**2).sum()))
    return float(ranks @ differ) / scale if scale else 0.0

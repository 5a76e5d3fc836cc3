"""Nearest neighbours: the plainest use of features there is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from headstart.score.spectrum import labelled

K = 5
MOST = 2_000
"""Examples that are asked about; of more, this many at even distances are taken. All of them may answer."""


def knn_accuracy(features: ArrayLike, labels: ArrayLike) -> float:
    """Leave-one-out accuracy of the five nearest neighbours (Cover & Hart 1967), by Euclidean distance.

    Each example is given the class that most of its five nearest others have; of classes with equally many, the one
    whose neighbours are nearer. Of more than 2,000 examples, 2,000 at even distances in the given order are asked
    about.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers.

    Returns:
        Between 0 and 1; larger transfers better. Unchanged by rotations, shifts and common scaling of the features.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    X, y = data.centred(), data.y
    rows = np.arange(len(X))
    if len(rows) > MOST:
        rows = np.linspace(0, len(rows) - 1, MOST).astype(np.int64)
    k = min(K, len(X) - 1)
    Z = X.astype(np.float32) if len(X) > MOST else X  # ties by rounding do not matter among so many
    far = (Z**2).sum(axis=1) - 2 * (Z[rows] @ Z.T)  # squared distance, less what all neighbours of a row share
    far[np.arange(len(rows)), rows] = np.inf
    near = np.argpartition(far, k - 1, axis=1)[:, :k]
    order = np.take_along_axis(far, near, axis=1).argsort(axis=1, kind="stable")
    near = np.take_along_axis(near, order, axis=1)
    votes = np.zeros((len(rows), data.classes))
    for place in range(k):
        # Less than a vote in all, and no two sets of places have the same sum.
        votes[np.arange(len(rows)), y[near[:, place]]] += 1 + 0.25 * 0.5**place
    return float((votes.argmax(axis=1) == y[rows]).mean())

"""Label propagation over a graph of nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def propagate(X: Floats, Y: Floats, *, neighbours: int = 10, alpha: float = 0.9, rounds: int = 100) -> Floats:
    """Learning with local and global consistency (Zhou et al. 2004): (N, C), rows of sum 1.

    F = (1 - alpha)(I - alpha S)^-1 Y on the symmetric graph of cosine neighbours with S its normalised adjacency, by
    the iteration that converges to it, alpha^rounds from its limit.

    Args:
        X: (N, D), every example of both domains.
        Y: (N, C), one-hot where the label is known, zero where it is not.
        neighbours: of each example.
        alpha: how much of a label comes from neighbours.
        rounds: of the iteration.
    """
    from scipy.sparse import coo_array, diags_array

    Z = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    n, k = len(Z), min(neighbours, len(Z) - 1)
    near, weight = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    for start in range(0, n, 1024):
        likeness = Z[start : start + 1024] @ Z.T
        likeness[np.arange(len(likeness)), np.arange(start, start + len(likeness))] = -np.inf
        near[start : start + 1024] = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        weight[start : start + 1024] = np.take_along_axis(likeness, near[start : start + 1024], axis=1)
    # Likeness is relative to what is usual among neighbours: a width of the graph's own.
    weight = np.exp((weight - 1) / max(float((1 - weight).mean()), 1e-12))
    graph = coo_array((weight.ravel(), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n)).tocsr()
    graph = graph.maximum(graph.T)
    root = diags_array(1 / np.sqrt(np.maximum(graph.sum(axis=1), 1e-12)))
    S = root @ graph @ root
    # Every class starts with the same mass: a frequent one would flood the graph.
    start_mass = Y / np.maximum(Y.sum(axis=0), 1e-12) * Y.sum() / Y.shape[1]
    F = start_mass.copy()
    for _ in range(rounds):
        F = alpha * (S @ F) + (1 - alpha) * start_mass
    total = F.sum(axis=1, keepdims=True)
    found: Floats = np.where(total > 1e-300, F / np.maximum(total, 1e-300), 1 / Y.shape[1])
    return found

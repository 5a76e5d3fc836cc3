"""Label propagation over a graph of nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.predictor.heads import unit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
_BLOCK = 1024


def graph(X: NDArray[np.floating], *, neighbours: int = 10) -> csr_array:
    """(N, N): the symmetric graph of each example's nearest neighbours by cosine, its adjacency normalised.

    Args:
        X: (N, D), every example of both domains.
        neighbours: of each example.
    """
    from scipy.sparse import coo_array, diags_array

    Z = unit(X).astype(np.float32)
    n, k = len(Z), min(neighbours, len(Z) - 1)
    near, weight = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    for start in range(0, n, _BLOCK):
        unlike = Z[start : start + _BLOCK] @ -Z.T
        unlike[np.arange(len(unlike)), np.arange(start, start + len(unlike))] = np.inf
        near[start : start + _BLOCK] = np.argpartition(unlike, k - 1, axis=1)[:, :k]
        weight[start : start + _BLOCK] = -np.take_along_axis(unlike, near[start : start + _BLOCK], axis=1)
    # Likeness is relative to what is usual among neighbours: a width of the graph's own.
    weight = np.exp((weight - 1) / max(float((1 - weight).mean()), 1e-12))
    found = coo_array((weight.ravel(), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n)).tocsr()
    found = found.maximum(found.T)
    root = diags_array(1 / np.sqrt(np.maximum(found.sum(axis=1), 1e-12)))
    return (root @ found @ root).tocsr()


def propagate(around: csr_array, Y: Floats, *, alpha: float = 0.9, rounds: int = 100) -> Floats:
    """Learning with local and global consistency (Zhou et al. 2004): (N, C), rows of sum 1.

    F = (1 - alpha)(I - alpha S)^-1 Y on a graph of normalised adjacency S, by the iteration that converges to it,
    alpha^rounds from its limit.

    Args:
        around: (N, N), see :func:`graph`.
        Y: (N, C), one-hot where the label is known, zero where it is not.
        alpha: how much of a label comes from neighbours.
        rounds: of the iteration.
    """
    # Every class starts with the same mass: a frequent one would flood the graph.
    start_mass = Y / np.maximum(Y.sum(axis=0), 1e-12) * Y.sum() / Y.shape[1]
    F, S = start_mass.copy(), alpha * around
    for _ in range(rounds):
        F = S @ F
        F += (1 - alpha) * start_mass
    total = F.sum(axis=1, keepdims=True)
    found: Floats = np.where(total > 1e-300, F / np.maximum(total, 1e-300), 1 / Y.shape[1])
    return found

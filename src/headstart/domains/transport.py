"""Optimal transport between two domains: Sinkhorn's algorithm, transport with class regularisation, and JDOT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_TINY = np.float32(1e-30)


def sinkhorn(
    cost: Floats, epsilon: float, *, rounds: int = 200, tolerance: float = 1e-3, start: Floats | None = None
) -> Floats:
    """Entropic optimal transport between uniform marginals (Cuturi 2013): the coupling (N, M), which sums to 1.

    Scaling iterations on a float32 kernel whose potentials are taken into it whenever they grow large (Schmitzer 2019),
    so that a small epsilon does not underflow.

    Args:
        cost: (N, M).
        epsilon: strength of the entropy, in the cost's unit.
        rounds: at most.
        tolerance: of the rows' marginal, in total variation.
        start: (M,) potentials of the columns to begin with, and where those that were found are left: a problem much
            like the last one takes few rounds. None: begin anew.
    """
    n, m = cost.shape
    a, b = np.float32(1 / n), np.float32(1 / m)
    g = np.asarray(cost.min(axis=0), dtype=np.float64) if start is None or not start.any() else start.copy()
    f = (cost - g).min(axis=1)
    scaled = (cost / epsilon).astype(np.float32)

    def kernel() -> NDArray[np.float32]:
        K = (f / epsilon).astype(np.float32)[:, None] + (g / epsilon).astype(np.float32) - scaled
        return np.asarray(np.exp(K, out=K))

    K, u, v = kernel(), np.ones(n, np.float32), np.ones(m, np.float32)
    for at in range(rounds):
        u = a / np.maximum(K @ v, _TINY)
        v = b / np.maximum(u @ K, _TINY)
        if max(u.max(), v.max()) > 1e12 or min(u.min(), v.min()) < 1e-12:
            f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
            K, u, v = kernel(), np.ones(n, np.float32), np.ones(m, np.float32)
        if at % 10 == 9 and np.abs(u * (K @ v) - a).sum() < tolerance:
            break
    if start is not None:
        start[:] = g + epsilon * np.log(v)
    K *= u[:, None]
    K *= v
    return np.asarray(K, dtype=np.float64)


def class_transport(cost: Floats, ys: Labels, epsilon: float, *, strength: float = 0.1, rounds: int = 5) -> Floats:
    """Transport in which a target example receives mass of one class (Courty et al. 2017, section 4.2).

    The concave group term sum_j sum_c (sum_{i in c} G_ij)^(1/2) is majorised by its tangent, round by round.
    """
    classes = np.unique(ys)
    added, start = np.zeros_like(cost), np.zeros(cost.shape[1])
    for _ in range(rounds):
        G = sinkhorn(cost + strength * added, epsilon, start=start)
        for c in classes:
            rows = ys == c
            # Scaled by the number of targets, so that the strength means the same for any.
            added[rows] = 0.5 / np.sqrt(G[rows].sum(axis=0) * G.shape[1] + 1e-3)
    return sinkhorn(cost + strength * added, epsilon, start=start)


def carried(coupling: Floats, Xt: Floats) -> Floats:
    """(N, D): each source example at the mean of where its mass went (barycentric map; Ferradans et al. 2014)."""
    mass = np.maximum(coupling.sum(axis=1, keepdims=True), 1e-300)
    moved: Floats = (coupling @ Xt) / mass
    return moved

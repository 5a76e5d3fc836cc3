"""Optimal transport between two domains: Sinkhorn's algorithm, transport with class regularisation, and JDOT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def sinkhorn(cost: Floats, epsilon: float, *, rounds: int = 200, tolerance: float = 1e-4) -> Floats:
    """Entropic optimal transport between uniform marginals (Cuturi 2013): the coupling (N, M), which sums to 1.

    Scaling iterations on a kernel whose potentials are taken into it whenever they grow large (Schmitzer 2019), so that
    a small epsilon does not underflow.

    Args:
        cost: (N, M).
        epsilon: strength of the entropy, in the cost's unit.
        rounds: at most.
        tolerance: of the rows' marginal, in total variation.
    """
    n, m = cost.shape
    a, b = 1 / n, 1 / m
    f, g = np.zeros(n), cost.min(axis=0)

    def kernel() -> Floats:
        return np.asarray(np.exp((f[:, None] + g[None] - cost) / epsilon))

    K, u, v = kernel(), np.ones(n), np.ones(m)
    for at in range(rounds):
        u = a / np.maximum(K @ v, 1e-300)
        v = b / np.maximum(K.T @ u, 1e-300)
        if max(u.max(), v.max()) > 1e30 or min(u.min(), v.min()) < 1e-30:
            f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
            K, u, v = kernel(), np.ones(n), np.ones(m)
        if at % 10 == 9 and np.abs(u * (K @ v) - a).sum() < tolerance:
            break
    coupling: Floats = u[:, None] * K * v[None]
    return coupling


def class_transport(cost: Floats, ys: Labels, epsilon: float, *, strength: float = 0.1, rounds: int = 5) -> Floats:
    """Transport in which a target example receives mass of one class (Courty et al. 2017, section 4.2).

    The concave group term sum_j sum_c (sum_{i in c} G_ij)^(1/2) is majorised by its tangent, round by round.
    """
    classes = np.unique(ys)
    added = np.zeros_like(cost)
    for _ in range(rounds):
        G = sinkhorn(cost + strength * added, epsilon)
        for c in classes:
            rows = ys == c
            # Scaled by the number of targets, so that the strength means the same for any.
            added[rows] = 0.5 / np.sqrt(G[rows].sum(axis=0) * G.shape[1] + 1e-3)
    return sinkhorn(cost + strength * added, epsilon)


def carried(coupling: Floats, Xt: Floats) -> Floats:
    """(N, D): each source example at the mean of where its mass went (barycentric map; Ferradans et al. 2014)."""
    mass = np.maximum(coupling.sum(axis=1, keepdims=True), 1e-300)
    moved: Floats = (coupling @ Xt) / mass
    return moved

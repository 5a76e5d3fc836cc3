"""Optimal transport between two domains: Sinkhorn's algorithm, transport with class regularisation, and JDOT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Costs = NDArray[np.floating]
Labels = NDArray[np.int64]

_TINY = np.float32(1e-30)
_RELAXED = 1.7


def sinkhorn(
    cost: NDArray[np.floating],
    epsilon: float,
    *,
    rounds: int = 100,
    tolerance: float = 1e-3,
    start: Floats | None = None,
) -> Singles:
    """Entropic optimal transport between uniform marginals (Cuturi 2013): the coupling (N, M), which sums to 1.

    Scaling iterations on a float32 kernel whose potentials are taken into it whenever they grow large (Schmitzer 2019),
    so that a small epsilon does not underflow. Steps are 1.7 times as long (Thibault et al. 2021), which takes about a
    third of the rounds; from the first time that this leads away from the marginals they are plain.

    Args:
        cost: (N, M).
        epsilon: strength of the entropy, in the cost's unit.
        rounds: at most.
        tolerance: of the rows' marginal, in total variation.
        start: (M,) potentials of the columns to begin with, and where those that were found are left: a problem much
            like the last one takes few rounds. None: begin anew.
    """
    cost = cost.astype(np.float32, copy=False)
    n, m = cost.shape
    a, b = np.float32(1 / n), np.float32(1 / m)
    g = np.asarray(cost.min(axis=0), dtype=np.float64) if start is None or not start.any() else start.copy()
    f = np.asarray((cost - g.astype(np.float32)).min(axis=1), dtype=np.float64)

    def kernel() -> Singles:
        K = (f / epsilon).astype(np.float32)[:, None] - cost * np.float32(1 / epsilon)
        K += (g / epsilon).astype(np.float32)
        return np.asarray(np.exp(K, out=K))

    def step(old: Singles, new: Singles) -> Singles:
        return new if power == 1 else old * np.clip(new / old, 1e-9, 1e9) ** power

    K, u, v = kernel(), np.ones(n, np.float32), np.ones(m, np.float32)
    power, last = np.float32(1), np.inf
    for at in range(rounds):
        u = step(u, a / np.maximum(K @ v, _TINY))
        v = step(v, b / np.maximum(u @ K, _TINY))
        if max(u.max(), v.max()) > 1e12 or min(u.min(), v.min()) < 1e-12:
            f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
            K, u, v = kernel(), np.ones(n, np.float32), np.ones(m, np.float32)
        if at % 10 == 9 or at == rounds - 1:
            v = b / np.maximum(u @ K, _TINY)
            error = float(np.abs(u * (K @ v) - a).sum())
            if error < tolerance:
                break
            power, last = np.float32(1 if error > last else power), error
        elif at == 4:
            power = np.float32(_RELAXED)
    if start is not None:
        start[:] = g + epsilon * np.log(v)
    K *= u[:, None]
    K *= v
    return K


def class_transport(
    cost: NDArray[np.floating], ys: Labels, epsilon: float, *, strength: float = 0.1, rounds: int = 5
) -> Singles:
    """Transport in which a target example receives mass of one class (Courty et al. 2017, section 4.2).

    The concave group term sum_j sum_c (sum_{i in c} G_ij)^(1/2) is majorised by its tangent, round by round.
    """
    classes, group = np.unique(ys, return_inverse=True)
    members = np.asarray(group == np.arange(len(classes))[:, None], dtype=np.float32)
    start = np.zeros(cost.shape[1])
    G = sinkhorn(cost, epsilon, start=start)
    for _ in range(rounds):
        # Scaled by the number of targets, so that the strength means the same for any.
        added = strength * 0.5 / np.sqrt(members @ G * G.shape[1] + np.float32(1e-3))
        G = sinkhorn(cost + added.astype(np.float32)[group], epsilon, start=start)
    return G


def carried(coupling: Singles, Xt: NDArray[np.floating]) -> Singles:
    """(N, D): each source example at the mean of where its mass went (barycentric map; Ferradans et al. 2014)."""
    mass = np.maximum(coupling.sum(axis=1, keepdims=True), _TINY)
    moved: Singles = (coupling @ Xt.astype(np.float32)) / mass
    return moved

"""TransRate: how many more bits the features take together than class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from headstart.score.spectrum import Floats, labelled

EPSILON = 1e-4
"""Distortion, as in the paper."""


def transrate(features: ArrayLike, labels: ArrayLike) -> float:
    """TransRate (Huang et al. 2022, "Frustratingly easy transferability estimation").

    R(Z) - sum_k n_k / N R(Z_k), with the coding rate R(Z) = 1/2 log det(I + Z'Z / (n e)) of n rows at distortion
    e = 1e-4; Z are the centred features and Z_k those of class k. Z is first scaled to tr(Z'Z) / N = 1, so that sources
    whose features differ in size can be compared.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers.

    Returns:
        Nats, at least 0; larger transfers better. Unchanged by rotations, shifts and common scaling of the features.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    Z = data.centred()
    total = (Z**2).sum() / len(Z)
    if total == 0:
        return 0.0
    Z /= np.sqrt(total)
    parts = sum(size / len(Z) * _rate(Z[data.y == k]) for k, size in enumerate(data.sizes))
    return _rate(Z) - float(parts)


def _rate(Z: Floats) -> float:
    """1/2 log det(I + Z'Z / (n e)), through the smaller of the two Gram matrices."""
    gram = Z @ Z.T if len(Z) <= Z.shape[1] else Z.T @ Z
    gram /= len(Z) * EPSILON
    gram[np.diag_indices(len(gram))] += 1
    return float(np.log(np.diagonal(np.linalg.cholesky(gram))).sum())

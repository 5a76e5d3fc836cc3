"""GBC: how much the classes overlap, each taken for a Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from headstart.score.spectrum import labelled, principal

WIDTH = 64
"""Principal axes that are kept, as in the paper."""


def gbc(features: ArrayLike, labels: ArrayLike) -> float:
    """Gaussian Bhattacharyya coefficient (Pandy et al. 2022, "Transferability estimation using Bhattacharyya ...").

    -sum_{i != j} exp(-B(i, j)) over ordered pairs of classes, where B is the Bhattacharyya distance between Gaussians
    with the means and the spherical covariances s_k I of the classes, on the first d = 64 principal axes:
    B = |m_i - m_j|^2 / (8 s) + d / 2 log(s / sqrt(s_i s_j)), s = (s_i + s_j) / 2. A variance is at least a millionth
    of the features' own, for classes with a single example or copies of one.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers, K classes.

    Returns:
        Between -K (K - 1) and 0; larger transfers better. Unchanged by rotations, shifts and common scaling of the
        features.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    Z, K = principal(data.centred(), WIDTH), data.classes
    if not Z.shape[1]:
        return -float(K * (K - 1))
    Y, d = data.one_hot(), Z.shape[1]
    means = Y.T @ Z / data.sizes[:, None]
    spread = Y.T @ ((Z - means[data.y]) ** 2).mean(axis=1) / data.sizes
    spread = np.maximum(spread, 1e-6 * (Z**2).mean())
    between = (spread[:, None] + spread) / 2
    distances = ((means[:, None] - means) ** 2).sum(axis=2)
    B = distances / (8 * between) + d / 2 * np.log(between / np.sqrt(spread[:, None] * spread))
    return -float(np.exp(-B)[~np.eye(K, dtype=bool)].sum())

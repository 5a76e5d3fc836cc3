"""The eigenbasis that closed-form scores share: of X'X or of XX', whichever is smaller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Features and labels, checked.

    Args:
        X: (N, D) float64.
        y: (N,) int64 in 0..K-1; classes without an example are not counted.
        sizes: (K,) float64, examples of each class.
    """

    X: Floats
    y: Labels
    sizes: Floats

    @property
    def classes(self) -> int:
        """K."""
        return len(self.sizes)

    def one_hot(self) -> Floats:
        """(N, K) float64: 1 where an example is of the class."""
        return np.asarray(self.y[:, None] == np.arange(self.classes), dtype=np.float64)

    def centred(self) -> Floats:
        """X without its mean, (N, D)."""
        return np.asarray(self.X - self.X.mean(axis=0))


@dataclass(frozen=True)
class Spectrum:
    """What a score needs of X = U diag(sqrt(v)) V': its squared singular values, and the labels in its left basis.

    Args:
        values: (r,) float64, v, those above rounding error; r is the rank of X.
        projections: (r, K) float64, U'Y for one-hot labels Y.
    """

    values: Floats
    projections: Floats


def labelled(features: ArrayLike, labels: ArrayLike) -> Labelled:
    """Check the arguments of a score.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers; any values, of which only equality counts.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    X, given = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if X.ndim != 2 or given.shape != (len(X),) or not X.shape[1]:
        raise ValueError(f"features {X.shape} and labels {given.shape}, expected (N, D) and (N,)")
    if not np.isfinite(X).all():
        raise ValueError("features that are not finite")
    _, y, sizes = np.unique(given, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(f"{len(sizes)} class, expected at least two")
    return Labelled(X, y.astype(np.int64), sizes.astype(np.float64))


def spectrum(X: Floats, Y: Floats) -> Spectrum:
    """The spectrum of X and the labels in its left basis, by one eigendecomposition of the smaller Gram matrix.

    Args:
        X: (N, D) float64.
        Y: (N, K) float64.
    """
    if len(X) <= X.shape[1]:
        values, basis = np.linalg.eigh(X @ X.T)
        kept = _above_rounding(values, X.shape)
        return Spectrum(values[kept], basis[:, kept].T @ Y)
    values, basis = np.linalg.eigh(X.T @ X)
    kept = _above_rounding(values, X.shape)
    return Spectrum(values[kept], (basis[:, kept].T @ (X.T @ Y)) / np.sqrt(values[kept])[:, None])


def principal(X: Floats, width: int) -> Floats:
    """Centred X on its first principal axes, (N, min(width, rank)) float64, the axis of largest variance first."""
    if len(X) <= X.shape[1]:
        values, basis = np.linalg.eigh(X @ X.T)
        kept = np.flatnonzero(_above_rounding(values, X.shape))[::-1][:width]
        on_axes: Floats = basis[:, kept] * np.sqrt(values[kept])
        return on_axes
    values, basis = np.linalg.eigh(X.T @ X)
    kept = np.flatnonzero(_above_rounding(values, X.shape))[::-1][:width]
    return np.asarray(X @ basis[:, kept])


def _above_rounding(values: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which eigenvalues of a Gram matrix are more than rounding error."""
    above: NDArray[np.bool_] = values > max(float(values[-1]), 0.0) * max(shape) * np.finfo(np.float64).eps
    return above

"""Maps that bring two domains together: moments, CORAL, subspace alignment, TCA and JDA. Closed forms.

Xs is (N, D) of the source, Xt (M, D) of the target, each standardised by its own moments. What comes back is a map of
the source and a map of the target: x -> x @ map, (D, d) each. A classifier is fitted on the mapped source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

WIDEST = 256
"""TCA and JDA work on so many principal components of both domains at most."""


@dataclass(frozen=True)
class Maps:
    """Two linear maps into one space: `source` and `target`, (D, d) each."""

    source: Floats
    target: Floats


def coral(Xs: Floats, Xt: Floats, *, ridge: float = 100.0) -> Maps:
    """CORAL (Sun, Feng & Saenko 2016): whiten the source, then give it the target's covariance.

    source @ (Cs + ridge I)^(-1/2) (Ct + ridge I)^(1/2); the target stays as it is.
    """
    (white, color) = (_power(_covariance(X, ridge), power) for X, power in ((Xs, -0.5), (Xt, 0.5)))
    return Maps(white @ color, np.eye(Xs.shape[1]))


def _covariance(X: Floats, ridge: float) -> Floats:
    centred = X - X.mean(axis=0)
    covariance: Floats = centred.T @ centred / max(len(X) - 1, 1) + ridge * np.eye(X.shape[1])
    return covariance


def _power(C: Floats, power: float) -> Floats:
    """A power of a positive definite matrix."""
    values, V = np.linalg.eigh(C)
    raised: Floats = (V * np.maximum(values, 1e-12) ** power) @ V.T
    return raised


def directions(X: Floats, most: int) -> Floats:
    """(D, d): the first principal axes of X, by the smaller Gram matrix."""
    centred = X - X.mean(axis=0)
    most = min(most, *centred.shape)
    if len(X) < X.shape[1]:
        values, Q = np.linalg.eigh(centred @ centred.T)
        keep = np.argsort(-values)[: min(most, int((values > 1e-9 * max(values.max(), 1e-300)).sum()) or 1)]
        axes = centred.T @ Q[:, keep]
        return np.asarray(axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12))
    values, V = np.linalg.eigh(centred.T @ centred)
    return np.asarray(V[:, np.argsort(-values)[:most]])


def subspace(Xs: Floats, Xt: Floats, *, width: int = 30) -> Maps:
    """Subspace alignment (Fernando et al. 2013): the principal axes of one domain, turned towards the other's.

    source @ Ps, target @ Pt Pt' Ps. Products of mapped examples, x_s' Ps Ps' Pt Pt' x_t, are those of the paper, which
    turns the source instead. A classifier fitted on source @ Ps Ps' Pt would weigh most the columns in which the turned
    source is all but nil and the target is not; here a target never stands out where the source does not.
    """
    Ps, Pt = directions(Xs, width), directions(Xt, width)
    d = min(Ps.shape[1], Pt.shape[1])
    Ps, Pt = Ps[:, :d], Pt[:, :d]
    return Maps(Ps, Pt @ (Pt.T @ Ps))


def mean_gaps(Xs: Floats, Xt: Floats, ys: Labels | None = None, yt: Labels | None = None) -> Floats:
    """(K, D): the difference of the domains' means, then that of each class that both have.

    Their sum of squares, after a projection W, is tr(W'X'M X W) of the papers on MMD-based adaptation.

    Args:
        Xs: (N, D).
        Xt: (M, D).
        ys: (N,) labels; None: the first row alone (TCA).
        yt: (M,) pseudo-labels (JDA).
    """
    rows = [Xs.mean(axis=0) - Xt.mean(axis=0)]
    if ys is not None and yt is not None:
        rows += [Xs[ys == c].mean(axis=0) - Xt[yt == c].mean(axis=0) for c in np.intersect1d(ys, yt)]
    return np.stack(rows)


@dataclass(frozen=True)
class Reduced:
    """Both domains on the principal components of their union, scaled to a mean length of 1.

    Args:
        axes: (D, r), with the scale in it.
        source: (N, r).
        target: (M, r).
    """

    axes: Floats
    source: Floats
    target: Floats


def reduced(Xs: Floats, Xt: Floats) -> Reduced:
    """What TCA and JDA start from, however many rounds they take."""
    X = np.concatenate([Xs, Xt])
    axes = directions(X, WIDEST)
    Z = (X - X.mean(axis=0)) @ axes
    scale = max(float(np.sqrt((Z**2).sum(axis=1).mean())), 1e-12)
    return Reduced(axes / scale, Z[: len(Xs)] / scale, Z[len(Xs) :] / scale)


def tca(
    start: Reduced, *, width: int = 30, mu: float = 1.0, ys: Labels | None = None, yt: Labels | None = None
) -> Floats:
    """Transfer component analysis (Pan et al. 2011) with a linear kernel; with labels JDA's step (Long et al. 2013).

    min tr(W'X'M X W) + mu tr(W'W) subject to W'X'H X W = I: the generalised eigenvectors of the smallest values.

    Returns:
        (D, d), one map for both domains.
    """
    from scipy.linalg import eigh

    Z = np.concatenate([start.source, start.target])
    gaps = mean_gaps(start.source, start.target, ys, yt)
    distance = len(Z) * gaps.T @ gaps / len(gaps) + mu * np.eye(Z.shape[1])
    centred = Z - Z.mean(axis=0)
    d = min(width, Z.shape[1])
    # The largest of the inverse problem are the smallest of this one; `distance` is the well-conditioned side.
    _, W = eigh(centred.T @ centred, distance, subset_by_index=[Z.shape[1] - d, Z.shape[1] - 1])
    return np.asarray(start.axes @ W[:, ::-1])

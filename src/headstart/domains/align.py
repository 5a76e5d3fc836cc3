"""Maps that bring two domains together: moments, CORAL, subspace alignment, TCA and JDA. Closed forms.

Each domain is standardised by its own moments. What comes back is a map of the source and a map of the target: x -> x @
map, (D, d) each. A classifier is fitted on the mapped source. CORAL and subspace alignment know a domain by its
principal axes: :attr:`headstart.score.ridge.Design.axes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.score.ridge import Axes, Design

Floats = NDArray[np.float64]
Features = NDArray[np.floating]
Labels = NDArray[np.int64]

RIDGE = 100.0
"""What CORAL usually adds to both covariances."""
WIDEST = 256
"""TCA and JDA work on so many principal components of both domains at most."""


@dataclass(frozen=True)
class Maps:
    """Two linear maps into one space: `source` and `target`, (D, d) each; None: it stays as it is."""

    source: Features
    target: Features | None


def coral(source: Axes, target: Axes, *, ridge: float = RIDGE) -> Maps:
    """CORAL (Sun, Feng & Saenko 2016): whiten the source, then give it the target's covariance.

    source @ (Cs + ridge I)^(-1/2) (Ct + ridge I)^(1/2); the target stays as it is.
    """
    return Maps(_power(source, ridge, -0.5) @ _power(target, ridge, 0.5), None)


def _power(axes: Axes, ridge: float, power: float) -> Features:
    """(D, D): a power of a domain's covariance plus a ridge."""
    A = axes.directions
    variances = axes.squares.astype(np.float64) / max(axes.examples - 1, 1)
    # Where no example varies the covariance is nil.
    elsewhere = max(ridge, 1e-12) ** power if A.shape[1] < len(A) else 0.0
    raised = (A * (np.maximum(variances + ridge, 1e-12) ** power - elsewhere).astype(A.dtype)) @ A.T
    raised[np.diag_indices(len(A))] += A.dtype.type(elsewhere)
    return np.asarray(raised)


def directions(X: Features, most: int) -> Features:
    """(D, d): the first principal axes of X, by the smaller Gram matrix."""
    return np.asarray(Design(X, single=True).axes.directions[:, :most])


def subspace(source: Axes, target: Axes, *, width: int = 30) -> Maps:
    """Subspace alignment (Fernando et al. 2013): the principal axes of one domain, turned towards the other's.

    source @ Ps, target @ Pt Pt' Ps. Products of mapped examples, x_s' Ps Ps' Pt Pt' x_t, are those of the paper, which
    turns the source instead. A classifier fitted on source @ Ps Ps' Pt would weigh most the columns in which the turned
    source is all but nil and the target is not; here a target never stands out where the source does not.
    """
    Ps, Pt = source.directions[:, :width], target.directions[:, :width]
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
        squares: (r,) sum of squares of both along each component, about their common mean.
    """

    axes: Floats
    source: Floats
    target: Floats
    squares: Floats


def reduced(Xs: Features, Xt: Features) -> Reduced:
    """What TCA and JDA start from, however many rounds they take."""
    X = np.concatenate([Xs, Xt])
    found = Design(X, single=True).axes
    axes, squares = found.directions[:, :WIDEST], found.squares[:WIDEST].astype(np.float64)
    Z = ((X - X.mean(axis=0)) @ axes).astype(np.float64)
    scale = max(float(np.sqrt((Z**2).sum(axis=1).mean())), 1e-12)
    return Reduced(axes.astype(np.float64) / scale, Z[: len(Xs)] / scale, Z[len(Xs) :] / scale, squares / scale**2)


def tca(
    start: Reduced, *, width: int = 30, mu: float = 1.0, ys: Labels | None = None, yt: Labels | None = None
) -> Floats:
    """Transfer component analysis (Pan et al. 2011) with a linear kernel; with labels JDA's step (Long et al. 2013).

    min tr(W'X'M X W) + mu tr(W'W) subject to W'X'H X W = I: the generalised eigenvectors of the smallest values. On
    principal components X'H X is diagonal, and what stands against it is mu I + G'G with a row of G for each difference
    of means, so that its root has a closed form and an ordinary eigenproblem is left.

    Returns:
        (r, d), one map for both domains on the components of `start`; `start.axes` times it is one on features.
    """
    from scipy.linalg import eigh

    gaps = mean_gaps(start.source, start.target, ys, yt)
    total = len(start.source) + len(start.target)
    _, sizes, Q = np.linalg.svd(np.sqrt(total / len(gaps)) * gaps, full_matrices=False)
    shorter = (1 - np.sqrt(mu / (mu + sizes**2))) * Q.T  # (mu I + G'G)^(-1/2) = (I - shorter @ Q) / sqrt(mu)
    half = np.diag(np.sqrt(start.squares)) - (np.sqrt(start.squares)[:, None] * shorter) @ Q
    d, r = min(width, len(start.squares)), len(start.squares)
    # To find all eigenvectors by halves is no slower than to find some by another way.
    V = eigh(half.T @ half, driver="evd", overwrite_a=True, check_finite=False)[1][:, r - d :]
    return np.asarray((V - shorter @ (Q @ V))[:, ::-1] / np.sqrt(mu))

"""What features of several stages are worth: an importance for each stage, or for each feature."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.machine import one_thread
from headstart.score.ridge import one_hot, solve, standardise
from headstart.target.split import stratified_sample

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]

MOST = (
    500  # examples that importances are learned from: a step takes N^2 D operations, and a handful of numbers is sought
)
PRIOR = 0.005  # weight of the squared distance of the log importances from their mean, against a loss that starts at 1
LEAST = 0.01  # of the largest importance: a band that has less is left out
SHARPNESS = 0.05  # penalty of the group lasso, as a share of the one at which nothing is selected
_BOUNDS = (-12.0, 12.0)  # of the log importances


def importances(X: Floats, y: Labels, classes: int, widths: Sequence[int]) -> Doubles:
    """How much each band of features is to be trusted in a ridge regression, learned in closed form and by gradient.

    Banded ridge regression (Nunez-Elizalde, Huth & Gallant 2019; Dupré la Tour et al. 2022) gives each band g of
    features a penalty 1 / w_g of its own, which is ridge regression with the kernel K = sum_g w_g Z_g Z_g'. With
    G = (K + I)^-1 and centred Z and Y, the leave-one-out residual of example i is (G Y)_i / (G_ii - 1/N), and the mean
    of its square has a gradient in w, because dG = -G Z_g Z_g' G dw_g. It is followed (L-BFGS) from equal importances
    at the best common penalty, that is from plain ridge regression. A small prior pulls the log importances together,
    or a dozen bands would be fitted to the chance of some hundred examples.

    Args:
        X: (N, D) float32. Of more than `MOST` examples a sample is taken, stratified and always the same.
        y: (N,) int64 in 0..classes-1.
        classes: C.
        widths: of the G bands, in the order of the columns; they sum to D.

    Returns:
        (G,) float64, the largest 1; those below `LEAST` are 0.
    """
    if len(y) > MOST:
        rows = stratified_sample(y, MOST, seed=0)
        X, y = X[rows], y[rows]
    mean, scale = standardise(X)
    ends = np.cumsum([0, *widths])
    Z = [((X[:, a:b] - mean[a:b]) / scale[a:b]).astype(np.float64) for a, b in itertools.pairwise(ends)]
    Y = one_hot(y, classes)
    Y -= Y.mean(axis=0)
    kernels = [band @ band.T for band in Z]
    start = np.full(len(Z), -np.log(solve(X, y, classes).penalty)).clip(*_BOUNDS)
    at_start = left_out_loss(start, kernels, Y)[0]
    if len(Z) == 1 or not at_start > 0:
        return np.ones(len(Z))

    def objective(log_w: Doubles) -> tuple[float, Doubles]:
        loss, slope = left_out_loss(log_w, kernels, Y)
        off = log_w - log_w.mean()
        return loss / at_start + PRIOR * float((off**2).sum()), slope / at_start + 2 * PRIOR * off

    with profile.phase("import"):
        from scipy.optimize import minimize

    with one_thread():
        found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * len(Z))
    w = np.exp(found.x - found.x.max())
    return np.where(w >= LEAST, w, 0.0)


def left_out_loss(log_w: Doubles, kernels: Sequence[Doubles], Y: Doubles) -> tuple[float, Doubles]:
    """The mean squared leave-one-out residual of banded ridge regression, and its gradient.

    Args:
        log_w: (G,) logarithms of the importances.
        kernels: G of (N, N), of centred features.
        Y: (N, C), centred.
    """
    N = len(Y)
    weighted = [np.exp(a) * kernel for a, kernel in zip(log_w, kernels, strict=True)]
    G = np.linalg.inv(sum(weighted) + np.eye(N))
    spare = np.maximum(np.diag(G) - 1 / N, 1e-9)[:, None]
    GY = G @ Y
    residual = GY / spare
    # For a step of the logarithm d(GY) = -G K GY and d(G_ii) = -(G K G)_ii. Either is in the end a sum over
    # K times a matrix that all bands have in common.
    by = residual / spare
    common = (G * (by * residual).sum(axis=1)) @ G - (G @ by) @ GY.T
    slope = np.array([2 * float(np.vdot(kernel, common)) / N for kernel in weighted])
    return float((residual**2).sum()) / N, slope


def relevance(X: Floats, y: Labels, classes: int) -> Doubles:
    """How much each feature contributes to a classifier that may use few: Head2Toe's score (Evci et al. 2022, eq. 3).

    The length of the feature's row in the matrix W of a group lasso, min |Y - Z W|^2 / 2N + a sum_j |w_j|: a feature
    serves all classes or none (Yuan & Lin 2006; scikit-learn's coordinate descent). Most are 0.

    Args:
        X: (N, D) float32. Of more than `MOST` examples a sample is taken, stratified and always the same.
        y: (N,) int64 in 0..classes-1.
        classes: C.

    Returns:
        (D,) float64.
    """
    import warnings

    with profile.phase("import"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import MultiTaskLasso

    if len(y) > MOST:
        rows = stratified_sample(y, MOST, seed=0)
        X, y = X[rows], y[rows]
    mean, scale = standardise(X)
    Z = ((X - mean) / scale).astype(np.float64)
    Y = one_hot(y, classes)
    Y -= Y.mean(axis=0)
    nothing = float(np.sqrt(((Z.T @ Y) ** 2).sum(axis=1)).max()) / len(Z)
    if not nothing > 0:
        return np.zeros(X.shape[1])
    model = MultiTaskLasso(alpha=SHARPNESS * nothing, fit_intercept=False, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        # The order of the features is wanted, not the optimum to the last digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(Z, Y)
    return np.asarray(np.sqrt((model.coef_**2).sum(axis=0)))

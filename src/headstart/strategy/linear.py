"""Linear and kernel machines on vectors: what probes and classical baselines share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.machine import one_thread
from headstart.predictor import KernelHead, LinearHead
from headstart.predictor.calibration import fit_temperature
from headstart.predictor.heads import gaussian
from headstart.score.ridge import Solution, solve, standardise

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]

TOLERANCE = 1e-3  # of the conditions of a kernel machine's optimum


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge classifier.

    Args:
        head: the linear map on raw vectors.
        penalty: the chosen lambda.
        left_out: (N, C) leave-one-out scores at that lambda: what each example would have scored had it not been
            trained on.
    """

    head: LinearHead
    penalty: float
    left_out: Floats

    @classmethod
    def of(cls, found: Solution) -> Ridge:
        """From what :mod:`headstart.score.ridge` found, in either precision."""
        weight, bias, left_out = (a.astype(np.float32, copy=False) for a in (found.weight, found.bias, found.left_out))
        return cls(LinearHead(weight, bias), found.penalty, left_out)

    def as_logits(self, y: Labels) -> LinearHead:
        """The head, scaled so that the leave-one-out scores are likely as logits.

        Ridge scores lie near -1 and +1; under a softmax they would be far too timid.

        Args:
            y: (N,) int64, the labels it was fitted on.
        """
        scale = np.float32(1.0 / fit_temperature(self.left_out, y))
        return LinearHead(self.head.weight * scale, self.head.bias * scale)

    def left_out_logits(self, y: Labels) -> Floats:
        """(N, C): the leave-one-out scores on the scale of :meth:`as_logits`."""
        return self.left_out * np.float32(1.0 / fit_temperature(self.left_out, y))


def ridge(X: Floats, y: Labels, classes: int, importance: Floats | None = None) -> Ridge:
    """Ridge regression to one-hot targets in {-1, +1}, its penalty chosen by leave-one-out, all in closed form.

    See :func:`headstart.score.ridge.solve`.

    Args:
        X: (N, D) float32.
        y: (N,) int64 in 0..classes-1.
        classes: C.
        importance: (D,) float32, by which each feature's penalty is divided; None: all have the same.
    """
    return Ridge.of(solve(X, y, classes, importance=importance))


def logistic(
    X: Floats, y: Labels, classes: int, C: float, importance: Floats | None = None, *, standard: bool = True
) -> LinearHead:
    """Multinomial logistic regression, L2 penalty 1 / C; what scikit-learn's finds, without waiting for its import.

    Args:
        X: (N, D) float32.
        y: (N,) int64 in 0..classes-1; a class without examples gets a logit below all others.
        classes: number of classes.
        C: inverse penalty, as scikit-learn defines it.
        importance: (D,) float32, by which each feature's penalty is divided; None: all have the same.
        standard: standardise the vectors first. Not where their length means something and examples are so few that
            the deviation of each number would be a guess.
    """
    present, truth = np.unique(y, return_inverse=True)
    if len(present) == 1:
        return LinearHead(
            np.zeros((classes, X.shape[1]), dtype=np.float32),
            np.where(np.arange(classes) == present[0], 0.0, -1e4).astype(np.float32),
        )
    mean, scale = standardise(X) if standard else (np.float32(0), np.float32(1))
    if importance is not None:
        with np.errstate(divide="ignore"):
            scale = (scale / np.sqrt(importance)).astype(np.float32)
    with one_thread():
        found = _likeliest(((X - mean) / scale).astype(np.float64), truth, 1 / (C * len(X)))
    weight, bias = np.zeros((classes, X.shape[1])), np.full(classes, -1e4)
    weight[present], bias[present] = found[:, :-1], found[:, -1]
    weight /= scale
    return LinearHead(weight.astype(np.float32), (bias - weight @ np.broadcast_to(mean, X.shape[1])).astype(np.float32))


def _likeliest(Z: Doubles, y: Labels, penalty: float) -> Doubles:
    """(K, D + 1) weights, and offsets in the last column, of multinomial logistic regression on (N, D).

    Minimised (L-BFGS, from nothing) is the mean negative log-likelihood plus penalty / 2 times the squared weights; of
    two classes it is the difference of their weights that is penalised, as scikit-learn does.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    N, D = Z.shape
    K = int(y.max()) + 1
    fixed = int(K == 2)  # the first of two classes has a logit of 0
    rows = np.arange(N)

    def objective(flat: Doubles) -> tuple[float, Doubles]:
        W = flat.reshape(K - fixed, D + 1)
        logits = np.zeros((N, K))
        logits[:, fixed:] = Z @ W[:, :D].T + W[:, D]
        logs = log_softmax(logits, axis=1)
        loss = -logs[rows, y].mean() + penalty / 2 * (W[:, :D] ** 2).sum()
        residual = np.exp(logs)
        residual[rows, y] -= 1
        residual = residual[:, fixed:] / N
        return float(loss), np.column_stack([residual.T @ Z + penalty * W[:, :D], residual.sum(axis=0)]).ravel()

    # 300 steps are enough for a probe; an optimum to the last digit changes no prediction worth having.
    how = {"maxiter": 300, "maxls": 50, "gtol": 1e-3, "ftol": 64 * np.finfo(float).eps}
    found = minimize(objective, np.zeros((K - fixed) * (D + 1)), jac=True, method="L-BFGS-B", options=how)
    W = found.x.reshape(K - fixed, D + 1)
    return np.concatenate([-W, W]) / 2 if fixed else W


def kernel_machine(X: Floats, y: Labels, classes: int, C: float) -> KernelHead:
    """One-versus-rest support vector machines with one Gaussian kernel, width by the usual 1 / D rule.

    Args:
        X: (N, D) float32; the N x N kernel is held in memory.
        y: (N,) int64.
        classes: number of classes.
        C: the price of an example on the wrong side.
    """
    mean, scale = standardise(X)
    Z = (X - mean) / scale
    gamma = 1.0 / X.shape[1]
    K = gaussian(Z, Z, gamma)
    coefficients, bias = np.zeros((len(X), classes)), np.full(classes, -1e4)
    for c in range(classes):
        positive = y == c
        if positive.all() or not positive.any():
            bias[c] = 1.0 if positive.all() else -1e4
            continue
        if classes == 2 and c == 1:
            coefficients[:, 1], bias[1] = -coefficients[:, 0], -bias[0]
        else:
            coefficients[:, c], bias[c] = _machine(K, np.where(positive, 1.0, -1.0), C)
    used = np.flatnonzero(np.abs(coefficients).sum(axis=1) > 0)
    return KernelHead(
        support=Z[used],
        coefficients=coefficients[used].astype(np.float32),
        bias=bias.astype(np.float32),
        gamma=np.array(gamma, dtype=np.float32),
        mean=mean,
        scale=scale,
    )


def _machine(K: Floats, signs: Doubles, C: float) -> tuple[Doubles, float]:
    """A support vector machine of one class against the others: (N,) coefficients of the kernel, and the offset.

    Sequential minimal optimisation: of two examples at a time the coefficients, which sum to zero, are moved against
    each other. The first violates the conditions of the optimum most; with the second, the dual gains most to second
    order (Fan, Chen & Lin 2005; libsvm, whose steps and tolerance these are).

    Args:
        K: (N, N) a kernel that is 1 of an example with itself.
        signs: (N,) +1 for the class, -1 for the others.
        C: a coefficient lies between 0 and C times its sign.
    """
    low, high = np.minimum(0.0, C * signs), np.maximum(0.0, C * signs)
    found, slope = np.zeros(len(K)), signs.copy()
    up, down = found < high, found > low  # what may be moved
    while True:
        i = int(np.where(up, slope, -np.inf).argmax())
        gap = np.where(down, slope[i] - slope, 0.0)
        if not gap.max() >= TOLERANCE:  # nor for ever where something is not a number
            break
        curvature = np.maximum(2 - 2 * K[i], 1e-12)
        j = int((gap * np.abs(gap) / curvature).argmax())
        step = min(gap[j] / curvature[j], high[i] - found[i], found[j] - low[j])
        # Exactly the bound where it is reached: what is left of it by rounding would be moved for ever.
        found[i] = high[i] if step == high[i] - found[i] else found[i] + step
        found[j] = low[j] if step == found[j] - low[j] else found[j] - step
        for k in (i, j):
            up[k], down[k] = found[k] < high[k], found[k] > low[k]
        slope -= step * (K[i] - K[j])
    free = up & down
    if free.any():
        return found, float(slope[free].mean())
    return found, float(slope[up].max() + slope[down].min()) / 2


def ridge_seconds(examples: int, width: int, classes: int) -> float:
    """About what :func:`ridge` takes on two cores: a Gram matrix, its eigendecomposition, and what is left out."""
    small, large = sorted((examples, width))
    solving = 2.8e-11 * small**2 * large + 9.3e-11 * small**3
    return solving + 6.4e-10 * examples * small * classes + 2.1e-8 * examples * width


def logistic_seconds(examples: int, width: int, classes: int) -> float:
    """About what :func:`logistic` takes on two cores: some dozens of passes over the features."""
    return 1.6e-9 * examples * width * classes + 2.1e-8 * examples * width


def kernel_seconds(examples: int, width: int, classes: int) -> float:
    """About what :func:`kernel_machine` takes: the kernel, and for each class two steps an example."""
    steps = 2 * examples * classes
    return 2e-11 * examples**2 * width + steps * (1.5e-5 + 5e-9 * examples) + 1e-3 * classes + 2.1e-8 * examples * width

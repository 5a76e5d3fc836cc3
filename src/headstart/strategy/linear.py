"""Linear and kernel machines on vectors: what probes and classical baselines share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.machine import one_thread
from headstart.predictor import KernelHead, LinearHead
from headstart.predictor.calibration import fit_temperature
from headstart.predictor.heads import gaussian
from headstart.score.ridge import Solution, solve, standardise

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


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
    """Multinomial logistic regression, L2 penalty 1 / C (scikit-learn, lbfgs).

    Args:
        X: (N, D) float32.
        y: (N,) int64 in 0..classes-1; a class without examples gets a logit below all others.
        classes: number of classes.
        C: inverse penalty, as scikit-learn defines it.
        importance: (D,) float32, by which each feature's penalty is divided; None: all have the same.
        standard: standardise the vectors first. Not where their length means something and examples are so few that
            the deviation of each number would be a guess.
    """
    import warnings

    with profile.phase("import"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

    if len(present := np.unique(y)) == 1:
        return LinearHead(
            np.zeros((classes, X.shape[1]), dtype=np.float32),
            np.where(np.arange(classes) == present[0], 0.0, -1e4).astype(np.float32),
        )
    mean, scale = standardise(X) if standard else (np.float32(0), np.float32(1))
    if importance is not None:
        with np.errstate(divide="ignore"):
            scale = (scale / np.sqrt(importance)).astype(np.float32)
    model = LogisticRegression(C=C, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # 300 steps are enough for a probe; an optimum to the last digit changes no prediction worth having.
        warnings.simplefilter("ignore", ConvergenceWarning)
        with one_thread():
            model.fit((X - mean) / scale, y)
    weight, bias = np.zeros((classes, X.shape[1])), np.full(classes, -1e4)
    if len(model.classes_) == 2:
        first, second = model.classes_
        weight[second], weight[first] = model.coef_[0] / 2, -model.coef_[0] / 2
        bias[second], bias[first] = model.intercept_[0] / 2, -model.intercept_[0] / 2
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    weight /= scale
    return LinearHead(weight.astype(np.float32), (bias - weight @ np.broadcast_to(mean, X.shape[1])).astype(np.float32))


def kernel_machine(X: Floats, y: Labels, classes: int, C: float) -> KernelHead:
    """One-versus-rest support vector machines with one Gaussian kernel, width by the usual 1 / D rule (libsvm).

    Args:
        X: (N, D) float32; the N x N kernel is held in memory.
        y: (N,) int64.
        classes: number of classes.
        C: the price of an example on the wrong side.
    """
    with profile.phase("import"):
        from sklearn.svm import SVC

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
        machine = SVC(C=C, kernel="precomputed", random_state=0).fit(K, positive)
        coefficients[machine.support_, c] = machine.dual_coef_[0]
        bias[c] = machine.intercept_[0]
    used = np.flatnonzero(np.abs(coefficients).sum(axis=1) > 0)
    return KernelHead(
        support=Z[used],
        coefficients=coefficients[used].astype(np.float32),
        bias=bias.astype(np.float32),
        gamma=np.array(gamma, dtype=np.float32),
        mean=mean,
        scale=scale,
    )


def ridge_seconds(examples: int, width: int, classes: int) -> float:
    """About what :func:`ridge` takes on two cores: a Gram matrix, its eigendecomposition, and what is left out."""
    small, large = sorted((examples, width))
    solving = 2.8e-11 * small**2 * large + 9.3e-11 * small**3
    return solving + 6.4e-10 * examples * small * classes + 2.1e-8 * examples * width


def logistic_seconds(examples: int, width: int, classes: int) -> float:
    """About what :func:`logistic` takes on two cores: some dozens of passes over the features."""
    return 1.6e-9 * examples * width * classes + 2.1e-8 * examples * width


def kernel_seconds(examples: int, width: int, classes: int) -> float:
    """About what :func:`kernel_machine` takes on two cores: the kernel, and a machine for each class."""
    return examples**2 * (2e-11 * width + 5e-9 * classes) + 1e-3 * classes + 2.1e-8 * examples * width

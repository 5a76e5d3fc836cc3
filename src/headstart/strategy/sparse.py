"""Linear classifiers on sparse vectors, as heads: what the classical baseline for texts is made of."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.predictor import LinearHead

Machine = Literal["svm", "ridge", "logistic", "bayes"]

NEVER = -1e4
"""Logit of a class without examples."""


def linear(X: Any, y: NDArray[np.int64], classes: int, machine: Machine, C: float) -> LinearHead:
    """Fit one of scikit-learn's linear classifiers.

    Args:
        X: (N, D) scipy CSR, float32.
        y: (N,) int64 in 0..classes-1; a class without examples gets a logit below all others.
        classes: number of classes.
        machine: `svm`: one against the rest, squared hinge loss; `ridge`: least squares; `logistic`: multinomial;
            `bayes`: complement naive Bayes (Rennie et al. 2003), which scores a class by what the others do not say.
        C: inverse penalty; for `bayes` the additive smoothing.
    """
    weight, bias = np.zeros((classes, X.shape[1]), dtype=np.float32), np.full(classes, NEVER, dtype=np.float32)
    present = np.unique(y)
    if len(present) == 1 or not X.shape[1]:
        bias[present] = np.log(np.bincount(y, minlength=classes)[present] / len(y))
        return LinearHead(weight, bias)
    model = _model(machine, C)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a baseline need not converge to the last digit
        model.fit(X, y)
    if machine == "bayes":
        weight[present], bias[present] = model.feature_log_prob_, 0.0
    elif len(present) == 2:
        weight[present] = np.concatenate([-model.coef_, model.coef_]).reshape(2, -1) / 2
        bias[present] = np.array([-1.0, 1.0]) * np.ravel(model.intercept_) / 2
    else:
        weight[present], bias[present] = model.coef_, model.intercept_
    return LinearHead(weight, bias)


def _model(machine: Machine, C: float) -> Any:
    with profile.phase("import"):
        from sklearn.linear_model import LogisticRegression, RidgeClassifier
        from sklearn.naive_bayes import ComplementNB
        from sklearn.svm import LinearSVC

    if machine == "svm":
        return LinearSVC(C=C, random_state=0)
    if machine == "ridge":
        return RidgeClassifier(alpha=1 / C, solver="sparse_cg", tol=1e-3)
    if machine == "logistic":
        return LogisticRegression(C=C, max_iter=100, tol=1e-3)
    return ComplementNB(alpha=C)

"""PACTran-Gaussian: a bound on the risk of a linear classifier on the features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from headstart.score.spectrum import Floats, labelled

_STEPS = 500


def pactran_gaussian(features: ArrayLike, labels: ArrayLike) -> float:
    """PACTran with a Gaussian prior (Ding et al. 2022, "PACTran: PAC-Bayesian metrics for ... transferability").

    For a softmax classifier with weights w in R^(D K), prior N(0, s I), posterior N(w, q I) and a loss L (mean cross
    entropy) taken to second order, the bound L(w) + q/2 tr(H) + KL / b is smallest at 1/q = 1/s + b tr(H) / (D K); then

        bound = min_w [L(w) + |w|^2 / (2 b s)] + D K / (2 b) log(1 + b s tr(H) / (D K)),

    H being the Hessian of L in the weights at the minimum: tr(H) = mean_i |x_i|^2 sum_k p_ik (1 - p_ik). The offsets of
    the classifier are not counted. Here b s = N and s = 1 / D, settings that the paper's authors use; the features
    are centred and scaled to a mean square of 1, because they are measured by the prior.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers, K classes.

    Returns:
        The negative bound in nats per example; larger transfers better. Unchanged by rotations, shifts and common
        scaling of the features. Not in closed form: L-BFGS, up to 500 steps.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    data = labelled(features, labels)
    X = data.centred()
    (N, D), K, Y = X.shape, data.classes, data.one_hot()
    if scale := float(np.sqrt((X**2).mean())):
        X /= scale
    squares = (X**2).sum(axis=1)
    if N < D:  # the minimum lies in the span of the examples, and nothing else depends on the axes
        values, basis = np.linalg.eigh(X @ X.T)
        X = basis * np.sqrt(np.maximum(values, 0))
    d = X.shape[1]

    def logits(theta: Floats) -> Floats:
        on: Floats = X @ theta[: d * K].reshape(d, K) + theta[d * K :]
        return on

    def loss(theta: Floats) -> tuple[float, Floats]:
        f, w = logits(theta), theta[: d * K]
        log_p = f - logsumexp(f, axis=1, keepdims=True)
        error = (np.exp(log_p) - Y) / N
        gradient = np.concatenate([(X.T @ error).ravel() + w / N, error.sum(axis=0)])
        return float(-log_p[np.arange(N), data.y].mean() + w @ w / (2 * N)), gradient

    found = minimize(
        loss, np.zeros(d * K + K), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "ftol": 1e-12, "gtol": 1e-7}
    )
    f = logits(found.x)
    p = np.exp(f - logsumexp(f, axis=1, keepdims=True))
    trace = float((squares * (p * (1 - p)).sum(axis=1)).mean())
    b = N * D
    return -float(found.fun + D * K / (2 * b) * np.log1p(N * trace / (D * K)))

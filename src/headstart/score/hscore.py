"""H-score: how much of the features' variance, after whitening, lies between the classes."""

from __future__ import annotations

from numpy.typing import ArrayLike

from headstart.score.spectrum import labelled, spectrum


def h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """H-score (Bao et al. 2019, "An information-theoretic approach to transferability in task transfer learning").

    H = tr(cov(f)^+ cov(E[f | y])), with the pseudo-inverse. In the left basis U of the centred features it is
    sum_k |U'y_k|^2 / n_k, the part of the class indicators that features explain linearly.

    Where features are as many as examples or more it is K - 1 for any features in general position, and says nothing:
    see :func:`regularised_h_score`.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers, K classes.

    Returns:
        Between 0 and min(K - 1, D); larger transfers better. Unchanged by any invertible linear map of the features.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    known = spectrum(data.centred(), data.one_hot())
    return float(((known.projections**2).sum(axis=0) / data.sizes).sum())


def regularised_h_score(features: ArrayLike, labels: ArrayLike) -> float:
    """H-score with a shrunk covariance (Ibrahim et al. 2022, "Newer is not always better").

    H_a = (1 - a) tr(S_a^-1 cov(E[f | y])), S_a = (1 - a) S + a (tr(S) / D) I, where S is the covariance of the features
    and a the shrinkage of Ledoit & Wolf (2004): a = min(b, d) / d with d = |S - (tr(S) / D) I|_F^2 and
    b = sum_i |x_i x_i' - S|_F^2 / N^2 for centred examples x_i. Covariances are divided by N.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers, K classes.

    Returns:
        Between 0 and K - 1; larger transfers better. Unchanged by rotations, shifts and common scaling of the features.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    X = data.centred()
    known = spectrum(X, data.one_hot())
    (N, D), s = X.shape, known.values / len(X)
    if not len(s):
        return 0.0
    mean = float(s.sum()) / D
    distance = float((s**2).sum()) - D * mean**2
    spread = float(((X**2).sum(axis=1) ** 2).mean() - (s**2).sum()) / N
    shrinkage = min(spread, distance) / distance if distance > 1e-12 * D * mean**2 else 1.0
    between = (known.projections**2 / data.sizes).sum(axis=1)  # of each axis, in units of its own variance
    return float(((1 - shrinkage) * s / ((1 - shrinkage) * s + shrinkage * mean) * between).sum())

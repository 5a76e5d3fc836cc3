"""Scores from probabilities of source classes: LEEP, NCE, and N-LEEP, which makes up such classes itself."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from headstart.score.spectrum import Floats, Labelled, labelled, principal

ENERGY = 0.8  # of the variance, kept before the mixture is fitted
COMPONENTS = 5  # of the mixture, for each class
EXAMPLES = 5  # at least, for each component of the mixture


def leep(features: ArrayLike, labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Log expected empirical prediction (Nguyen et al. 2020, "LEEP: a new measure to evaluate transferability").

    With source probabilities p_i(z), P(y, z) = sum_{i: y_i = y} p_i(z) / N and P(y | z) = P(y, z) / P(z):
    LEEP = mean_i log sum_z P(y_i | z) p_i(z).

    Args:
        features: (N, D) numbers; not used.
        labels: (N,) integers.
        probabilities: (N, Z), the source's own classifier on the target's examples.

    Returns:
        Nats per example, at most 0; larger transfers better.

    Raises:
        ValueError: the shapes do not fit, or there are fewer than two classes, or the rows are no distributions.
    """
    return _leep(*_with(features, labels, probabilities))


def nce(features: ArrayLike, labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Negative conditional entropy (Tran et al. 2019, "Transferability and hardness of supervised classification").

    -H(Y | Z) = sum_{y, z} P(y, z) log P(y | z), where z is the source's most probable class of each example.

    Args:
        features: (N, D) numbers; not used.
        labels: (N,) integers.
        probabilities: (N, Z), the source's own classifier on the target's examples.

    Returns:
        Nats per example, at most 0; larger transfers better.

    Raises:
        ValueError: the shapes do not fit, or there are fewer than two classes, or the rows are no distributions.
    """
    data, p = _with(features, labels, probabilities)
    hard = (p.argmax(axis=1)[:, None] == np.arange(p.shape[1])).astype(np.float64)
    joint = data.one_hot().T @ hard / len(p)
    given = joint / np.maximum(joint.sum(axis=0), 1e-300)
    used = joint > 0
    return float((joint[used] * np.log(given[used])).sum())


def n_leep(features: ArrayLike, labels: ArrayLike) -> float:
    """LEEP with the components of a Gaussian mixture for source classes (Li et al. 2021, "Ranking neural checkpoints").

    The features are projected on the principal axes that hold 80 % of their variance; a mixture of 5 K Gaussians is
    fitted (no more than one for five examples, and diagonal covariances, because full ones cannot be told from small
    data); its posterior is what LEEP takes for source probabilities. The fit starts from seed 0: same examples in the
    same order, same score.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers, K classes.

    Returns:
        Nats per example, at most 0; larger transfers better.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    data = labelled(features, labels)
    Z = principal(data.centred(), data.X.shape[1])
    if not Z.shape[1]:
        return _leep(data, np.ones((len(data.X), 1)))
    share = np.cumsum((Z**2).sum(axis=0)) / (Z**2).sum()
    Z = Z[:, : int(np.searchsorted(share, ENERGY)) + 1]
    Z /= np.sqrt((Z**2).sum(axis=1).mean())
    count = max(2, min(COMPONENTS * data.classes, len(Z) // EXAMPLES))
    mixture = GaussianMixture(count, covariance_type="diag", random_state=0, reg_covar=1e-6)
    with warnings.catch_warnings():
        # A posterior that still moves a little is good enough for a score.
        warnings.simplefilter("ignore", ConvergenceWarning)
        p = mixture.fit(Z).predict_proba(Z)
    return _leep(data, p)


def _with(features: ArrayLike, labels: ArrayLike, probabilities: ArrayLike) -> tuple[Labelled, Floats]:
    data, p = labelled(features, labels), np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or len(p) != len(data.X):
        raise ValueError(f"probabilities {p.shape} for {len(data.X)} examples, expected (N, Z)")
    if not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1, atol=1e-4):
        raise ValueError("probabilities that are negative or do not sum to 1")
    return data, p


def _leep(data: Labelled, p: Floats) -> float:
    joint = data.one_hot().T @ p / len(p)
    given = joint / np.maximum(joint.sum(axis=0), 1e-300)
    expected = (p @ given.T)[np.arange(len(p)), data.y]
    return float(np.log(expected).mean())

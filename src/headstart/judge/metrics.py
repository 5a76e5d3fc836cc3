"""Metrics of one set of predictions: pure functions of probabilities and labels.

Everywhere: `probabilities` is (N, C) float, rows sum to one; `labels` is (N,) int in 0..C-1; N >= 1. The predicted
class is the one with the highest probability, the first one on a tie.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.domains.two_sample import auc

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]

BINS = 15
TOP = 5
"""With more classes than this, being among so many most probable ones is worth knowing."""


def accuracy(probabilities: Floats, labels: Labels) -> float:
    """The fraction predicted right."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def balanced_accuracy(probabilities: Floats, labels: Labels) -> float:
    """The mean recall over the classes that occur in `labels`."""
    right = np.bincount(labels, weights=probabilities.argmax(axis=1) == labels)
    count = np.bincount(labels)
    return float(np.mean(right[count > 0] / count[count > 0]))


def among_top(probabilities: Floats, labels: Labels, k: int = TOP) -> NDArray[np.bool_]:
    """(N,) bool: whether fewer than `k` classes are more probable than the true one; equals count in their order.

    Args:
        probabilities: (..., N, C).
        labels: (N,).
        k: how many classes are looked at.

    Returns:
        (..., N).
    """
    order = np.argsort(-np.asarray(probabilities), axis=-1, kind="stable")[..., :k]
    return np.asarray((order == np.asarray(labels)[:, None]).any(axis=-1))


def macro_f1(probabilities: Floats, labels: Labels) -> float:
    """The mean F1 over the classes that occur in `labels` or are predicted (scikit-learn's choice)."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0.0))


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """The mean negative log-likelihood in nats. Probabilities are clipped at float64's epsilon, so it is finite."""
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.clip(likelihood, np.finfo(np.float64).eps, 1.0))))


def auroc(probabilities: Floats, labels: Labels) -> float:
    """Area under the ROC curve, one class against the rest, mean over the classes that occur in `labels`.

    Counted (Mann & Whitney 1947): the share of pairs, one example of the class and one of the rest, in which the first
    has the larger probability; a tie is half a pair.

    Raises:
        ValueError: fewer than two classes occur, so that no curve can be drawn.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise ValueError("AUROC needs at least two classes among the labels")
    return float(np.mean([auc(probabilities[labels != c, c], probabilities[labels == c, c]) for c in present]))


def reliability(probabilities: Floats, labels: Labels, bins: int = BINS) -> list[tuple[float, float, int]]:
    """The reliability diagram of the predicted class, over `bins` bins of equal width on [0, 1].

    Returns:
        For each bin that is not empty, in rising order: mean confidence, accuracy, count.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    # Bins are open on the left, as in Guo et al. (2017); a confidence of exactly 0 cannot be the highest of a row.
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    confidence_sum = np.bincount(bin_of, weights=confidence, minlength=bins)
    right_sum = np.bincount(bin_of, weights=right, minlength=bins)
    return [
        (float(confidence_sum[b] / count[b]), float(right_sum[b] / count[b]), int(count[b]))
        for b in np.flatnonzero(count)
    ]


def ece(probabilities: Floats, labels: Labels, bins: int = BINS) -> float:
    """Expected calibration error: mean |confidence - accuracy| over 15 equal-width bins, weighted by count.

    Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3. It is biased upwards on small sets: a
    perfectly calibrated model does not score 0 on a hundred examples.
    """
    return sum(
        count * abs(confidence - right) for confidence, right, count in reliability(probabilities, labels, bins)
    ) / len(labels)


def all_metrics(probabilities: Floats, labels: Labels) -> dict[str, float]:
    """Every metric above by name. One that is undefined on these labels is absent, never NaN."""
    metrics = {
        "accuracy": accuracy(probabilities, labels),
        "balanced_accuracy": balanced_accuracy(probabilities, labels),
        "macro_f1": macro_f1(probabilities, labels),
        "log_loss": log_loss(probabilities, labels),
        "ece": ece(probabilities, labels),
    }
    if len(np.unique(labels)) > 1:
        metrics["auroc"] = auroc(probabilities, labels)
    return metrics

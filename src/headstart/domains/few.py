"""A few labels of the target beside many of the source: how much the source should count. Closed forms.

Xs is (N, D) of the source with labels ys, L is (n, D) of the target with labels yl. Each domain is standardised by its
own moments, so that a shift of location or scale costs no label. Everything here is ridge regression to one-hot targets
between -1 and 1, so that what an example would have scored had it not been learned from has a closed form as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.score.ridge import one_hot

Floats = NDArray[np.float64]
Features = NDArray[np.floating]
Labels = NDArray[np.int64]

WEIGHTS = np.linspace(0.0, 1.0, 11)
PENALTIES = np.logspace(-4, 2, 9)
RESAMPLES = 500
OFFSET = 10.0
"""The constant feature: so large that the offset is hardly penalised."""
LEVEL = 1.96


@dataclass(frozen=True)
class Joint:
    """A classifier from both domains' labels.

    Args:
        weight: (C, D) for standardised target features.
        bias: (C,).
        left_out: (n, C), what each labelled target example would have scored had neither the classifier nor the choice
            of the source's weight known its label.
        source_weight: between 0 (the target's labels alone) and 1 (the source alone).
        low: lower end of its 95 % interval: the target's labels were drawn anew, and the weight chosen again.
        high: upper end.
    """

    weight: Floats
    bias: Floats
    left_out: Floats
    source_weight: float
    low: float
    high: float


@dataclass(frozen=True)
class _Candidate:
    """A classifier with one source weight and one penalty: left-out scores (n, C), and the coefficients."""

    source_weight: float
    left_out: Floats
    coefficients: Floats


def joint(
    Xs: Features, ys: Labels, L: Features, yl: Labels, classes: int, *, weights: Floats = WEIGHTS, seed: int = 0
) -> Joint:
    """Minimise a mixture of both domains' errors (Ben-David et al. 2010), the mixture chosen on the target's labels.

    min over W of  s / N |Ys - Xs W|^2 + (1 - s) / n |Yl - L W|^2 + penalty |W|^2.

    s and the penalty are chosen by leave-one-out over the target's labels. With A = s / N Xs'Xs + penalty I and
    W0 = s / N A^-1 Xs'Ys the target's labels add A^-1 L'(K + n / (1 - s) I)^-1 (Yl - L W0) with K = L A^-1 L', so that
    one decomposition of the source serves all s and penalties. With a single label of a class, to leave it out leaves
    none of the class in the target: the source's weight is then chosen too large.

    Args:
        Xs: (N, D), standardised; N may be 0.
        ys: (N,).
        L: (n, D), standardised by the target's moments.
        yl: (n,).
        classes: C.
        weights: the source weights to choose from; only 0: target-only.
        seed: of the interval.
    """
    S, T = _with_offset(Xs), _with_offset(L)
    Y, Z = one_hot(ys, classes), one_hot(yl, classes)
    found = []
    values, V = _axes(S)
    seen, along = (S @ V.T / values).T @ Y, T @ V.T
    for share in weights if len(S) else [0.0]:
        for penalty in PENALTIES:
            strength = share / max(len(S), 1) * values**2
            start = V.T @ ((share / max(len(S), 1) * values / (strength + penalty))[:, None] * seen)
            reach = (T.T - V.T @ ((strength / (strength + penalty))[:, None] * along.T)) / penalty
            residual = Z - T @ start
            if share >= 1.0:
                found.append(_Candidate(1.0, Z - residual, start))
                continue
            inverse = np.linalg.inv(T @ reach + len(T) / (1 - share) * np.eye(len(T)))
            moved = inverse @ residual
            found.append(_Candidate(float(share), Z - moved / np.diag(inverse)[:, None], start + reach @ moved))
    return _chosen(found, Z, seed)


def corrected(prior: Features, L: Features, yl: Labels, *, seed: int = 0) -> Joint:
    """Keep a share s of what a model of the source says and learn the rest (Kuzborskij & Orabona 2013).

    f(x) = s prior(x) + W x with W the ridge regression of Yl - s prior. s and the penalty are chosen by leave-one-out
    over the target's labels, to which the prior must be blind.

    Args:
        prior: (n, C) scores of the model on the labelled target examples, on the scale of one-hot targets: see
            :func:`one_hot_scale`.
        L: (n, D), standardised by the target's moments.
        yl: (n,).
        seed: of the interval.

    Returns:
        `weight` and `bias` of W alone; the prior, times `source_weight`, is to be added.
    """
    T, Z = _with_offset(L), one_hot(yl, prior.shape[1])
    values, Q = np.linalg.eigh(T @ T.T)
    found = []
    for share in WEIGHTS:
        said = share * np.asarray(prior, dtype=np.float64)
        # With nothing learned beside it the prior is kept as it is.
        found.append(_Candidate(float(share), said, np.zeros((T.shape[1], Z.shape[1]))))
        for penalty in PENALTIES * len(T):
            inverse = (Q / (np.maximum(values, 0.0) + penalty)) @ Q.T
            moved = inverse @ (Z - said)
            found.append(_Candidate(float(share), Z - moved / np.diag(inverse)[:, None], T.T @ moved))
    return _chosen(found, Z, seed)


def one_hot_scale(logits: Features) -> tuple[float, float]:
    """Factor and offset that give logits (M, C), whose rows have mean 0, the mean and deviation of one-hot targets."""
    classes = logits.shape[1]
    deviation = float(np.asarray(logits, dtype=np.float64).std())
    return 2 * np.sqrt(classes - 1) / classes / max(deviation, 1e-12), 2 / classes - 1


def _axes(S: Floats) -> tuple[Floats, Floats]:
    """Singular values of S (r,) and its right singular vectors (r, D), by the smaller Gram matrix."""
    if len(S) < S.shape[1]:
        squares, Q = np.linalg.eigh(S @ S.T)
        kept = squares > 1e-10 * squares.max(initial=1e-300)
        return np.sqrt(squares[kept]), (S.T @ Q[:, kept] / np.sqrt(squares[kept])).T
    squares, Q = np.linalg.eigh(S.T @ S)
    kept = squares > 1e-10 * squares.max(initial=1e-300)
    return np.sqrt(squares[kept]), Q[:, kept].T


def _with_offset(X: Features) -> Floats:
    X = np.asarray(X, dtype=np.float64)
    padded: Floats = np.concatenate([X, np.full((len(X), 1), OFFSET)], axis=1) / np.sqrt(X.shape[1])
    return padded


def _chosen(found: Sequence[_Candidate], Z: Floats, seed: int) -> Joint:
    """The candidate of least leave-one-out error; for each example's own score the one that is best on the others."""
    errors = np.stack([((one.left_out - Z) ** 2).sum(axis=1) for one in found])
    best = found[int(errors.sum(axis=1).argmin())]
    without = (errors.sum(axis=1, keepdims=True) - errors).argmin(axis=0)
    left_out = np.stack([found[k].left_out[i] for i, k in enumerate(without.tolist())])
    counts = np.random.default_rng(seed).multinomial(len(Z), np.full(len(Z), 1 / len(Z)), RESAMPLES)
    shares = np.array([one.source_weight for one in found])[(errors @ counts.T).argmin(axis=0)]
    low, high = np.quantile(shares, [0.025, 0.975])
    width = np.sqrt(best.coefficients.shape[0] - 1)
    return Joint(
        best.coefficients[:-1].T / width,
        best.coefficients[-1] * OFFSET / width,
        left_out,
        best.source_weight,
        float(low),
        float(high),
    )


@dataclass(frozen=True)
class Told:
    """What labelled examples say of one model against another.

    Args:
        lead: difference of their accuracies.
        noise: its standard error, with two imaginary disagreements, one each way, so that few labels are never sure.
    """

    lead: float
    noise: float

    @property
    def beyond(self) -> bool:
        """Whether the lead is beyond its noise."""
        return self.lead > LEVEL * self.noise


def compared(right: NDArray[np.bool_], other: NDArray[np.bool_], weights: Floats | None = None) -> Told:
    """Compare two models on the same labelled examples that neither was trained on, (n,) each.

    Args:
        right: whether each is predicted right.
        other: likewise, by the other model.
        weights: (n,) of mean 1; None: all count alike.
    """
    gap = right.astype(np.float64) - other.astype(np.float64)
    gap = gap if weights is None else gap * weights
    spread = np.concatenate([gap, [1.0, -1.0]])
    return Told(float(gap.mean()), float(spread.std() / np.sqrt(len(gap))))


@dataclass(frozen=True)
class Settled:
    """What labelled target examples decide.

    Args:
        baseline: the better of the baselines on them.
        rival: the adaptation that may be shipped instead.
        shipped: one of these two.
        reason: why, in a sentence.
    """

    baseline: str
    rival: str
    shipped: str
    reason: str


def settled_by_labels(
    right: Mapping[str, NDArray[np.bool_]], baselines: Sequence[str], adapted: Sequence[str], *, agreed: str = ""
) -> Settled:
    """Choose between source-only, target-only and adaptation by the target's few labels, each left out in turn.

    The rival is the first of the adaptations within one standard error of the best on the labels, so that of many the
    luckiest is not taken. It is shipped where it beats every baseline beyond the noise; or where an adaptation would be
    shipped without labels, and on them that one is behind no baseline.

    Args:
        right: route -> (n,) whether each labelled example is predicted right by a model that has not learned from it.
        baselines: names, the one that is kept among equals first.
        adapted: names, those that are preferred without labels first; one at least.
        agreed: the adaptation that would be shipped without labels; "": there is none.
    """
    score = {name: float(each.mean()) for name, each in right.items()}
    baseline = max(baselines, key=lambda name: score[name])
    best = max(adapted, key=lambda name: score[name])
    near = [name for name in adapted if (told := compared(right[best], right[name])).lead <= told.noise]
    rival = near[0]
    n = len(right[baseline])

    def words(adaptation: str) -> str:
        said = ", ".join(f"{name} {100 * score[name]:.0f} %" for name in (adaptation, *baselines))
        return f"On the {n} labelled target examples, each left out in turn, {said} are right"

    if all(compared(right[rival], right[name]).beyond for name in baselines):
        return Settled(baseline, rival, rival, f"{words(rival)}: {rival} is ahead of the others beyond the noise.")
    if agreed and all(score[agreed] >= score[name] for name in baselines):
        return Settled(baseline, agreed, agreed, f"{words(agreed)}, and without them {agreed} would be shipped.")
    behind = f"{rival} is not shown to be ahead of {' and '.join(baselines)}"
    return Settled(baseline, rival, baseline, f"{words(rival)}: {behind}.")

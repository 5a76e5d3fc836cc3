"""The verdict: did transfer help, hurt, or is it undetermined; and which route is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headstart.judge import metrics
from headstart.judge.evidence import ClassGain, Gain, McNemar, Method, Side, TopK, Verdict
from headstart.judge.intervals import (
    Estimate,
    bootstrap,
    draws_t,
    mean_score,
    resampled_t,
    score_interval,
)
from headstart.judge.power import examples_to_settle, minimal_detectable_gain

Floats = NDArray[np.float64]
Score = tuple[float, float, float]

SIDES: tuple[Side, Side] = ("transfer", "baseline")


@dataclass(frozen=True)
class Round:
    """Both finalists' predictions on the same sealed examples: the test split, one fold of cross-fitting, or one draw.

    Args:
        labels: (N,) int64, positions in the classes.
        transfer: (S1, N, C) probabilities, one leading row per seed.
        baseline: (S2, N, C) probabilities. The seeds of the two routes have nothing to do with each other.
        n_train: examples that the routes learned from, validation included.

    Raises:
        ValueError: the shapes do not fit, or there is no seed or no example.
    """

    labels: NDArray[np.int64]
    transfer: Floats
    baseline: Floats
    n_train: int

    def __post_init__(self) -> None:
        for name in ("transfer", "baseline"):
            shape = getattr(self, name).shape
            if len(shape) != 3 or shape[0] == 0 or shape[1] != len(self.labels):
                raise ValueError(f"{name} must be (seeds, {len(self.labels)}, classes), found {shape}")
        if len(self.labels) == 0:
            raise ValueError("a round needs at least one test example")
        if self.transfer.shape[2] != self.baseline.shape[2]:
            raise ValueError(f"transfer has {self.transfer.shape[2]} classes, the baseline {self.baseline.shape[2]}")

    def correct(self, side: Side) -> NDArray[np.bool_]:
        """(S, N) bool: which seed predicts which example right."""
        probabilities = self.transfer if side == "transfer" else self.baseline
        return np.asarray(probabilities.argmax(axis=2) == self.labels)

    def among_top(self, side: Side) -> NDArray[np.bool_]:
        """(S, N) bool: which seed has the true class of which example among its five most probable."""
        return metrics.among_top(self.transfer if side == "transfer" else self.baseline, self.labels)


@dataclass(frozen=True)
class Comparison:
    """What the sealed examples say about the two finalists. Scores and gains are fractions.

    Args:
        verdict: `helped` if the gain's interval is above zero, `hurt` if it is below, else `undetermined`.
        gain: transfer minus baseline in the primary metric.
        method: how the interval was made.
        mcnemar: exact McNemar test, for one round only.
        minimal_detectable_gain: see :func:`headstart.judge.power.minimal_detectable_gain`.
        examples_to_settle: see :func:`headstart.judge.power.examples_to_settle`.
        transfer_score: estimate, low, high in the primary metric.
        baseline_score: likewise.
        transfer_metrics: see :func:`headstart.judge.metrics.all_metrics`; means over seeds and rounds.
        baseline_metrics: likewise.
        transfer_top: top-5 accuracy; None with five classes or fewer.
        baseline_top: likewise.
        per_class: gains in recall, one per class that occurs; each interval stands alone.
        confusion_transfer: (C, C) rows: true class, columns: predicted; mean count over seeds, summed over rounds.
        confusion_baseline: likewise.
        n_test: different sealed examples.
    """

    verdict: Verdict
    gain: Gain
    method: Method
    mcnemar: McNemar | None
    minimal_detectable_gain: float
    examples_to_settle: int | None
    transfer_score: Score
    baseline_score: Score
    transfer_metrics: dict[str, float]
    baseline_metrics: dict[str, float]
    transfer_top: TopK | None
    baseline_top: TopK | None
    per_class: list[ClassGain]
    confusion_transfer: Floats
    confusion_baseline: Floats
    n_test: int


def compare(
    rounds: Sequence[Round],
    classes: Sequence[str],
    metric: str,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    shared: float | None = None,
) -> Comparison:
    """Compare the two finalists on sealed examples.

    One round is judged by the paired stratified bootstrap, several (cross-fitting) by the corrected resampled t-test,
    few-shot draws by the paired t-test: they have no test example in common.

    Args:
        rounds: one, or one per fold and repeat of cross-fitting, or one per draw.
        classes: names of the classes, in the order of the probabilities' last axis.
        metric: `accuracy` or `balanced_accuracy`.
        confidence: of every interval.
        seed: of the bootstrap.
        shared: for few-shot draws, the mean share of its labels that one has in common with another; else None.

    Raises:
        ValueError: no round, an unknown metric, or probabilities for another number of classes.
    """
    if not rounds:
        raise ValueError("compare needs at least one round")
    if any(r.transfer.shape[2] != len(classes) for r in rounds):
        raise ValueError(f"expected probabilities for {len(classes)} classes in every round")
    judge: _OneRound | _Rounds
    if shared is not None:
        judge = _Draws(rounds, metric, confidence, shared=shared)
    elif len(rounds) == 1:
        judge = _OneRound(rounds[0], metric, confidence, seed)
    else:
        judge = _Rounds(rounds, metric, confidence)
    gain = judge.gain()
    estimate, low, high = gain[:3]
    return Comparison(
        verdict="helped" if low > 0 else "hurt" if high < 0 else "undetermined",
        gain=Gain(estimate=estimate, low=low, high=high, confidence=confidence),
        method=judge.method,
        mcnemar=_mcnemar(rounds[0]) if isinstance(judge, _OneRound) else None,
        minimal_detectable_gain=minimal_detectable_gain(gain.standard_error, gain.n_effective, critical=gain.critical),
        # More test examples alone do not settle what hangs on which labels were drawn.
        examples_to_settle=examples_to_settle(estimate, low, high, judge.n_test) if shared is None else None,
        transfer_score=judge.score("transfer"),
        baseline_score=judge.score("baseline"),
        transfer_metrics=_mean_metrics(rounds, "transfer"),
        baseline_metrics=_mean_metrics(rounds, "baseline"),
        transfer_top=judge.top("transfer") if len(classes) > metrics.TOP else None,
        baseline_top=judge.top("baseline") if len(classes) > metrics.TOP else None,
        per_class=[
            judge.class_gain(c, str(name))
            for c, name in enumerate(classes)
            if any((r.labels == c).any() for r in rounds)
        ],
        confusion_transfer=_confusion(rounds, "transfer"),
        confusion_baseline=_confusion(rounds, "baseline"),
        n_test=judge.n_test,
    )


@dataclass(frozen=True)
class _OneRound:
    """Intervals for a test split."""

    round: Round
    metric: str
    confidence: float
    seed: int
    method: Method = "paired stratified bootstrap"

    @property
    def n_test(self) -> int:
        return len(self.round.labels)

    @cached_property
    def correct(self) -> dict[Side, NDArray[np.bool_]]:
        return {side: self.round.correct(side) for side in SIDES}

    def gain(self, only: NDArray[np.bool_] | slice = slice(None)) -> Estimate:
        routes = [self.correct[side][:, only] for side in SIDES]
        return bootstrap(routes, self.round.labels[only], self.metric, confidence=self.confidence, seed=self.seed)

    def score(self, side: Side) -> Score:
        return score_interval(
            self.correct[side], self.round.labels, self.metric, confidence=self.confidence, seed=self.seed
        )

    def top(self, side: Side) -> TopK:
        right = self.round.among_top(side)
        found = score_interval(right, self.round.labels, "accuracy", confidence=self.confidence, seed=self.seed)
        return TopK(k=metrics.TOP, score=found[0], low=found[1], high=found[2])

    def class_gain(self, c: int, name: str) -> ClassGain:
        only = self.round.labels == c
        transfer, baseline = (float(self.correct[side][:, only].mean()) for side in SIDES)
        estimate, low, high = self.gain(only)[:3]
        return ClassGain(
            name=name, n_test=int(only.sum()), transfer=transfer, baseline=baseline, gain=estimate, low=low, high=high
        )


@dataclass(frozen=True)
class _Rounds:
    """Intervals for cross-fitting: what is averaged over rounds is each round's mean over its seeds."""

    rounds: Sequence[Round]
    metric: str
    confidence: float
    method: Method = "corrected resampled t-test"

    @property
    def n_test(self) -> int:
        """In cross-fitting every example outside the fold is learned from: train and fold make up the target."""
        return round(float(np.mean([r.n_train + len(r.labels) for r in self.rounds])))

    def _interval(self, values: list[float], sizes: list[int], least: float) -> Estimate:
        """Nadeau & Bengio over rounds. `sizes`: judged examples per round."""
        n_test = float(np.mean(sizes))
        n_train = n_test / float(np.mean([len(r.labels) / r.n_train for r in self.rounds]))
        # Rounds that all agree do not prove a variance of nil: as in one round, two imaginary disagreements among all
        # examples are allowed for.
        least_variance = 2 / ((n_train + n_test + 2) * n_test)
        found = resampled_t(
            np.array(values),
            n_test / n_train,
            n_train + n_test,
            confidence=self.confidence,
            least_variance=least_variance,
        )
        return found._replace(low=max(found.low, least), high=min(found.high, 1.0))

    def gain(self) -> Estimate:
        values = [
            mean_score(r.correct("transfer"), r.labels, self.metric)
            - mean_score(r.correct("baseline"), r.labels, self.metric)
            for r in self.rounds
        ]
        return self._interval(values, [len(r.labels) for r in self.rounds], -1.0)

    def score(self, side: Side) -> Score:
        values = [mean_score(r.correct(side), r.labels, self.metric) for r in self.rounds]
        return self._interval(values, [len(r.labels) for r in self.rounds], 0.0)[:3]

    def top(self, side: Side) -> TopK:
        values = [float(r.among_top(side).mean()) for r in self.rounds]
        found = self._interval(values, [len(r.labels) for r in self.rounds], 0.0)
        return TopK(k=metrics.TOP, score=found.estimate, low=found.low, high=found.high)

    def class_gain(self, c: int, name: str) -> ClassGain:
        parts = [(r, r.labels == c) for r in self.rounds if (r.labels == c).any()]
        recalls = {side: [float(r.correct(side)[:, only].mean()) for r, only in parts] for side in SIDES}
        sizes = [int(only.sum()) for _, only in parts]
        values = [t - b for t, b in zip(recalls["transfer"], recalls["baseline"], strict=True)]
        interval = self._interval(values, sizes, -1.0)
        repeats = sum(len(r.labels) for r in self.rounds) / self.n_test
        return ClassGain(
            name=name,
            n_test=round(sum(sizes) / repeats),
            transfer=float(np.mean(recalls["transfer"])),
            baseline=float(np.mean(recalls["baseline"])),
            gain=interval.estimate,
            low=interval.low,
            high=interval.high,
        )


@dataclass(frozen=True)
class _Draws(_Rounds):
    """Intervals for few-shot draws: each has its own labels and its own part of the test."""

    method: Method = "paired t-test over draws"
    shared: float = 0.0

    @property
    def n_test(self) -> int:
        return sum(len(r.labels) for r in self.rounds)

    def _interval(self, values: list[float], sizes: list[int], least: float) -> Estimate:
        """Student's t over draws, widened where they share labels. `sizes`: judged examples per draw."""
        # As in cross-fitting, draws that all agree do not prove a variance of nil.
        least_variance = 2 / ((sum(sizes) + 2) * float(np.mean(sizes)))
        n = float(sum(sizes))
        found = draws_t(np.array(values), self.shared, n, confidence=self.confidence, least_variance=least_variance)
        return found._replace(low=max(found.low, least), high=min(found.high, 1.0))


def _mcnemar(judged: Round) -> McNemar:
    """Exact McNemar test of each pair of seeds: counts are means, the p-value is the median over the pairs."""
    from scipy.stats import binom

    transfer, baseline = (judged.correct(side).astype(np.int64) for side in SIDES)
    only_transfer = transfer @ (1 - baseline).T
    only_baseline = (1 - transfer) @ baseline.T
    fewer = np.minimum(only_transfer, only_baseline)
    p = np.minimum(1.0, 2 * binom.cdf(fewer, only_transfer + only_baseline, 0.5))
    return McNemar(
        only_transfer_right=float(only_transfer.mean()),
        only_baseline_right=float(only_baseline.mean()),
        p_value=float(np.median(p)),
    )


def _mean_metrics(rounds: Sequence[Round], side: Side) -> dict[str, float]:
    """Each metric's mean over seeds and rounds; over rounds where it is undefined it is not taken."""
    found: dict[str, list[float]] = {}
    for r in rounds:
        seeds = [metrics.all_metrics(p, r.labels) for p in getattr(r, side)]
        for name in seeds[0]:
            found.setdefault(name, []).append(float(np.mean([s[name] for s in seeds])))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    if len(rounds) > 1:
        # Binned on one small fold, calibration error would be mostly bias: bin all folds and seeds at once.
        pooled = [(p, r.labels) for r in rounds for p in getattr(r, side)]
        means["ece"] = metrics.ece(np.concatenate([p for p, _ in pooled]), np.concatenate([y for _, y in pooled]))
    return means


def _confusion(rounds: Sequence[Round], side: Side) -> Floats:
    """(C, C) rows: true class, columns: predicted; mean count over seeds, summed over rounds."""
    n_classes = rounds[0].transfer.shape[2]
    counts = np.zeros((n_classes, n_classes))
    for r in rounds:
        predicted = getattr(r, side).argmax(axis=2)
        np.add.at(counts, (np.broadcast_to(r.labels, predicted.shape), predicted), 1 / len(predicted))
    return counts


def guard(comparison: Comparison, transfer_validation: float, baseline_validation: float) -> tuple[Side, str]:
    """Which route is shipped, and why, in a sentence.

    If transfer is not shown to help and the baseline is at least as good on validation, the baseline is shipped.
    Transfer that hurts is never shipped, whatever validation says.

    Args:
        comparison: on the sealed examples.
        transfer_validation: validation score of the best transfer route, a fraction.
        baseline_validation: validation score of the best baseline, a fraction.
    """
    gain = comparison.gain
    found = (
        f"{100 * gain.estimate:+.1f} points "
        f"({100 * gain.confidence:g} % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    )
    if comparison.verdict == "helped":
        return "transfer", f"Transfer helped on the sealed test: {found}."
    if comparison.verdict == "hurt":
        return "baseline", f"Transfer hurt on the sealed test, so the baseline is shipped: {found}."
    scores = f"{100 * baseline_validation:.1f} % against {100 * transfer_validation:.1f} %"
    if transfer_validation > baseline_validation:
        return "transfer", (
            f"The sealed test is undetermined: {found}. Transfer is shipped because the baseline was worse on "
            f"validation: {scores}."
        )
    return "baseline", (
        f"Transfer was not shown to help: {found}. The baseline is shipped because it was at least as good on "
        f"validation: {scores}."
    )


def guard_adapted(
    comparison: Comparison, side: Side, reason: str, baseline: str, behind: Sequence[str] = ()
) -> tuple[Side, str]:
    """Which route of a domain adaptation is shipped: the one chosen without sealed labels, unless that was shown wrong.

    Args:
        comparison: of the adapted route with the baseline, on the sealed target examples.
        side: what was chosen without their labels.
        reason: why, in a sentence.
        baseline: what it is called: source-only, or target-only.
        behind: baselines than which adaptation is shown to be worse on those examples.
    """
    if comparison.verdict == "hurt" and side == "transfer":
        return "baseline", f"{reason} But adaptation hurt on the sealed target examples, so {baseline} is shipped."
    if comparison.verdict == "helped" and side == "baseline":
        if behind:
            return side, f"{reason} Adaptation helped on the sealed target examples, but less than {behind[0]}."
        return "transfer", f"{reason} But adaptation helped on the sealed target examples, so it is shipped."
    return side, reason

"""Ranking sources by scores on frozen features, before anything is trained, and how far to trust the ranking."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import source as sources
from headstart.errors import OptionError, Problem, RunError, unknown
from headstart.features import Tally, body_of, extract
from headstart.features.known import probabilities
from headstart.features.precision import F32, Precision
from headstart.score import SCORES, Score
from headstart.search.seen import learned_from
from headstart.source import Source
from headstart.strategy.adapt.probe import Probe
from headstart.target.split import stratified_sample
from headstart.target.target import Target
from headstart.target.view import TrainView

BY = "linear"
RESAMPLES = 50
SHARE = 1 - math.exp(-1)  # of the examples, that differ in a bootstrap sample: 63.2 %
MOST_CLOSED, MOST_FITTED, MOST_RESAMPLED = 10_000, 2_000, 1_000  # examples
MOST_RECORDED = 500  # examples for the scores that a run writes down beside its outcome

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RankedSource:
    """What the scores say of one source.

    Args:
        source: its name.
        scores: score -> value; larger transfers better, and values of different scores cannot be compared.
        skipped: score -> why it was not computed.
        first: the share of resamples in which the source was first (ties are shared); None: not resampled.
        feature_seconds: wall seconds its features took, now or, where the store had them, when they were computed.
        recalled: how many of its vectors the store had.
    """

    source: str
    scores: dict[str, float]
    skipped: dict[str, str]
    first: float | None
    feature_seconds: float
    recalled: int

    @property
    def short(self) -> str:
        """The name without its prefix."""
        return self.source.partition(":")[2] or self.source


@dataclass(frozen=True)
class Ranking:
    """Sources in the order in which they are expected to transfer.

    Args:
        target: its name.
        modality: `image` or `text`.
        by: the score that ranks.
        examples: labelled training examples that were looked at.
        classes: how many.
        sources: the best first.
        agreement: score -> Kendall's tau-b between its order of the sources and that of `by`: 1 the same, -1 the
            reverse; None where either cannot tell any two sources apart.
        concordance: the mean tau-b over all pairs of scores that have one; None: there is none.
        resamples: how many resamples stability rests on.
        resampled: examples in each.
        score_seconds: score -> wall seconds, over all sources.
        seconds: wall seconds, features included.
        notes: what else one should know, in words.
    """

    target: str
    modality: str
    by: str
    examples: int
    classes: int
    sources: tuple[RankedSource, ...]
    agreement: dict[str, float | None]
    concordance: float | None
    resamples: int
    resampled: int
    score_seconds: dict[str, float]
    seconds: float
    notes: tuple[str, ...]

    @property
    def best(self) -> str:
        """The name of the source that is first."""
        return self.sources[0].source

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: every field."""
        document = asdict(self)
        return {**document, "sources": list(document["sources"]), "notes": list(self.notes)}


def rank(
    target: Target,
    names: tuple[str, ...] = (),
    *,
    by: str = BY,
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
    store: Path | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Rank pretrained sources by their frozen features of the target's training examples.

    Sealed examples are never looked at, and neither is a validation split that was given. The default score is the
    leave-one-out accuracy of a linear probe, because it is what the plainest route would get right: it has a unit that
    means something, is bounded, and holds out every example, so that wide features are not preferred for fitting well.

    Stability is found on stratified resamples of 63.2 % of the examples (no more than 1,000) without replacement: as
    many as differ in a bootstrap sample. With replacement an example would be its own neighbour, and no leave-one-out
    score would hold anything out.

    Args:
        target: what is to be learned.
        names: of sources; empty: the bundled ones for the target's modality.
        by: the score that ranks, one of :data:`headstart.score.SCORES`.
        resamples: how many; 0: no stability.
        seed: of the resamples.
        device: `cpu`, or a torch device.
        store: folder of the feature store; None: the user's cache.
        progress: called as `progress(words, done, total)`.

    Raises:
        SourceError: a source is unknown.
        OptionError: the score is unknown, or cannot be used here.
        RunError: a source has nothing to transfer to this target.
    """
    began = time.perf_counter()
    check(by, resamples)
    found = _found(names, target.modality)
    view = target.everything.training()
    notes = _notes(target) + learned_from(view.examples.inputs, tuple(found))
    notes += [
        f"{source.card.short} is the network of {source.card.unchanged} with a head on it: only scores that use the "
        "head tell the two apart."
        for source in found.values()
        if source.card.unchanged
    ]
    rows = stratified_sample(view.examples.labels, MOST_CLOSED, seed=seed)
    if len(rows) < len(view):
        notes.append(f"Of {len(view):,} training examples {MOST_CLOSED:,} were looked at.")
    examples = view.examples.take(rows)
    y = examples.labels
    if len(np.unique(y)) < 2:
        raise RunError(Problem("all training examples are of one class", "at least two classes"))
    fitted = stratified_sample(y, MOST_FITTED, seed=seed)

    features: dict[str, NDArray[np.float32]] = {}
    theirs: dict[str, NDArray[np.float32]] = {}  # the probabilities of what the source knows
    tallies: dict[str, Tally] = {}
    for name, source in found.items():
        tallies[name] = Tally()

        def tell(done: int, total: int, short: str = source.card.short) -> None:
            if progress is not None:
                progress(f"features {short}", done, total)

        body = body_of(source, device)
        features[name] = extract(body, examples.inputs, store=store, tally=tallies[name], progress=tell)
        own = probabilities(source, features[name], store)
        if own is not None:
            theirs[name] = own

    narrowest = min(X.shape[1] for X in features.values())
    if why := SCORES[by].lacking(len(y), narrowest, classifier=len(theirs) == len(found)):
        raise OptionError(Problem(f"--by {by}: it {why}", "another score", f"--by {BY}"))
    values: dict[str, dict[str, float]] = {name: {} for name in found}
    skipped: dict[str, dict[str, str]] = {name: {} for name in found}
    taken: dict[str, float] = {}
    work = list(itertools.product(SCORES.values(), found))
    for done, (score, name) in enumerate(work):
        if progress is not None:
            progress(f"score {score.name}", done, len(work))
        chosen = np.arange(len(y)) if score.closed else fitted
        if why := score.lacking(len(chosen), features[name].shape[1], classifier=name in theirs):
            skipped[name][score.name] = why
            continue
        start = time.perf_counter()
        values[name][score.name] = _value(score, features[name], y, theirs.get(name), chosen)
        taken[score.name] = taken.get(score.name, 0.0) + time.perf_counter() - start

    size = min(math.ceil(SHARE * len(y)), MOST_RESAMPLED)
    if len(found) < 2:
        resamples = 0
        notes.append("There is one source, so there is nothing to compare it with: --sources names others.")
    elif why := SCORES[by].lacking(size, narrowest, classifier=True):
        resamples = 0
        notes.append(f"No stability: with {size:,} examples in a resample {by} {why}.")
    first = _stability(SCORES[by], features, theirs, y, size, resamples, seed, progress)
    agreement, concordance = _agreement(values, by)
    order = sorted(found, key=lambda name: -values[name][by])  # equals stay in the order in which they were named
    if first and first[order[0]] < max(first.values()):
        often = max(order, key=lambda name: first[name])
        notes.append(
            f"On resamples {found[often].card.short} is first more often than {found[order[0]].card.short}: "
            "these examples do not tell the two apart."
        )
    return Ranking(
        target=target.name,
        modality=target.modality,
        by=by,
        examples=len(y),
        classes=len(view.classes),
        sources=tuple(
            RankedSource(
                source=name,
                scores={key: float(value) for key, value in values[name].items()},
                skipped=skipped[name],
                first=first.get(name),
                feature_seconds=round(tallies[name].preparing + tallies[name].seconds + tallies[name].saved, 3),
                recalled=tallies[name].recalled,
            )
            for name in order
        ),
        agreement=agreement,
        concordance=concordance,
        resamples=resamples,
        resampled=size if resamples else 0,
        score_seconds={key: round(value, 4) for key, value in taken.items()},
        seconds=round(time.perf_counter() - began, 3),
        notes=tuple(notes),
    )


def scored(
    view: TrainView,
    names: list[str],
    *,
    seed: int = 0,
    device: str = "cpu",
    precisions: Mapping[str, Precision] | None = None,
) -> dict[str, Any]:
    """All closed-form scores of some sources on a sample of a view: what a run writes down beside its outcome.

    Args:
        view: its labelled examples are looked at, 500 at most.
        names: of pretrained sources.
        seed: of the sample.
        device: `cpu`, or a torch device.
        precisions: source -> in which its features are computed; those that are missing in f32.

    Returns:
        `examples`; `values`: source -> score -> value, where all of them are finite; `seconds`.

    Raises:
        TrialError: an input can no longer be read.
        ValueError: features or labels on which there are no scores.
    """
    began = time.perf_counter()
    examples = view.examples.take(stratified_sample(view.examples.labels, MOST_RECORDED, seed=seed))
    values: dict[str, dict[str, float]] = {}
    for name in names:
        source = sources.find(name)
        X = extract(body_of(source, device, precision=(precisions or {}).get(name, F32)), examples.inputs)
        own = probabilities(source, X)
        usable = [
            each for each in SCORES.values() if each.closed and not each.lacking(*X.shape, classifier=own is not None)
        ]
        every = np.arange(len(X))
        values[name] = {each.name: _value(each, X, examples.labels, own, every) for each in usable}
        values[name] = {key: value for key, value in values[name].items() if math.isfinite(value)}
    return {"examples": len(examples), "values": values, "seconds": round(time.perf_counter() - began, 3)}


def check(by: str = BY, resamples: int = RESAMPLES) -> None:
    """Find out what is wrong with the options before the data is read.

    Raises:
        OptionError: the score is unknown, or there are fewer than no resamples.
    """
    problems: list[Problem] = []
    if by not in SCORES:
        problems.append(unknown("score", by, SCORES))
    if resamples < 0:
        problems.append(Problem(f"{resamples} resamples", "0 or more"))
    if problems:
        raise OptionError(problems)


def kendall(a: list[float], b: list[float]) -> float | None:
    """Kendall's tau-b (1945) of two lists of the same length; None where one of them is all ties, or has no pair.

    >>> kendall([1, 2, 3], [10, 20, 30]), kendall([1, 2, 3], [3, 2, 1]), kendall([1, 1], [1, 2])
    (1.0, -1.0, None)
    """
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic)


def _found(names: tuple[str, ...], modality: str) -> dict[str, Source]:
    cards = sources.cards(names or sources.bundled_names(modality))  # says all that are unknown at once
    problems: list[Problem] = []
    for card in cards:
        why = Probe.needs.lacking(card)
        if not why and card.modality != modality:
            why = f"it takes {card.modality}, and the target is {modality}"
        if why:
            problems.append(
                Problem(
                    f"{card.name} cannot be ranked: {why}", f"a pretrained source for {modality}", "headstart sources"
                )
            )
    if problems:
        raise RunError(problems)
    return {card.name: sources.find(card.name) for card in cards}


def _notes(target: Target) -> list[str]:
    notes: list[str] = []
    if target.split == "cross-fit":
        notes.append(
            "There is too little for a test split, so all labels were looked at. A verdict on a source that was chosen "
            "by this ranking would be too kind: let headstart fit choose among the sources."
        )
    if target.everything.examples.groups is not None:
        notes.append("Some examples belong to one group or are near copies: linear and knn may be too high for all.")
    return notes


def _value(
    score: Score,
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    theirs: NDArray[np.float32] | None,
    rows: NDArray[np.int64],
) -> float:
    """A score on some of the examples."""
    if score.probabilities:
        assert theirs is not None
        return float(score.function(X[rows], y[rows], theirs[rows]))
    return float(score.function(X[rows], y[rows]))


def _stability(
    score: Score,
    features: dict[str, NDArray[np.float32]],
    theirs: dict[str, NDArray[np.float32]],
    y: NDArray[np.int64],
    size: int,
    resamples: int,
    seed: int,
    progress: Progress | None,
) -> dict[str, float]:
    """Source -> share of resamples in which it was first."""
    if not resamples:
        return {}
    wins = dict.fromkeys(features, 0.0)
    for number in range(resamples):
        if progress is not None:
            progress("resamples", number, resamples)
        # Seeds of neighbouring runs must not share resamples.
        rows = stratified_sample(y, size, seed=seed * 100_000 + number)
        values = {name: _value(score, X, y, theirs.get(name), rows) for name, X in features.items()}
        top = max(values.values())
        ahead = [name for name, value in values.items() if value == top]
        for name in ahead:
            wins[name] += 1 / len(ahead)
    return {name: won / resamples for name, won in wins.items()}


def _agreement(values: dict[str, dict[str, float]], by: str) -> tuple[dict[str, float | None], float | None]:
    names = list(values)
    shared = [key for key in SCORES if all(key in values[name] for name in names)]
    lists = {key: [values[name][key] for name in names] for key in shared}
    taus = {key: kendall(lists[key], lists[by]) for key in shared if key != by}
    pairs = [kendall(lists[a], lists[b]) for a, b in itertools.combinations(shared, 2)]
    known = [tau for tau in pairs if tau is not None]
    return taus, float(np.mean(known)) if known else None

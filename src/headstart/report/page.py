"""Evidence and a Showcase to HTML and Markdown: this module chooses and words, the templates lay out."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import plural
from headstart.judge.evidence import ClassGain, CurvePoint, Evidence, LeaderboardRow, PrecisionCheck, Predictions, Route
from headstart.report import words
from headstart.report.charts import Axis, CurveDrawing
from headstart.report.showcase import Showcase
from headstart.target.modality import MODALITIES

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment

FULL_MATRIX = 15
"""Up to this many classes the confusion matrix is printed in full; beyond, its most confused pairs are listed."""
SMALL_MATRIX = 100
"""Up to this many classes a picture of the whole matrix stands beside the pairs."""
CLASSES_SHOWN = 30
"""Above this many classes the page shows the gains at both ends and folds the complete table away."""
LISTED = 40
"""At most so many files are named under one finding of the hygiene section."""
PAIRS = 15


def html(evidence: Evidence, showcase: Showcase | None = None) -> str:
    """The whole page as HTML text."""
    return environment().get_template("page.html.j2").render(context(evidence, showcase))


def markdown(evidence: Evidence, showcase: Showcase | None = None) -> str:
    """The report as Markdown text, without pictures."""
    return environment().get_template("page.md.j2").render(context(evidence, showcase))


@cache
def environment() -> Environment:
    """Where the templates of all pages are, with their filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("headstart", "report"),
        bytecode_cache=compiled(Path(__file__).with_name("__pycache__")),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "points": words.points,
        "count": words.count,
        "duration": words.duration,
        "memory": words.memory,
        "large": words.large,
        "md": escape_markdown,
        "source": words.source,
    }
    environment.globals |= {"plural": plural, "interval": words.interval, "often": words.often}
    return environment


def compiled(folder: Path) -> BytecodeCache | None:
    """Templates compiled before, in the folder where Python keeps compiled modules and by its rules.

    Nobody may write there who may not change the code itself. Where that is not this process, nothing is kept.
    """
    from jinja2 import FileSystemBytecodeCache

    able = not sys.dont_write_bytecode and os.access(folder, os.W_OK)
    return FileSystemBytecodeCache(str(folder)) if able else None


def escape_markdown(text: object) -> str:
    r"""`text` on one line, with every character that Markdown would read as markup made plain.

    >>> print(escape_markdown("a|b <script>\n*c*"))
    a\|b \<script\> \*c\*
    """
    line = " ".join(str(text).split())
    return "".join("\\" + character if character in "\\`*_[]<>|#~" else character for character in line)


@dataclass(frozen=True)
class Standing:
    """A row of the leaderboard, made ready: `test` is the finalist it became, if it did."""

    row: LeaderboardRow
    name: str
    parameters: str
    test: Route | None


@dataclass(frozen=True)
class Comparison:
    """One metric of both finalists; `better` is `transfer`, `baseline`, or empty: equal, or one is absent."""

    name: str
    gloss: str
    transfer: str
    baseline: str
    better: str


@dataclass(frozen=True)
class Confusion:
    """One cell off the diagonal: `share` is its part of the true class."""

    truth: str
    predicted: str
    count: float
    share: float


@dataclass(frozen=True)
class Finding:
    """One thing found about the data: a sentence, and the files it speaks of."""

    sentence: str
    items: tuple[str, ...] = ()
    left_out: int = 0


def context(evidence: Evidence, showcase: Showcase | None) -> dict[str, Any]:
    """Everything the templates show, in the order of the page."""
    finalists = [("transfer", evidence.transfer), ("baseline", evidence.baseline)]
    shipped = evidence.transfer if evidence.shipped == "transfer" else evidence.baseline
    standings = leaderboard(evidence)
    shown = [standing for standing in standings if standing.row.score is not None]
    board = [value for item in shown for value in (item.row.low, item.row.score, item.row.high)]
    board += [item.test.score for item in shown if item.test is not None]
    scores = [value for _, route in finalists for value in (route.low, route.score, route.high)]
    harmed, helped = class_verdicts(evidence.per_class)
    draws = evidence.shots.draws if evidence.shots is not None else []
    gain = evidence.gain
    detectable = evidence.minimal_detectable_gain
    return {
        "e": evidence,
        "metric": words.metric(evidence),
        "headline": words.headline(evidence),
        "sentence": words.sentence(evidence),
        "meaning": words.meaning(evidence),
        "confidence": words.confidence(evidence),
        "partial_text": words.PARTIAL,
        "sealed": words.sealed(evidence),
        "gain_axis": Axis.over(
            [gain.low, gain.high, *([detectable, -detectable] if evidence.verdict == "undetermined" else [])],
            zero=True,
            within=(-1, 1),
        ),
        "shipped_name": words.route_of(shipped),
        "finalists": [
            (side, route, words.route_of(route), words.parameters(route.parameters)) for side, route in finalists
        ],
        "score_axis": Axis.over(scores, within=(0, 1)),
        "comparisons": comparisons(evidence),
        "standings": shown,
        "idle": [standing for standing in standings if standing.row.score is None],
        "board_axis": Axis.over(board, within=(0, 1)),
        "per_class": sorted(evidence.per_class, key=lambda item: -item.gain),
        "class_axis": Axis.over(
            [value for item in evidence.per_class for value in (item.low, item.gain, item.high)],
            zero=True,
            within=(-1, 1),
        ),
        "classes_shown": CLASSES_SHOWN,
        "harmed": harmed,
        "helped": helped,
        "matrix": matrix(evidence),
        "matrix_full": len(evidence.confusion) <= FULL_MATRIX,
        "matrix_small": len(evidence.confusion) <= SMALL_MATRIX,
        "pairs": confused_pairs(evidence)[:PAIRS],
        "draw_text": words.few_shot(evidence),
        "draw_axis": Axis.over(
            [value for draw in draws for value in (draw.transfer, draw.baseline)]
            + [value for _, route in finalists for value in (route.low, route.high) if draws],
            within=(0, 1),
        ),
        "label_rows": label_rows(evidence),
        "curve": label_drawing(evidence),
        "outcome": outcome(evidence),
        "showcase": showcase or Showcase(),
        "findings": findings(evidence.hygiene, evidence.warnings, evidence.target.modality),
        "class_counts": class_counts(evidence.hygiene),
        "cost_sentences": cost_sentences(evidence),
        "machine": [_machine(str(name), value) for name, value in evidence.machine.items()],
    }


def leaderboard(evidence: Evidence) -> list[Standing]:
    """The routes from the best validation score down, then those without a score."""
    rows = sorted(
        evidence.leaderboard,
        key=lambda row: (row.score is None, -(row.score or 0.0), row.seconds, row.source, row.strategy),
    )
    finalists = {"transfer": evidence.transfer, "baseline": evidence.baseline}
    entered = {side: _entry(rows, side, route) for side, route in finalists.items()}
    return [
        Standing(
            row,
            words.route_of(row),
            # All of a finalist's, which can be had; of others what they differ by.
            words.parameters(row.parameters, "" if entered[row.side] is row else row.strategy),
            finalists[row.side] if entered[row.side] is row else None,
        )
        for row in rows
    ]


def _entry(rows: Sequence[LeaderboardRow], side: str, route: Route) -> LeaderboardRow | None:
    """The row with which a finalist stands on the leaderboard; of several of one route, that with its parameters."""
    same = [
        row
        for row in rows
        if row.side == side and row.source == route.source and row.strategy == route.strategy and row.score is not None
    ]
    return next((row for row in same if row.parameters == route.parameters), same[0] if same else None)


# name, key, what it is, how to print it, whether less is better
_METRICS = (
    ("Accuracy", "accuracy", "share of test examples that are right", words.percent, False),
    ("Balanced accuracy", "balanced_accuracy", "the same, every class counting alike", words.percent, False),
    ("Macro F1", "macro_f1", "precision and recall together, mean over classes", words.percent, False),
    ("AUROC", "auroc", "how well the right class is ranked; 0.5 is chance", lambda value: f"{value:.3f}", False),
    ("Log loss", "log_loss", "how wrong the probabilities are; lower is better", lambda value: f"{value:.3f}", True),
    ("Calibration error", "ece", "how far confidence is from truth (ECE); lower is better", words.percent, True),
)


def comparisons(evidence: Evidence) -> list[Comparison]:
    """The metrics that at least one finalist has."""
    rows = []
    for name, key, gloss, form, less in _METRICS:
        one, two = evidence.transfer.metrics.get(key), evidence.baseline.metrics.get(key)
        if one is None and two is None:
            continue
        left, right = (form(value) if _finite(value) else words.ABSENT for value in (one, two))
        better = ""
        if one is not None and two is not None and left != right and _finite(one) and _finite(two):
            better = "transfer" if (one < two) == less else "baseline"
        rows.append(Comparison(name, gloss, left, right, better))
    mine, theirs = evidence.transfer.top_k, evidence.baseline.top_k
    if mine is not None and theirs is not None:
        left, right = (f"{words.percent(t.score)} ({words.interval(t.low, t.high, 'percent')})" for t in (mine, theirs))
        better = "" if mine.score == theirs.score else "transfer" if mine.score > theirs.score else "baseline"
        gloss = f"the true class is among the {mine.k} most probable; with its interval"
        rows.append(Comparison(f"Top-{mine.k} accuracy", gloss, left, right, better))
    return rows


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def class_verdicts(gains: Iterable[ClassGain]) -> tuple[list[str], list[str]]:
    """The classes whose interval lies below zero (transfer hurts them), and those whose interval lies above."""
    gains = list(gains)
    return [item.name for item in gains if item.high < 0], [item.name for item in gains if item.low > 0]


def matrix(evidence: Evidence) -> list[tuple[str, list[tuple[float, float]]]]:
    """Per true class: its name, and (count, share of the class) for every predicted class."""
    rows = []
    for name, counts in zip(evidence.target.classes, evidence.confusion, strict=False):
        total = sum(counts)
        rows.append((name, [(value, value / total if total else 0.0) for value in counts]))
    return rows


def confused_pairs(evidence: Evidence) -> list[Confusion]:
    """The confusions that happened, the most frequent first."""
    pairs = [
        Confusion(name, evidence.target.classes[column], value, share)
        for row, (name, cells) in enumerate(matrix(evidence))
        for column, (value, share) in enumerate(cells)
        if column != row and value > 0
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.truth, pair.predicted))


def label_rows(evidence: Evidence) -> list[tuple[int, dict[str, CurvePoint]]]:
    """Numbers of labels in rising order, each with what both sides scored."""
    rows: dict[int, dict[str, CurvePoint]] = {}
    for item in sorted(evidence.label_curve.points if evidence.label_curve else (), key=lambda item: item.labels):
        rows.setdefault(item.labels, {})[item.side] = item
    return list(rows.items())


def label_drawing(evidence: Evidence) -> CurveDrawing | None:
    """The label curve of both sides as a picture; None where it was not measured."""
    curve = evidence.label_curve
    if curve is None:
        return None
    labels = [point.labels for point in curve.points] + [at.labels for fit in curve.fits for at in fit.line]
    scores = [v for point in curve.points for v in (point.low, point.high)]
    # A fitted curve may leave the picture; the points never do.
    return CurveDrawing.over(labels, scores, curve)


def outcome(evidence: Evidence) -> list[tuple[str, float]]:
    """What the scores had guessed: each source with the score of its best probe, the best first."""
    if evidence.scores is None:
        return []
    found = sorted(evidence.scores.outcome.items(), key=lambda item: -item[1])
    return [(words.source(name), score) for name, score in found]


def cost_sentences(evidence: Evidence) -> list[str]:
    """What the run and the shipped model cost, in plain words."""
    cost = evidence.cost
    one, two = evidence.transfer, evidence.baseline
    sentences = [
        f"The whole run took {words.duration(evidence.seconds_total)} by the clock and "
        f"{words.duration(cost.cpu_seconds)} of processor time for {plural(cost.trials, 'trial')}, on "
        f"{cost.device}; its memory never rose above {words.memory(cost.peak_memory_mb)}."
    ]
    if one.seconds > 0 and two.seconds > 0:
        sentences.append(
            f"To train the transfer route once takes {words.duration(one.seconds)}, the baseline "
            f"{words.duration(two.seconds)}."
        )
    shipped = one if evidence.shipped == "transfer" else two
    if shipped.seconds_per_1000 is not None:
        sentences.append(
            f"The shipped model makes 1,000 predictions in {words.duration(shipped.seconds_per_1000)} on this machine."
        )
    if evidence.search_ended:
        sentences.append(f"The search ended before the budget did: {evidence.search_ended}.")
    if evidence.predictions is not None:
        sentences.append(predictions_sentence(evidence.predictions))
    return [*sentences, *map(precision_sentence, evidence.precisions)]


def predictions_sentence(off: Predictions) -> str:
    """How far off the predicted seconds of trials were, and which was the furthest."""
    count = f"{round(off.within * off.trials)} of {plural(off.trials, 'trial')}"
    said = (
        f"The plan had predicted the seconds of {count} within a factor of two; in the median a trial took "
        f"{off.ratio:.2g} times what was predicted."
    )
    if not off.worst:
        return said
    far = off.worst[0]
    return (
        f"{said} Furthest off was {far.strategy} on {words.source(far.source)} ({far.phase}): "
        f"{words.duration(far.predicted)} predicted, {words.duration(far.seconds)} taken."
    )


def precision_sentence(check: PrecisionCheck) -> str:
    """In which precision a source's features were computed, and what that rests on."""
    said = f"Features of {check.source} were computed in {check.precision}"
    if check.examples is None or check.low is None or check.high is None:
        return f"{said}: {check.why}."
    return (
        f"{said}: on {words.count(check.examples)} training examples a linear probe got {words.percent(check.bf16)} "
        f"right in bf16 and {words.percent(check.f32)} in f32 (90 % interval of the difference "
        f"{words.interval(check.low, check.high)}); {check.why}."
    )


# key of the hygiene report, sentence for one, sentence for several, how one item is written: see target.hygiene.Hygiene
_FINDINGS: tuple[tuple[str, str, str, str], ...] = (
    (
        "unreadable",
        "1 input could not be read as a {one} and was left out.",
        "{n} inputs could not be read as {many} and were left out.",
        ": ",
    ),
    (
        "ignored",
        "1 file is no {one}, or stands in no class folder, and was left out.",
        "{n} files are no {many}, or stand in no class folder, and were left out.",
        ", ",
    ),
    (
        "unlabelled",
        "1 input has no label; it was neither trained on nor judged on.",
        "{n} inputs have no label; they were neither trained on nor judged on.",
        ", ",
    ),
    (
        "exact_duplicates",
        "1 {one} occurs more than once, byte for byte; one copy of it was kept on each side.",
        "{n} {many} occur more than once, byte for byte; one copy of each was kept on each side.",
        " = ",
    ),
    ("near_duplicates", "1 pair of {many} is nearly identical.", "{n} pairs of {many} are nearly identical.", " ≈ "),
    (
        "across_splits",
        "1 pair of copies stands on both sides of the given split, which can flatter the test scores.",
        "{n} pairs of copies stand on both sides of the given split, which can flatter the test scores.",
        ", ",
    ),
    (
        "conflicting",
        "1 {one} occurs under different labels; none of its copies was trained on.",
        "{n} {many} occur under different labels; none of their copies was trained on.",
        " = ",
    ),
)


def findings(hygiene: dict[str, Any], said: Sequence[str] = (), modality: str = "image") -> list[Finding]:
    """What was found about the data, in sentences; what hygiene does not mention is passed over.

    Args:
        hygiene: `Hygiene.to_json()`.
        said: warnings that stand elsewhere on the page already.
        modality: what the examples are.
    """
    nouns = {"one": MODALITIES[modality].one, "many": MODALITIES[modality].many}
    found = []
    for key, one, many, between in _FINDINGS:
        items = hygiene.get(key) or ()
        if items:
            lines = [item if isinstance(item, str) else between.join(map(str, item)) for item in items[:LISTED]]
            sentence = (one if len(items) == 1 else many).format(n=words.count(len(items)), **nouns)
            found.append(Finding(sentence, tuple(lines), len(items) - len(lines)))
    if (hygiene.get("exact_duplicates") or hygiene.get("near_duplicates")) and hygiene.get(
        "duplicates_were"
    ) == "moved":
        found.append(Finding("The split was drawn so that copies stand on the same side."))
    imbalance = hygiene.get("imbalance") or 1.0
    if imbalance > 1:
        found.append(Finding(f"The largest class has {imbalance:.3g} times as many examples as the smallest."))
    found.extend(
        Finding(f"{part['sentence']} Compared: {part['features']}.")
        for part in hygiene.get("moved") or ()
        if part["sentence"] not in said
    )
    found.extend(Finding(warning) for warning in hygiene.get("warnings") or () if warning not in said)
    return found


def _machine(name: str, value: Any) -> tuple[str, str]:
    """One line about the machine; a unit at the end of the name goes behind the value."""
    unit = " GiB" if name.endswith("_gib") else ""
    return name.removesuffix("_gib").replace("_", " "), _plain(value) + unit


def _plain(value: Any) -> str:
    """A JSON value on one line."""
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def class_counts(hygiene: dict[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Usable examples per class: the names of the splits that hold any, and per class the count in each of them."""
    counts: dict[str, dict[str, int]] = hygiene.get("counts") or {}
    splits = [name for name in ("train", "validation", "test") if any(row.get(name) for row in counts.values())]
    return splits, [(name, [words.count(row.get(split, 0)) for split in splits]) for name, row in counts.items()]

"""What was found, in lines for stdout."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from headstart.errors import plural

if TYPE_CHECKING:
    from headstart.judge.evidence import Evidence
    from headstart.profile import Profile

SHOWN_SECONDS = 0.05  # shorter parts of the time would read 0.0


def table(rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> Iterator[str]:
    """Rows as lines with aligned columns, those in `right` flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def moment(seconds: float | None) -> str:
    """A date and time of day where the user is."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def drawn_words(draws: int, labels: int) -> str:
    """How many few-shot draws, of how many labels.

    >>> drawn_words(10, 1)
    '10 draws of 1 label per class'
    """
    return f"{plural(draws, 'draw')} of {plural(labels, 'label')} per class"


def target_lines(target: Any) -> Iterator[str]:
    """What a target is."""
    split = {"given": "given split", "made": "stratified split", "cross-fit": "no test split: cross-fitting"}[
        target.split
    ]
    from headstart.target.modality import MODALITIES

    parts = [f"{target.n_examples:,} {MODALITIES[target.modality].examples}", f"{len(target.classes)} classes"]
    parts.append(
        f"{target.n_train:,} train / {target.n_test:,} test ({split})" if target.split != "cross-fit" else split
    )
    if target.shots is not None:
        parts.append(drawn_words(target.shots.draws, target.shots.labels))
    hygiene = target.hygiene
    if hygiene.unreadable:
        what = "unreadable file" if target.modality == "image" else "empty or unreadable text"
        parts.append(plural(len(hygiene.unreadable), what) + " left out")
    if hygiene.across_splits:
        parts.append(plural(len(hygiene.across_splits), "duplicate pair") + " across splits")
    yield f"  target    {' · '.join(parts)}"


def hygiene_lines(hygiene: Any, modality: str = "image") -> Iterator[str]:
    """What was found wrong with its data."""
    from headstart.target.modality import MODALITIES

    one, many = MODALITIES[modality].one, MODALITIES[modality].many
    yield "  classes"
    width = max(len(name) for name in hygiene.counts)
    for name, counts in hygiene.counts.items():
        yield f"    {name:<{width}}  " + "  ".join(f"{side} {n}" for side, n in counts.items() if n)
    yield f"  imbalance {hygiene.imbalance:.2f} (largest class / smallest class)"
    for title, rows in (
        ("unreadable, left out", [f"{name}: {why}" for name, why in hygiene.unreadable]),
        (f"not {many}, ignored", list(hygiene.ignored)),
        ("without a label", list(hygiene.unlabelled)),
        (f"same {one}, different labels", [" = ".join(names) for names in hygiene.conflicting]),
        ("exact duplicates", [" = ".join(names) for names in hygiene.exact_duplicates]),
        ("near duplicates", [" ~ ".join(names) for names in hygiene.near_duplicates]),
        ("duplicates across splits", [f"{a} ~ {b} ({kind})" for a, b, kind in hygiene.across_splits]),
    ):
        if rows:
            yield f"  {title}: {len(rows)}"
            yield from (f"    {row}" for row in rows[:20])
            if len(rows) > 20:
                yield f"    ... and {len(rows) - 20} more (--json lists all)"
    for part in hygiene.moved:
        yield f"  moved     {part['sentence']} Compared: {part['features']}."
    for warning in hygiene.warnings:
        yield f"  note      {warning}"


def _metric(evidence: Evidence) -> str:
    return evidence.metric.replace("_", " ")


def gain_words(evidence: Evidence) -> str:
    """What transfer gained, with its interval."""
    gain = evidence.gain
    return (
        f"{100 * gain.estimate:+.1f} points {_metric(evidence)} "
        f"({100 * gain.confidence:.0f} % CI {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    )


def route_words(evidence: Evidence, side: str) -> str:
    """The strategy and the source of a side's best route."""
    route = getattr(evidence, side)
    # Several sources as one are joined by a plus.
    short = re.sub(r"(^|\+)\w+:", r"\1", route.source) if ":" in route.source else ""
    if route.strategy == "scratch":
        return f"{short} from scratch"
    return f"{route.strategy} on {short}" if short else str(route.strategy)


def _time_line(spent: Profile) -> str:
    """The total and its parts in seconds; parts that would read 0.0 are left out."""
    parts = [f"{name} {seconds:.1f}" for name, seconds in spent.parts().items() if seconds >= SHOWN_SECONDS]
    return f"  time      {spent.total:.1f} s" + (f": {', '.join(parts)}" if parts else "")


def predicted_words(off: Any) -> str:
    """How far off the predicted seconds of trials were.

    >>> from headstart.judge.evidence import Predictions
    >>> predicted_words(Predictions(trials=54, within=50 / 54, ratio=1.13))
    'seconds of 50 of 54 trials within a factor of two; in the median a trial took 1.1 times what was predicted'
    """
    return (
        f"seconds of {round(off.within * off.trials)} of {plural(off.trials, 'trial')} within a factor of two; "
        f"in the median a trial took {off.ratio:.2g} times what was predicted"
    )


def verdict_lines(evidence: Evidence, spent: Profile) -> Iterator[str]:
    """What came of a run."""
    from headstart.budget import format_seconds

    shots = evidence.shots
    often = plural(evidence.seeds, "seed") if shots is None else drawn_words(len(shots.draws), shots.labels)
    yield f"  verdict   {evidence.verdict.upper()}  {gain_words(evidence)}, n = {evidence.n_test}, {often}"
    sides = []
    for title, side in (("best", "transfer"), ("best baseline", "baseline")):
        route = getattr(evidence, side)
        between = f" ({100 * route.low:.1f} to {100 * route.high:.1f})" if shots is not None else ""
        sides.append(
            f"{title}: {route_words(evidence, side)}, {100 * route.score:.1f} %{between}, "
            f"{format_seconds(route.seconds)}"
        )
    yield f"            {';  '.join(sides)}"
    yield f"  shipped   {evidence.shipped_reason}"
    if evidence.verdict == "undetermined":
        line = f"smallest gain this test could have shown: {100 * evidence.minimal_detectable_gain:.1f} points"
        if evidence.examples_to_settle:
            line += f"; about {evidence.examples_to_settle:,} test examples would settle it"
        yield f"            {line}"
    if evidence.label_curve is not None and evidence.label_curve.sentences:
        yield f"  labels    {evidence.label_curve.sentences[0]}"
    yield _time_line(spent)
    if evidence.predictions is not None:
        yield f"  predicted {predicted_words(evidence.predictions)}"
    if evidence.search_ended:
        yield f"  ended     {evidence.search_ended}"
    skipped = [row for row in evidence.leaderboard if row.status == "skipped"]
    if nameless := [row for row in skipped if "--describe" in row.note]:
        yield f"  untried   {nameless[0].strategy}: {nameless[0].note}"
    if untried := [row for row in skipped if row not in nameless]:
        families = ", ".join(dict.fromkeys(row.strategy for row in untried))
        if evidence.partial:
            why = "the run was interrupted"
        elif evidence.search_ended:
            why = "nothing was left to gain"
        elif evidence.budget.endswith(" trials"):
            why = f"the {evidence.budget} were spent on others"
        else:
            why = "the budget had no room"
        yield f"  untried   {plural(len(untried), 'route')} ({families}): {why}; the report lists them"
    for warning in evidence.warnings:
        yield f"  note      {warning}"

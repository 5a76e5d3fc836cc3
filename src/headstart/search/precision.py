"""In which precision a source's frozen features are computed: bf16 where it is shown to cost no accuracy, else f32.

Half the bits make a forward pass up to twice as fast on processors that have the arithmetic, and change features by
some percent. Whether that matters is a question about this target: features of a sample of its training examples are
computed both ways, and a linear probe's leave-one-out predictions on them are compared, pair by pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart import source as sources
from headstart.errors import HeadstartError
from headstart.features import body_of
from headstart.features.precision import BF16, F32, Precision, has_bf16
from headstart.judge.intervals import paired_interval
from headstart.score.ridge import solve
from headstart.strategy import Bench
from headstart.target.split import stratified_sample
from headstart.target.target import Episode
from headstart.target.view import TrainView

if TYPE_CHECKING:
    from headstart.search.ledger import Ledger
    from headstart.search.options import Options

AUTO = "auto"
PRECISIONS = (AUTO, F32, BF16)
WORTH_FROM = 5_000
"""Inputs of a run: with fewer, the check takes about as long as bf16 saves."""
SAMPLE = 1_000
"""Training examples that are looked at. With fewer, an interval narrow enough would be luck."""
TOLERANCE = 0.005
"""Of the metric: the probe may not lose as much, said with 95 % confidence."""
_CONFIDENCE = 0.9  # of the two-sided interval, whose lower end is the one-sided 95 % bound


def in_ledger(ledger: Ledger) -> dict[str, Precision]:
    """Source -> the precision that was settled for it."""
    return {e["source"]: BF16 if e["precision"] == BF16 else F32 for e in ledger.all("precision")}


def settled(ledger: Ledger, name: str, episode: Episode, options: Options, metric: str, bench: Bench) -> Precision:
    """In which precision the frozen features of a source are computed: settled once a run, and on the record."""
    if not sources.find(name).card.pretrained:
        return F32
    if (known := in_ledger(ledger).get(name)) is not None:
        return known
    view, count = episode.view.training(), len(episode.view) + len(episode.seal)
    with profile.phase("judge"):
        event = choose(name, view, count, asked=options.precision, metric=metric, seed=options.seed, bench=bench)
    ledger.write("precision", **event)
    return in_ledger(ledger)[name]


def choose(
    name: str, view: TrainView, count: int, *, asked: str, metric: str, seed: int, bench: Bench
) -> dict[str, Any]:
    """What a run writes down of one source: its precision, why, and what the check showed.

    Nothing here depends on the clock or on what the store holds, so that two runs with one seed are the same run.

    Args:
        name: of a pretrained source.
        view: its training examples are looked at.
        count: inputs whose features the run will need.
        asked: `auto`, `f32` or `bf16`.
        metric: of the target.
        seed: of the sample.
        bench: device, store and progress.

    Returns:
        `source`, `precision`, `why`; where it was checked also `examples`, `f32` and `bf16` (what the probe scored),
        `low` and `high` (interval of bf16 minus f32).
    """
    if why := _f32_because(len(view.examples), count, asked, bench.device):
        return {"source": name, "precision": F32, "why": why}
    if asked == BF16:
        return {"source": name, "precision": BF16, "why": "asked for, and not checked"}
    examples = view.examples.take(stratified_sample(view.examples.labels, SAMPLE, seed=seed))
    source, classes = sources.find(name), len(view.classes)
    right: dict[str, NDArray[np.bool_]] = {}
    try:
        for precision in (F32, BF16):
            body = body_of(source, bench.device, precision=precision)
            body.prepare(count)
            if body.computes_in != precision:
                return {"source": name, "precision": F32, "why": "its network could not be compiled"}
            X = bench.features(body, examples.inputs, f"{source.card.short} in {precision}")
            scores = solve(X, examples.labels, classes).left_out
            right[precision] = scores.argmax(axis=1) == examples.labels
    except HeadstartError as error:  # the trial that needs the features will say it, too
        return {"source": name, "precision": F32, "why": f"it could not be checked: {error}"}
    gain, low, high = paired_interval(
        right[BF16][None], right[F32][None], examples.labels, metric, confidence=_CONFIDENCE, seed=seed
    )
    kept = low > -TOLERANCE
    return {
        "source": name,
        "precision": BF16 if kept else F32,
        "why": "it loses less than is allowed" if kept else "bf16 was not shown to lose less than is allowed",
        "examples": len(examples),
        "f32": float(right[F32].mean()),
        "bf16": float(right[BF16].mean()),
        "gain": gain,
        "low": low,
        "high": high,
    }


def _f32_because(training: int, count: int, asked: str, device: str) -> str:
    """Why f32 is the answer without a check; "" where it is not."""
    if asked == F32:
        return "asked for"
    if device != "cpu":
        return f"{device} has a precision of its own"
    if not has_bf16():
        return "this processor has no bf16 arithmetic"
    if asked == AUTO and (count < WORTH_FROM or training < SAMPLE):
        return f"fewer than {WORTH_FROM:,} inputs or {SAMPLE:,} training examples: a check would take what bf16 saves"
    return ""

"""Features: cached frozen forward passes. Ten new photos compute ten."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.errors import TrialError
from headstart.features.body import Body, Part, Progress
from headstart.features.engine import POOLED
from headstart.store import Recent, Store
from headstart.target.inputs import Inputs


@dataclass
class Tally:
    """What features cost: those computed here, and those recalled, at what they once cost to compute.

    Args:
        computed: vectors computed.
        preparing: wall seconds spent on loading what computes them.
        seconds: wall seconds they took.
        recalled: vectors the store had.
        saved: wall seconds those took when they were computed.
    """

    computed: int = 0
    preparing: float = 0.0
    seconds: float = 0.0
    recalled: int = 0
    saved: float = 0.0


def extract(
    body: Body,
    inputs: Inputs,
    *,
    store: Path | None = None,
    recent: Recent | None = None,
    tally: Tally | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """The vectors of `inputs` through `body`, what is frozen of it from the store where that has them.

    Args:
        body: turns inputs into vectors.
        inputs: N inputs.
        store: folder of the store; None: the user's cache.
        recent: what it gave lately; None: everything is read.
        tally: is added to.
        progress: called as `progress(done, total)` while computing.

    Returns:
        (N, D) float32.

    Raises:
        TrialError: an input can no longer be read (it was readable when the target was).
    """
    tally = tally if tally is not None else Tally()
    if len(body.bodies) > 1:
        how: dict[str, Any] = {"store": store, "recent": recent, "tally": tally, "progress": progress}
        return np.concatenate([extract(part, inputs, **how) for part in body.bodies], axis=1)
    frozen = body.frozen()
    if frozen is None:
        _prepare(body, len(inputs), tally)
        began = time.perf_counter()
        forward = body.compute(inputs, np.arange(len(inputs)), progress)
        tally.seconds += time.perf_counter() - began
        tally.computed += len(inputs)
        _refuse(forward.unreadable, inputs)
        return forward.vectors
    outputs = list(extract_parts(frozen, inputs, store=store, recent=recent, tally=tally, progress=progress).values())
    vectors = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)
    return body.finish(vectors)


def extract_parts(
    body: Body,
    inputs: Inputs,
    *,
    store: Path | None = None,
    recent: Recent | None = None,
    tally: Tally | None = None,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Everything that a frozen body computes, by name, in one pass over the inputs that the store lacks.

    Args:
        body: with at least one part.
        inputs: N inputs.
        store: folder of the store; None: the user's cache.
        recent: what it gave lately; None: everything is read.
        tally: is added to.
        progress: called as `progress(done, total)` while computing.

    Returns:
        output -> (N, width) in the dtype in which it is kept.

    Raises:
        TrialError: an input can no longer be read.
    """
    tally = tally if tally is not None else Tally()
    parts = body.parts()
    shelves = [Store(part.space, (part.width,), dtype=part.dtype, folder=store) for part in parts]
    with profile.phase("store"):
        keys = inputs.digests()
        held = [shelf.get(keys) if recent is None else recent.get(shelf, keys) for shelf in shelves]
    found = np.logical_and.reduce([have for _, have, _ in held])
    tally.recalled += int(found.sum())
    tally.saved += float(sum(cost.sum() for _, _, cost in (held if found.all() else [held[_paid(parts)]])))
    missing = np.flatnonzero(~found)
    arrays = {part.name: values for part, (values, _, _) in zip(parts, held, strict=True)}
    if len(missing):
        body = body.wider()
        parts = body.parts()
        shelves = [Store(part.space, (part.width,), dtype=part.dtype, folder=store) for part in parts]
        _prepare(body, len(missing), tally)
    paid = _paid(parts)
    for start in range(0, len(missing), body.chunk):
        rows = missing[start : start + body.chunk]

        def report(done: int, _total: int, start: int = start) -> None:
            if progress is not None:
                progress(start + done, len(missing))

        began = time.perf_counter()
        forward = body.compute(inputs, rows, report)
        took = time.perf_counter() - began
        tally.computed += len(rows)
        tally.seconds += took
        _refuse(forward.unreadable, inputs)
        with profile.phase("store"):
            at = 0
            for i, (part, shelf) in enumerate(zip(parts, shelves, strict=True)):
                values = forward.vectors[:, at : at + part.width].astype(part.dtype)
                if part.name in arrays:
                    arrays[part.name][rows] = values
                shelf.put([keys[row] for row in rows], values, took / len(rows) if i == paid else 0.0)
                at += part.width
    return arrays


def _paid(parts: Sequence[Part]) -> int:
    """With which output the seconds of a pass stand: it is paid once, whatever it gave."""
    return next((i for i, part in enumerate(parts) if part.name == POOLED), 0)


def _prepare(body: Body, count: int, tally: Tally) -> None:
    began = time.perf_counter()
    with profile.phase("prepare"):
        body.prepare(count)
    tally.preparing += time.perf_counter() - began


def _refuse(unreadable: dict[int, str], inputs: Inputs) -> None:
    if unreadable:
        i, reason = next(iter(unreadable.items()))
        raise TrialError(f"{len(unreadable)} inputs can no longer be read, first {inputs.name(i)}: {reason}")

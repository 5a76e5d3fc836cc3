"""Features: cached frozen forward passes. Ten new photos compute ten."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.errors import TrialError
from headstart.features.body import Body, Progress
from headstart.features.store import Store
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


_CHUNK = 256  # examples between two writes to the store: what a kill -9 can cost


def extract(
    body: Body,
    inputs: Inputs,
    *,
    store: Path | None = None,
    tally: Tally | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """The vectors of `inputs` through `body`, from the store where it has them.

    Args:
        body: turns inputs into vectors.
        inputs: N inputs.
        store: folder of the feature store; None: the user's cache.
        tally: is added to.
        progress: called as `progress(done, total)` while computing.

    Returns:
        (N, D) float32.

    Raises:
        TrialError: an input can no longer be read (it was readable when the target was).
    """
    tally = tally if tally is not None else Tally()
    space = body.space()
    if space is None:
        _prepare(body, len(inputs), tally)
        began = time.perf_counter()
        forward = body.compute(inputs, np.arange(len(inputs)), progress)
        tally.seconds += time.perf_counter() - began
        tally.computed += len(inputs)
        _refuse(forward.unreadable, inputs)
        return forward.vectors
    shelf = Store(space, body.width, store)
    keys = [inputs.digest(i) for i in range(len(inputs))]
    vectors, found, cost = shelf.get(keys)
    tally.recalled += int(found.sum())
    tally.saved += cost
    missing = np.flatnonzero(~found)
    if len(missing):
        _prepare(body, len(missing), tally)
    for start in range(0, len(missing), _CHUNK):
        rows = missing[start : start + _CHUNK]

        def report(done: int, _total: int, start: int = start) -> None:
            if progress is not None:
                progress(start + done, len(missing))

        began = time.perf_counter()
        forward = body.compute(inputs, rows, report)
        took = time.perf_counter() - began
        tally.computed += len(rows)
        tally.seconds += took
        _refuse(forward.unreadable, inputs)
        vectors[rows] = forward.vectors
        shelf.put([keys[i] for i in rows], forward.vectors, took / len(rows))
    return vectors


def _prepare(body: Body, count: int, tally: Tally) -> None:
    began = time.perf_counter()
    body.prepare(count)
    tally.preparing += time.perf_counter() - began


def _refuse(unreadable: dict[int, str], inputs: Inputs) -> None:
    if unreadable:
        i, reason = next(iter(unreadable.items()))
        raise TrialError(f"{len(unreadable)} inputs can no longer be read, first {inputs.name(i)}: {reason}")

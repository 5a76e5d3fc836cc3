"""The units of `benchmarks.adapt`: every way of adaptation fitted on one pair, kept until its code changes.

Ways are fitted one after another, as a run of `headstart adapt` does, and what several of them need of a pair is
computed by the first: added up, it is counted once. So that a way can be compared with another library's by itself, it
is fitted once more as if there were no other.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.stats  # noqa: F401 - imports are no part of a fit
from numpy.typing import NDArray

from benchmarks import adapt_tasks
from benchmarks.adapt_tasks import Task
from benchmarks.common import save_arrays
from headstart import strategy as strategies
from headstart.domains import align, labels, spread, transport, two_sample, weights
from headstart.files import cache_directory
from headstart.machine import one_thread
from headstart.predictor import LinearHead
from headstart.score import ridge
from headstart.strategy import linear, pair, shallow
from headstart.strategy.pair import Pair, paired
from headstart.strategy.shallow import Shallow
from headstart.target.split import folds
from headstart.target.view import FOLDS

CODE = (align, labels, spread, transport, two_sample, weights, ridge, linear, pair, shallow, adapt_tasks)
"""Modules that a unit depends on, beside those of the ways of adaptation themselves."""


@dataclass(frozen=True)
class Unit:
    """One task with every route fitted.

    Args:
        names: R routes, source-only first.
        held: rows of the source that were left out of the second fit of every route.
        asked: (R, M, C) log-probabilities of the target's examples, fitted on all of the source.
        left_out: (R, H, C) log-probabilities of the held-out source examples, fitted without them.
        cpu: (R, 2) CPU seconds of either fit, after the ways before it.
        alone: (R,) CPU seconds of the first fit without any other way; None: there is nothing that ways share.
    """

    names: tuple[str, ...]
    held: NDArray[np.int64]
    asked: NDArray[np.float32]
    left_out: NDArray[np.float32]
    cpu: NDArray[np.float64]
    alone: NDArray[np.float64] | None = None


def routes() -> Iterator[tuple[str, Shallow]]:
    """Every setting of every shallow way of adaptation, source-only first, by the name that a run gives it."""
    for kind in strategies.ADAPTATIONS.values():
        if issubclass(kind, Shallow):
            usual = strategies.parameters(kind.grid(None)[0])
            for setting in kind.grid(None):
                mine = strategies.parameters(setting)
                rest = ", ".join(f"{key} {value}" for key, value in mine.items() if value != usual[key])
                yield f"{kind.name} ({rest})" if rest else kind.name, setting


def unit(task: Task, only: Sequence[str] = ()) -> Unit:
    """The unit of a task, from the cache where it has it. No route sees a label of the target.

    Args:
        task: the domains.
        only: of these routes; empty: of all.
    """
    called = ", ".join((f"{task.family} {task.name}", *only))
    path = cache_directory() / "benchmarks" / "adapt" / _version() / f"{called}.npz"
    if path.is_file():
        with np.load(path) as found:
            return Unit(
                tuple(json.loads(str(found["names"]))),
                *(found[k] for k in ("held", "asked", "left_out", "cpu", "alone")),
            )
    made = _fitted(task, {name: way for name, way in routes() if name in only or not only})
    arrays = {"held": made.held, "asked": made.asked, "left_out": made.left_out, "cpu": made.cpu, "alone": made.alone}
    save_arrays(path, names=json.dumps(made.names), **arrays)
    return made


def _fitted(task: Task, ways: Mapping[str, Shallow]) -> Unit:
    held = folds(task.ys, FOLDS, seed=0)[0]
    kept = np.setdiff1d(np.arange(len(task.ys)), held)
    Xs, ys = task.Xs[kept], task.ys[kept]
    names, asked, left_out, cpu, alone = [], [], [], [], []
    with one_thread():
        for name, strategy in ways.items():
            began = time.process_time()
            whole = strategy.on(paired(task.Xs, task.ys, task.Xt, task.classes), 0)
            between = time.process_time()
            part = strategy.on(paired(Xs, ys, task.Xt, task.classes), 0)
            cpu.append((between - began, time.process_time() - between))
            names.append(name)
            asked.append(_log_probabilities(whole.target, task.Xt))
            left_out.append(_log_probabilities(part.source, task.Xs[held]))
        for strategy in ways.values():
            began = time.process_time()
            strategy.on(Pair(task.Xs, task.ys, task.Xt, task.classes), 0)
            alone.append(time.process_time() - began)
    return Unit(tuple(names), held, np.stack(asked), np.stack(left_out), np.array(cpu), np.array(alone))


def fitted_alone(name: str, task: Task, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(M', C) log-probabilities of some of the target's examples by one way that has seen only those; not kept."""
    Xt = task.Xt[rows]
    return _log_probabilities(dict(routes())[name].head(task.Xs, task.ys, Xt, task.classes, 0), Xt)


def _log_probabilities(head: LinearHead, X: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = head.logits(X).astype(np.float64)
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), dtype=np.float32)


def _version() -> str:
    """A digest of the code behind a unit."""
    kinds = {type(strategy) for _, strategy in routes()}
    files = {str(module.__file__) for module in CODE} | {inspect.getfile(kind) for kind in kinds} | {__file__}
    parts = [Path(name).read_bytes() for name in sorted(files, key=lambda name: Path(name).name)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]

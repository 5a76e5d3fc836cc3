"""The units of `benchmarks.adapt_deep` and `adapt_gradual`: ways of adaptation on a pair, kept until code changes.

A trial is one of `headstart adapt`: `candidate`, fitted on all of both domains, predicts the target; `search`, fitted
without a fold of the source, predicts that fold, which is what validators may see.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.adapt_deep_tasks import Pair
from benchmarks.adapt_units import CODE as SHALLOW
from benchmarks.adapt_units import Unit
from benchmarks.common import save_arrays
from headstart import train
from headstart.budget import Budget
from headstart.files import cache_directory, write_json
from headstart.search.adapt import AdaptOptions, called
from headstart.search.setting import Setting
from headstart.source import cuts
from headstart.strategy import deep, network, own_statistics, source_free, tail
from headstart.strategy.adapt import finetune, self_train, subspace, tca, tri_train
from headstart.strategy.contract import Bench
from headstart.target.adaptation import EPISODE
from headstart.target.inputs import Inputs
from headstart.trial import Phase, Spec, execute

CODE = (
    *SHALLOW,
    cuts,
    deep,
    network,
    own_statistics,
    source_free,
    tail,
    finetune,
    self_train,
    subspace,
    tca,
    tri_train,
)
"""Modules that a trial depends on, beside the training loop and the ways of adaptation themselves."""


def folder(pair: Pair) -> Path:
    """Where the trials of a pair are kept."""
    return cache_directory() / "benchmarks" / "adapt_deep" / _version() / f"{pair.task.family}, {pair.task.name}"


@functools.cache
def settings(source: str = Pair.source, modality: str = "image", *, between: bool = False) -> dict[str, Setting]:
    """Every setting of every deep way of adaptation that a run tries, by the name that it gives it.

    Args:
        source: name of the pretrained source.
        modality: of the domains.
        between: there are intermediate domains, and so are the ways over them.
    """
    found = AdaptOptions(sources=(source,), intermediate=between).settings(modality)
    needed = ((setting, setting.strategy.needs) for setting in found)
    return {called(setting): setting for setting, needs in needed if needs.cuts or needs.intermediate}


def _setting(pair: Pair, name: str) -> Setting:
    return settings(pair.source, pair.view.modality, between=bool(pair.view.intermediate))[name]


def unit(pair: Pair, names: list[str], seed: int = 0) -> Unit:
    """Some ways, each fitted twice. No trial sees a label of the target."""
    held = pair.view.fold_index(seed)[1]
    phases: tuple[Phase, ...] = ("candidate", "search")
    found = [[trial(pair, name, phase, seed) for phase in phases] for name in names]
    asked, left_out = ([each[i][0] for each in found] for i in range(2))
    cpu = np.array([[spent for _, spent in each] for each in found])
    return Unit(tuple(names), held, np.stack(asked), np.stack(left_out), cpu)


def joined(one: Unit, other: Unit) -> Unit:
    """The routes of two units of one task."""
    assert np.array_equal(one.held, other.held)
    parts = ((getattr(each, key) for each in (one, other)) for key in ("asked", "left_out", "cpu"))
    return Unit(one.names + other.names, one.held, *(np.concatenate(list(part)) for part in parts))


def trial(pair: Pair, name: str, phase: Phase, seed: int) -> tuple[NDArray[np.float32], float]:
    """Log-probabilities that a trial gives, and its CPU seconds, prediction included; from the cache where it has them.

    Raises:
        RuntimeError: the trial failed.
    """
    return _kept(pair, f"{name}, {phase} {seed}", _setting(pair, name).spec(EPISODE, phase, seed), None)


def twin(pair: Pair, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(M', C) log-probabilities of some of the target's examples by one way that has seen only those.

    Raises:
        RuntimeError: the trial failed.
    """
    return _kept(pair, f"{name}, twin", _setting(pair, name).spec(EPISODE, "candidate", 0), rows)[0]


def _kept(pair: Pair, called: str, spec: Spec, rows: NDArray[np.int64] | None) -> tuple[NDArray[np.float32], float]:
    path = folder(pair) / f"{called}.npz"
    if not path.is_file():
        asked = pair.asked if rows is None else pair.asked.take(rows)
        view = pair.view if rows is None else replace(pair.view, unlabelled=asked)
        found = execute(spec, view, asked, budget=Budget(), bench=_bench(pair)).result
        if found.log_probabilities is None:
            raise RuntimeError(f"{pair.task.name}, {called}: {found.error}")
        save_arrays(path, said=found.log_probabilities, cpu=found.cpu)
    with np.load(path) as kept:
        return kept["said"], float(kept["cpu"])


def _bench(pair: Pair) -> Bench:
    """A store of its own, so that it is known what was computed for whom; chains of domains are not timed."""
    return Bench() if pair.view.intermediate else Bench(store=folder(pair) / "store")


def before_training(pair: Pair) -> float:
    """CPU seconds that the first deep way takes until it trains: reading the pictures, values at the cut, the head.

    Measured as a trial of one step that finds an empty store; the trials after it find that store, so that it must be
    the first where their time is to be compared.
    """
    path = folder(pair) / "before_training.json"
    if not path.is_file():
        for package in ("openvino", "timm", "torch"):  # what importing takes is nobody's work
            importlib.import_module(package)
        shutil.rmtree(path.parent / "store", ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        spec = _setting(pair, "deep-coral").spec(EPISODE, "candidate", 0)
        found = execute(spec, pair.view, None, budget=Budget(steps=1), bench=_bench(pair)).result
        write_json(path, {"cpu": found.cpu, "error": found.error})
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return float(document["cpu"])


def paths(inputs: Inputs) -> list[str]:
    """Where the pictures lie."""
    return [str(inputs.path(i)) for i in range(len(inputs))]


@functools.cache
def _version() -> str:
    """A digest of the code behind a trial."""
    kinds = {type(setting.strategy) for setting in settings(between=True).values()}
    loop = Path(str(train.__file__)).parent.glob("*.py")
    files = {str(module.__file__) for module in CODE} | {inspect.getfile(kind) for kind in kinds} | set(map(str, loop))
    parts = [Path(name).read_bytes() for name in sorted(files, key=lambda name: Path(name).name)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]

"""The units of `benchmarks.adapt_deep`: every deep way of adaptation on a pair, each trial kept until its code changes.

A trial is one of `headstart adapt`: `candidate`, fitted on all of both domains, predicts the target; `search`, fitted
without a fold of the source, predicts that fold, which is what validators may see.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.adapt_tasks import Task
from benchmarks.adapt_units import Unit
from benchmarks.common import DATA
from headstart import train
from headstart.budget import Budget
from headstart.files import cache_directory, write_json
from headstart.score import ridge
from headstart.search.adapt import AdaptOptions, called
from headstart.search.setting import Setting
from headstart.source import cuts
from headstart.strategy import deep, linear, network, source_free
from headstart.strategy.adapt import finetune
from headstart.strategy.contract import Bench
from headstart.target.adaptation import EPISODE, as_adaptation
from headstart.target.domain import joined_domains, load_domain
from headstart.target.inputs import Inputs
from headstart.target.view import TrainView
from headstart.trial import Phase, execute

SOURCE = "bundled:efficientnet_lite0"
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
CODE = (cuts, deep, finetune, linear, network, ridge, source_free)
"""Modules that a trial depends on, beside the training loop and the ways of adaptation themselves."""


@dataclass(frozen=True)
class Pair:
    """One task of `benchmarks.adapt_tasks` with the pictures behind its features.

    Args:
        task: features, and the truth.
        view: the source's labels and the target's inputs.
        asked: the target's inputs.
    """

    task: Task
    view: TrainView
    asked: Inputs

    @property
    def folder(self) -> Path:
        """Where its trials are kept."""
        return cache_directory() / "benchmarks" / "adapt_deep" / _version() / self.task.name

    def bench(self) -> Bench:
        """A store of its own, so that it is known what was computed for whom."""
        return Bench(store=self.folder / "store")


def paired(task: Task) -> Pair:
    """The pictures of a task of the family `pacs`, in the order of its features."""
    one, other = task.name.split(" to ")
    names = [name for name in DOMAINS if name != other] if one == "all others" else [one]
    source = [load_domain(DATA / task.family / name) for name in names]
    whole = joined_domains(source) if len(source) > 1 else source[0]
    episode = as_adaptation([whole], load_domain(DATA / task.family / other)).episode
    assert np.array_equal(episode.view.examples.labels, task.ys)
    return Pair(task, episode.view, episode.seal.inputs)


@functools.cache
def settings() -> dict[str, Setting]:
    """Every setting of every deep way of adaptation that a run tries, by the name that it gives it."""
    found = AdaptOptions(sources=(SOURCE,)).settings()
    return {called(setting): setting for setting in found if setting.strategy.needs.cuts}


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
    path = pair.folder / f"{name}, {phase} {seed}.npz"
    if not path.is_file():
        before_training(pair)
        spec = settings()[name].spec(EPISODE, phase, seed)
        found = execute(spec, pair.view, pair.asked, budget=Budget(), bench=pair.bench()).result
        if found.log_probabilities is None:
            raise RuntimeError(f"{pair.task.name}, {name}: {found.error}")
        handle, building = tempfile.mkstemp(suffix=".npz", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(stream, said=found.log_probabilities, cpu=found.cpu)
        os.replace(building, path)
    with np.load(path) as kept:
        return kept["said"], float(kept["cpu"])


def before_training(pair: Pair) -> float:
    """CPU seconds that the first deep way takes until it trains: reading the pictures, values at the cut, the head.

    Measured as a trial of one step that finds an empty store; the trials after it find that store.
    """
    path = pair.folder / "before_training.json"
    if not path.is_file():
        for package in ("openvino", "timm", "torch"):  # what importing takes is nobody's work
            importlib.import_module(package)
        shutil.rmtree(pair.folder / "store", ignore_errors=True)
        pair.folder.mkdir(parents=True, exist_ok=True)
        spec = settings()["deep-coral"].spec(EPISODE, "candidate", 0)
        found = execute(spec, pair.view, None, budget=Budget(steps=1), bench=pair.bench()).result
        write_json(path, {"cpu": found.cpu, "error": found.error})
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return float(document["cpu"])


def paths(inputs: Inputs) -> list[str]:
    """Where the pictures lie."""
    return [str(inputs.path(i)) for i in range(len(inputs))]


@functools.cache
def _version() -> str:
    """A digest of the code behind a trial."""
    kinds = {type(setting.strategy) for setting in settings().values()}
    loop = Path(str(train.__file__)).parent.glob("*.py")
    files = {str(module.__file__) for module in CODE} | {inspect.getfile(kind) for kind in kinds} | set(map(str, loop))
    parts = [Path(name).read_bytes() for name in sorted(files, key=lambda name: Path(name).name)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]

"""The plain probe beside fine-tuned routes, where a network's last layers should matter: textures and sketches.

    python -m benchmarks family --set repeats=2 --results FOLDER     # more of it, kept elsewhere

Every route has one setting, and is trained five times a repeat, each time with another seed and without another fifth,
which it predicts: so every example counts. Gains over the probe are on the same examples; their intervals are those of
the verdict (stratified paired bootstrap, over examples and repeats). In the second part each second class has a fifth
of its training examples, and the metric is balanced accuracy.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.common import DATA, target
from benchmarks.folds import points, unseen

Routes = dict[str, tuple[str, dict[str, Any]]]

SETS = {"textures": "textures", "sketch": "pacs/sketch"}
SOURCE = "efficientnet_lite0"
RARE = 0.2  # of the training examples of each second class are left in the second part
TAIL = {"last": 1, "epochs": 10}
ROUTES: Routes = {
    "probe": ("probe", {}),
    "finetune": ("finetune", TAIL),
    "last two stages": ("finetune", TAIL | {"last": 2}),
    "last two, 0.3 of the rate": ("finetune", TAIL | {"last": 2, "trunk": 0.3}),
    "last two, for longer": ("finetune", TAIL | {"last": 2, "trunk": 0.3, "epochs": 20, "mix": "mixup"}),
    "norm": ("finetune", TAIL | {"trained": "norm", "trunk": 1.0}),
    "wise": ("finetune", TAIL | {"average": "wise"}),
    "swa": ("finetune", TAIL | {"average": "swa"}),
    "mixup": ("finetune", TAIL | {"mix": "mixup"}),
    "l2sp": ("finetune", TAIL | {"penalty": "l2sp"}),
    "cotuning": ("finetune", TAIL | {"penalty": "cotuning"}),
}
FIRST = "last two, 0.3 of the rate"  # of the grid of finetune
SKEWED: Routes = {
    "probe": ("probe", {}),
    "probe, shifted": ("probe", {"shift": True}),
    "finetune": ("finetune", TAIL),
    "adjusted": ("finetune", TAIL | {"loss": "adjusted"}),
    "class-balanced": ("finetune", TAIL | {"loss": "class-balanced"}),
    "balanced": ("finetune", TAIL | {"balanced": True}),
}


def main(repeats: int = 1) -> dict[str, Any]:
    """Every set with every route.

    Args:
        repeats: of the five folds, each with other folds.
    """
    if missing := [str(DATA / place) for place in SETS.values() if not (DATA / place).is_dir()]:
        return {"skipped": f"no {', '.join(missing)}"}
    measured: dict[str, Any] = {"source": SOURCE, "repeats": repeats}
    parts = {"even": (ROUTES, "accuracy"), "skewed": (SKEWED, "balanced_accuracy")}
    with tempfile.TemporaryDirectory() as store:
        for part, (routes, metric) in parts.items():
            measured[part] = {name: _measured(name, routes, metric, repeats, Path(store)) for name in SETS}
    measured["targets"] = targets(measured)
    return measured


def targets(measured: dict[str, Any]) -> list[dict[str, object]]:
    """What must be shown: of the route that runs try first by its own interval, of the best of all by a wider one."""
    first = [_first(name, measured["even"][name]) for name in SETS]
    parts = ("even", "skewed")
    return first + [_beaten(f"{name}, {part}", measured[part][name]) for part in parts for name in SETS]


def _measured(name: str, routes: Routes, metric: str, repeats: int, store: Path) -> dict[str, Any]:
    """Scores, CPU seconds of a training, and gains over the probe with their intervals, of every route."""
    from headstart.judge.intervals import mean_score, paired_interval
    from headstart.target import load_target

    thinned = _skewed if metric == "balanced_accuracy" else None
    view = replace(load_target(str(DATA / SETS[name])).everything, metric=metric)
    labels = view.examples.labels
    out: dict[str, Any] = {}
    probe: Any = None
    for route, (kind, parameters) in routes.items():
        right, spent = unseen(SOURCE, kind, parameters, view, repeats, store, thinned)
        scores = [round(mean_score(row[None], labels, metric), 4) for row in right]
        out[route] = {"score": round(mean(scores), 4), "scores": scores, "fit_cpu_seconds": round(spent, 2)}
        said = f"{100 * mean(scores):.1f} %"
        if route == "probe":
            probe = right
        else:
            out[route]["gain"] = [round(value, 4) for value in paired_interval(right, probe, labels, metric)]
            allowing = paired_interval(right, probe, labels, metric, confidence=1 - 0.05 / (len(routes) - 1))
            out[route]["allowing"] = [round(value, 4) for value in allowing]
            said += f", {points(out[route]['gain'])}"
        print(f"   {name}, {metric}, {route}: {said} in {spent:.1f} s", file=sys.stderr, flush=True)
    return out


def _skewed(labels: Any, seed: int) -> Any:
    """Rows in which each second class has a fifth of its examples, three at least."""
    rng = np.random.default_rng(seed)
    rows = []
    for c in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == c))
        rows.append(members[: max(3, round(RARE * len(members)))] if c % 2 else members)
    return np.sort(np.concatenate(rows))


def _first(name: str, routes: dict[str, dict[str, Any]]) -> dict[str, object]:
    """Whether the route that runs try first, named before anything was measured here, is above the probe."""
    gain = routes[FIRST]["gain"]
    what = f"{name}, even: the fine-tuned route that runs try first beats the plain probe by more than its interval"
    return target(what, gain[1] > 0, f"{FIRST} {points(gain)}")


def _beaten(name: str, routes: dict[str, dict[str, Any]]) -> dict[str, object]:
    """Whether the best route is above the probe by more than an interval that allows for having been picked."""
    gains = {route: found["allowing"] for route, found in routes.items() if "allowing" in found}
    best = max(gains, key=lambda route: gains[route][0])
    what = f"{name}: one of {len(gains)} fine-tuned routes beats the plain probe by more than its interval"
    return target(what, gains[best][1] > 0, f"{best} {points(gains[best])}, the interval allowing for {len(gains)}")

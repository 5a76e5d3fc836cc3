"""Features at the speed of the machine: side by side with what users run today, as ratios measured in one run.

Every ratio is the median of `REPEATS` pairs; the two sides take turns, so that what disturbs the machine disturbs
both. Peers run in an environment of their own (`benchmarks/peers`).
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import mean, median, variance
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.common import DATA, target
from benchmarks.peers import environment

REPEATS = 5
SOURCE = "efficientnet_lite0"
EPOCHS = 3


def main() -> dict[str, Any]:
    """All rows."""
    data = DATA / "ants_bees"
    if why := environment.lacking(data) or environment.lacking(requirements=environment.PRODUCT):
        return {"skipped": why}
    python = environment.python()
    assert python is not None
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADSTART_CACHE"] = str(Path(folder) / "cache")
        measured = {
            **_forward(data),
            **_whole_job(data, python, Path(folder)),
            **_epoch(data, python, Path(folder)),
            **_step(),
        }
    measured["targets"] = [
        _line(measured, "forward_vs_timm", "frozen forward, against timm eager channels-last", 3.0),
        _line(measured, "files_vs_forward", "files to features, share of the pure compiled forward", 0.85),
        _line(measured, "files_vs_script", "files to features, against timm with a DataLoader", 6.0),
        *_half(measured),
        _line(measured, "fit_vs_script", "warm headstart fit --strategy probe, whole process, against the script", 6.0),
        target(
            "accuracy of that fit, against the script's",
            measured["fit_accuracy"] >= measured["script_accuracy"],
            f"{100 * measured['fit_accuracy']:.1f} % against {100 * measured['script_accuracy']:.1f} %",
        ),
        _line(measured, "epoch_vs_timm", "one epoch of the last stage from the cut, against a frozen prefix", 5.0),
        _no_worse(
            f"accuracy of that, mean of {REPEATS} seeds after {EPOCHS} epochs of both",
            measured["epoch_accuracy"]["headstart"],
            measured["epoch_accuracy"]["timm"],
        ),
        _line(measured, "step_vs_torch", "one step of training the whole network, against torch's own layers", 1.3),
    ]
    return measured


def _half(measured: dict[str, Any]) -> list[dict[str, object]]:
    """The same in bf16, where this processor has it: what a run of 5,000 pictures and more uses if its check passes."""
    what = "the same in bf16, as in runs of 5,000 pictures and more whose accuracy check allows it"
    return [_line(measured, "files_vs_script_bf16", what, 6.0)] if "files_vs_script_bf16" in measured else []


def _line(measured: dict[str, Any], key: str, what: str, least: float) -> dict[str, object]:
    ratio = measured[key]
    found = f"{ratio['median']:.2f} ({min(ratio['pairs']):.2f} to {max(ratio['pairs']):.2f})"
    return target(f"{what}: at least {least:g}", ratio["median"] >= least, found)


def _ratio(pairs: list[float]) -> dict[str, Any]:
    return {"median": round(median(pairs), 3), "pairs": [round(pair, 3) for pair in pairs]}


def _forward(data: Path) -> dict[str, Any]:
    """In this process: the pure forward pass of both, and files to features."""
    import torch

    from headstart.features import NetworkBody
    from headstart.source import find
    from headstart.target import PathInputs

    paths = sorted(path for path in data.rglob("*.jpg"))
    inputs, index = PathInputs(paths), np.arange(len(paths))
    source = find(SOURCE)
    body = NetworkBody.of(source)
    body.prepare(len(paths))
    engine = body._engine
    assert engine is not None
    side = source.card.preprocessing.size  # type: ignore[union-attr]
    pixels = np.random.default_rng(0).integers(0, 256, (engine.batch, side, side, 3), dtype=np.uint8)
    into = [np.empty((engine.batch, body.width), dtype=np.float32)]
    module: Any = source.module().eval().to(memory_format=torch.channels_last)
    batch = torch.randn(32, 3, side, side).contiguous(memory_format=torch.channels_last)
    eager_batches = 3

    def compiled() -> None:
        for _ in range(len(paths) // engine.batch):
            engine.start(pixels, range(engine.batch), into)
        engine.finish()

    def eager() -> None:
        with torch.inference_mode():
            for _ in range(eager_batches):
                module(batch)

    compiled(), eager()
    ours, theirs, files = [], [], []
    for _ in range(REPEATS):
        ours.append(len(paths) // engine.batch * engine.batch / common.seconds(compiled))
        files.append(len(paths) / common.seconds(lambda: body.compute(inputs, index)))
        theirs.append(eager_batches * 32 / common.seconds(eager))
    return {
        "forward_images_per_second": round(median(ours), 1),
        "files_images_per_second": round(median(files), 1),
        "timm_forward_images_per_second": round(median(theirs), 1),
        "batch": engine.batch,
        "forward_vs_timm": _ratio([a / b for a, b in zip(ours, theirs, strict=True)]),
        "files_vs_forward": _ratio([a / b for a, b in zip(files, ours, strict=True)]),
    }


def _whole_job(data: Path, python: Path, folder: Path) -> dict[str, Any]:
    """The whole process: `headstart fit --strategy probe` with a warm cache, and the script users write.

    Each runs in an environment of its own, with nothing but what it needs.
    """
    product = environment.product()
    # Python keeps what it compiled, as it does by itself.
    usual = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def fit() -> tuple[float, float, dict[str, float]]:
        out = folder / f"run{time.monotonic_ns()}"
        profile = folder / "profile.json"
        command = [
            str(product), "-m", "headstart", "fit", str(data), "--strategy", "probe", "--source", SOURCE,
            "--out", str(out), "--profile", str(profile),
        ]  # fmt: skip
        took = common.seconds(lambda: subprocess.run(command, check=True, capture_output=True, timeout=900, env=usual))
        evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
        spent = json.loads(profile.read_text(encoding="utf-8"))
        phases = {name: round(phase["seconds"], 2) for name, phase in spent["phases"].items()} | {
            "other": round(spent["other"], 2)
        }
        return took, float(evidence["transfer"]["score"]), phases

    def script() -> dict[str, Any]:
        return common.peer(python, "timm_probe", folder / "peer.json", data / "train", data / "val")

    from headstart.features import NetworkBody
    from headstart.features.precision import BF16, F32, has_bf16
    from headstart.source import find
    from headstart.target import PathInputs

    paths = sorted(path for path in data.rglob("*.jpg"))
    inputs, every = PathInputs(paths), np.arange(len(paths))
    bodies = {p: NetworkBody.of(find(SOURCE), precision=p) for p in (F32, *([BF16] if has_bf16() else []))}
    for body in bodies.values():
        body.prepare(len(paths))
        body.compute(inputs, every)
    fit(), script()
    pairs, ours, theirs = [], [], []
    features: dict[str, list[float]] = {precision: [] for precision in bodies}
    for _ in range(REPEATS):
        peer = script()
        seconds, accuracy, phases = fit()
        pairs.append(peer["wall"] / seconds)
        laps = peer["seconds"]
        for precision, body in bodies.items():
            mine = common.seconds(functools.partial(body.compute, inputs, every))
            features[precision].append((laps["train_features"] + laps["test_features"]) / mine)
        ours.append(seconds)
        theirs.append(peer["wall"])
    return {
        "fit_seconds": round(median(ours), 2),
        "fit_accuracy": accuracy,
        "fit_phases": phases,
        "script_seconds": round(median(theirs), 2),
        "script_accuracy": peer["accuracy"],
        "fit_vs_script": _ratio(pairs),
        "files_vs_script": _ratio(features[F32]),
        **({"files_vs_script_bf16": _ratio(features[BF16])} if BF16 in features else {}),
    }


def _epoch(data: Path, python: Path, folder: Path) -> dict[str, Any]:
    """Training the last stage, from the cut and with a frozen prefix in timm: seconds of an epoch, and the accuracy.

    Seconds: of an epoch after the first, everything cached that a second trial would find cached; ours include judging
    the pictures held out. Accuracy: on the val folder, after `EPOCHS` epochs on the train folder, each pair with a seed
    of its own. Ours holds 15 % of the train folder out, to keep the epoch that is best there, as it does for users; the
    peer trains on all of it.
    """
    from headstart.budget import Budget
    from headstart.predictor import Predictor
    from headstart.source import find
    from headstart.strategy import Bench, make
    from headstart.target import load_target

    view = load_target(data).episodes[0].view
    source = find(SOURCE)
    judged = sorted(path for path in (data / "val").rglob("*.jpg"))
    truth = [path.parent.name for path in judged]

    def ours(epochs: int, seed: int) -> tuple[list[float], Predictor]:
        ends = EpochEnds(epochs)
        strategy = make("finetune", {"epochs": epochs, "last": 1, "batch": 16})
        predictor = strategy(source, view, budget=Budget(), seed=seed, bench=Bench(progress=ends))
        return ends.seconds(), predictor

    pairs, mine, theirs, epochs = [], [], [], []
    accuracy: dict[str, list[float]] = {"headstart": [], "timm": []}
    for seed in range(REPEATS):
        ours(1, seed)  # the values at the cut are cached now, for what this seed trains on
        peer = common.peer(
            python, "timm_frozen_finetune", folder / "peer.json", data / "train", data / "val",
            "--epochs", EPOCHS, "--batch", 16, "--seed", seed,
        )  # fmt: skip
        # Early stopping does not end training within its first three epochs.
        seconds, predictor = ours(EPOCHS, seed)
        mine.append(median(seconds))
        theirs.append(median(peer["epoch_seconds"]))
        pairs.append(theirs[-1] / mine[-1])
        epochs.append(predictor.provenance["training"]["epochs"])
        right = [found == true for found, true in zip(predictor.predict(judged), truth, strict=True)]
        accuracy["headstart"].append(sum(right) / len(right))
        accuracy["timm"].append(peer["accuracy"])
    return {
        "epoch_seconds": round(median(mine), 3),
        "timm_epoch_seconds": round(median(theirs), 3),
        "epoch_vs_timm": _ratio(pairs),
        "epoch_accuracy": {
            "epochs": EPOCHS,
            "epochs_run": epochs,
            "judged_on": len(judged),
            **{name: [round(found, 4) for found in values] for name, values in accuracy.items()},
        },
    }


def _step() -> dict[str, Any]:
    """A step of training the whole network, forward and backward, as training runs it and by torch's own layers."""
    import torch
    from torch.nn import functional

    from headstart.source import find
    from headstart.strategy.network import Classifier
    from headstart.train.fused import fused

    source, classes, batch = find(SOURCE), 10, 16
    card = source.card
    side = card.preprocessing.size  # type: ignore[union-attr]
    module: Any = Classifier(source.module(), card.features, classes).to(memory_format=torch.channels_last).eval()
    inputs = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % classes

    def step() -> None:
        module.zero_grad(set_to_none=True)
        functional.cross_entropy(module(inputs), labels).backward()

    step()
    ours, theirs = [], []
    for _ in range(2 * REPEATS + 1):
        theirs.append(common.seconds(step))
        with fused(module, frozen=True):
            ours.append(common.seconds(step))
    return {
        "step_ms_per_image": round(1e3 * median(ours) / batch, 1),
        "torch_step_ms_per_image": round(1e3 * median(theirs) / batch, 1),
        "step_vs_torch": _ratio([b / a for a, b in zip(ours, theirs, strict=True)]),
    }


class EpochEnds:
    """Hears the progress of a training, and notes when its epochs ended.

    Args:
        epochs: that the training was told to take.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self._ends: list[float] = []

    def __call__(self, words: str, done: int, total: int) -> None:
        """As `Bench` tells it: steps done and in all; other work than training has other words."""
        if words.startswith("finetune") and done % (total // self.epochs) == 0:
            self._ends.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """From the end of each epoch to the end of the next."""
        return [later - earlier for earlier, later in itertools.pairwise(self._ends)]


def _no_worse(what: str, ours: list[float], theirs: list[float]) -> dict[str, object]:
    """Whether our mean over seeds is better than theirs, or within one standard error of their difference below it."""
    error = math.sqrt(sum(variance(side) / len(side) for side in (ours, theirs)))

    def words(side: list[float]) -> str:
        return f"{100 * mean(side):.1f} % ({100 * min(side):.1f} to {100 * max(side):.1f})"

    # Equal means must not differ by what rounding leaves of a sum.
    met = mean(ours) >= mean(theirs) - error - 1e-9
    found = f"{words(ours)} against {words(theirs)}, standard error of the difference {100 * error:.1f} points"
    return target(f"{what}: no worse (better, or within one standard error)", met, found)

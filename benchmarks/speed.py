"""Features at the speed of the machine: side by side with what users run today, as ratios measured in one run.

Every ratio is the median of `REPEATS` pairs; the two sides take turns, so that what disturbs the machine disturbs
both. Peers run in an environment of their own (`benchmarks/peers`).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import DATA, headstart, target
from benchmarks.peers import environment

REPEATS = 5
SOURCE = "efficientnet_lite0"
EPOCHS = 3
PEERS = Path(__file__).parent / "peers"


def main() -> dict[str, Any]:
    """All rows."""
    data = DATA / "ants_bees"
    if not data.is_dir():
        return {"skipped": f"{data} is absent"}
    python = environment.python()
    if python is None:
        return {"skipped": f"no environment for the peers: {environment.prepared().reason}"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEADSTART_CACHE"] = str(Path(folder) / "cache")
        measured = {
            **_forward(data),
            **_whole_job(data, python, Path(folder)),
            **_epoch(data, python, Path(folder)),
        }
    measured["targets"] = [
        _line(measured, "forward_vs_timm", "frozen forward, against timm eager channels-last", 3.0),
        _line(measured, "files_vs_forward", "files to features, share of the pure compiled forward", 0.85),
        _line(measured, "files_vs_script", "files to features, against timm with a DataLoader", 6.0),
        _line(measured, "fit_vs_script", "warm headstart fit --strategy probe, whole process, against the script", 6.0),
        target(
            "accuracy of that fit, against the script's",
            measured["fit_accuracy"] >= measured["script_accuracy"],
            f"{100 * measured['fit_accuracy']:.1f} % against {100 * measured['script_accuracy']:.1f} %",
        ),
        _line(measured, "epoch_vs_timm", "one epoch of the last stage from the cut, against a frozen prefix", 5.0),
    ]
    return measured


def _line(measured: dict[str, Any], key: str, what: str, least: float) -> dict[str, object]:
    ratio = measured[key]
    found = f"{ratio['median']:.2f} ({min(ratio['pairs']):.2f} to {max(ratio['pairs']):.2f})"
    return target(f"{what}: at least {least:g}", ratio["median"] >= least, found)


def _ratio(pairs: list[float]) -> dict[str, Any]:
    return {"median": round(median(pairs), 3), "pairs": [round(pair, 3) for pair in pairs]}


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


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
        ours.append(len(paths) // engine.batch * engine.batch / _seconds(compiled))
        files.append(len(paths) / _seconds(lambda: body.compute(inputs, index)))
        theirs.append(eager_batches * 32 / _seconds(eager))
    return {
        "forward_images_per_second": round(median(ours), 1),
        "files_images_per_second": round(median(files), 1),
        "timm_forward_images_per_second": round(median(theirs), 1),
        "batch": engine.batch,
        "forward_vs_timm": _ratio([a / b for a, b in zip(ours, theirs, strict=True)]),
        "files_vs_forward": _ratio([a / b for a, b in zip(files, ours, strict=True)]),
    }


def _peer(python: Path, name: str, out: Path, *arguments: object) -> dict[str, Any]:
    """What a peer measured of itself, and the wall seconds of its process."""
    command = [str(python), str(PEERS / f"{name}.py"), *map(str, arguments), "--json", str(out)]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    took = time.perf_counter() - began
    return {**json.loads(out.read_text(encoding="utf-8")), "wall": took}


def _whole_job(data: Path, python: Path, folder: Path) -> dict[str, Any]:
    """The whole process: `headstart fit --strategy probe` with a warm cache, and the script users write."""

    def fit() -> tuple[float, float, dict[str, float]]:
        out = folder / f"run{time.monotonic_ns()}"
        profile = folder / "profile.json"
        ran = headstart(
            "fit", str(data), "--strategy", "probe", "--source", SOURCE, "--out", str(out), "--profile", str(profile),
            cache=folder / "cache",
        )  # fmt: skip
        if ran.code:
            raise RuntimeError(ran.err[-2000:])
        evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
        spent = json.loads(profile.read_text(encoding="utf-8"))
        phases = {name: round(phase["seconds"], 2) for name, phase in spent["phases"].items()}
        return ran.seconds, float(evidence["transfer"]["score"]), phases

    def script() -> dict[str, Any]:
        return _peer(python, "timm_probe", folder / "peer.json", data / "train", data / "val")

    from headstart.features import NetworkBody
    from headstart.source import find
    from headstart.target import PathInputs

    paths = sorted(path for path in data.rglob("*.jpg"))
    body = NetworkBody.of(find(SOURCE))
    body.prepare(len(paths))
    fit(), script()
    pairs, features, ours, theirs = [], [], [], []
    for _ in range(REPEATS):
        peer = script()
        seconds, accuracy, phases = fit()
        mine = _seconds(lambda: body.compute(PathInputs(paths), np.arange(len(paths))))
        pairs.append(peer["wall"] / seconds)
        laps = peer["seconds"]
        features.append((laps["train_features"] + laps["test_features"]) / mine)
        ours.append(seconds)
        theirs.append(peer["wall"])
    return {
        "fit_seconds": round(median(ours), 2),
        "fit_accuracy": accuracy,
        "fit_phases": phases,
        "script_seconds": round(median(theirs), 2),
        "script_accuracy": peer["accuracy"],
        "fit_vs_script": _ratio(pairs),
        "files_vs_script": _ratio(features),
    }


def _epoch(data: Path, python: Path, folder: Path) -> dict[str, Any]:
    """One epoch of training the last stage: from the cut, and with a frozen prefix in timm."""
    from headstart.budget import Budget
    from headstart.source import find
    from headstart.strategy import Bench, make
    from headstart.target import load_target

    view = load_target(data).episodes[0].view
    source = find(SOURCE)

    def ours(epochs: int) -> float:
        strategy = make("finetune", {"epochs": epochs, "last": 1, "batch": 16})
        return _seconds(lambda: strategy(source, view, budget=Budget(), seed=0, bench=Bench()))

    ours(1)  # the cut is cached now
    pairs, mine, peers = [], [], []
    for _ in range(REPEATS):
        peer = _peer(
            python, "timm_frozen_finetune", folder / "peer.json", data / "train", data / "val",
            "--epochs", EPOCHS, "--batch", 16,
        )  # fmt: skip
        # What an epoch adds; early stopping does not end training within its first three epochs.
        epoch = (ours(1 + EPOCHS - 1) - ours(1)) / (EPOCHS - 1)
        mine.append(epoch)
        peers.append(median(peer["epoch_seconds"]))
        pairs.append(peers[-1] / epoch)
    return {
        "epoch_seconds": round(median(mine), 3),
        "timm_epoch_seconds": round(median(peers), 3),
        "epoch_vs_timm": _ratio(pairs),
    }

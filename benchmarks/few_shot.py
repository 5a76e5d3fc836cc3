"""Texts with eight labels of each class: our routes beside SetFit; same encoder, same draws, accuracy and CPU time.

    python -m benchmarks.few_shot --draws 2 --sets trec customer_reviews     # less of it, printed and not kept

Every route has one setting, its default, and so has SetFit. Each side runs in a process of its own, draw after draw;
the time of imports is in neither.

SetFit learns from all pairs of texts: from the 616 of banking77 in 374,000, hours for each draw. There it is given
`ALLOWED` times the CPU time that contrast took, as a number of steps, which its schedule then spans.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks.common import DATA, labelled_texts, target
from benchmarks.peers import environment

SETS = ("customer_reviews", "sst2", "trec", "subjectivity", "banking77")
LARGE = ("banking77",)  # SetFit is not run to its end
ALLOWED = 3  # times the CPU time of contrast
SHOTS, DRAWS = 8, 10
TEST = 1_000  # texts at most that a draw is judged on
ROUTES = ("contrast", "prototypes", "probe")
SHARE = 1 / 3  # of SetFit's CPU time
LIMIT = 4 * 3600.0
PEER = Path(__file__).parent / "peers" / "setfit_few_shot.py"


def main(sets: tuple[str, ...] = SETS, draws: int = DRAWS, test: int = TEST) -> Iterator[dict[str, Any]]:
    """Every set with every route; what there is so far after each set.

    Args:
        sets: names of folders of the benchmark data.
        draws: of `SHOTS` labels for each class.
        test: texts at most that each draw is judged on.
    """
    if why := environment.lacking(*(DATA / name for name in sets), requirements=environment.TEXTS):
        yield {"skipped": why}
        return
    found: dict[str, dict[str, Any]] = {}
    for name in sets:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = _set(name, _task(name, draws, test), Path(folder))
        print(f"   {name}: {_words(found[name])}", file=sys.stderr, flush=True)
        versions = found[name]["setfit"]["versions"]
        yield {
            "shots": SHOTS,
            "draws": draws,
            "setfit_versions": versions,
            **({"partial": True} if len(found) < len(sets) else {}),
            "sets": {
                each: {route: _summary(result) for route, result in routes.items()} for each, routes in found.items()
            },
            "targets": _targets(found),
        }


def _set(name: str, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One set with every route, ours first."""
    python = environment.python(environment.TEXTS)
    assert python is not None
    path, out = folder / "task.json", folder / "peer.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    found = {
        route: _side(sys.executable, "-m", "benchmarks.few_shot", "--route", route, "--task", str(path))
        for route in ROUTES
    }
    limit: list[str] = []
    if name in LARGE:
        limit = ["--seconds", str(ALLOWED * mean(found["contrast"]["fit_cpu_seconds"]))]
    return found | {"setfit": _side(str(python), str(PEER), str(path), *limit, "--json", str(out))}


def _task(name: str, draws: int, test: int) -> dict[str, Any]:
    """Training and test texts and, for each draw, the rows of the training texts that are labelled."""
    rng = np.random.default_rng(0)
    if (DATA / name / "all.csv").is_file():
        rows = labelled_texts(DATA / name / "all.csv")
        order = rng.permutation(len(rows))
        train, held = ([rows[i] for i in part] for part in np.array_split(order, 2))
    else:
        train, held = (labelled_texts(DATA / name / f"{part}.csv") for part in ("train", "test"))
    held = [held[i] for i in rng.permutation(len(held))[:test]]
    names = sorted({label for _, label in train})
    parts = [
        {"texts": [text for text, _ in part], "labels": [names.index(label) for _, label in part]}
        for part in (train, held)
    ]
    labels = np.array(parts[0]["labels"])
    drawn = [
        np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:SHOTS] for c in range(len(names))]).tolist()
        for _ in range(draws)
    ]
    return {"train": parts[0], "test": parts[1], "classes": names, "draws": drawn}


def _side(*command: str) -> dict[str, Any]:
    """One side in a process of its own, whose threads wait without spinning: that would count as work."""
    env = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    document: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    return document


def _route(name: str, task: dict[str, Any]) -> dict[str, list[float]]:
    """All draws with one of our routes, its features computed anew each time."""
    import sklearn.linear_model  # noqa: F401 - what our routes import when they first need it, SetFit does at once
    import torch._dynamo  # noqa: F401

    import headstart.strategy.embedder  # noqa: F401
    from headstart.budget import Budget
    from headstart.source import find
    from headstart.strategy import Bench, make
    from headstart.target.inputs import StringInputs
    from headstart.target.view import Examples, TrainView

    source, truth = find("minilm_l6"), np.array(task["test"]["labels"])
    texts, labels = task["train"]["texts"], np.array(task["train"]["labels"])
    held = StringInputs(task["test"]["texts"])
    accuracies, fits, predictions = [], [], []
    warm = make("prototypes", {})
    for number, rows in enumerate([task["draws"][0], *task["draws"]]):
        view = TrainView(
            Examples(StringInputs([texts[i] for i in rows]), labels[rows]), tuple(task["classes"]), "accuracy"
        )
        with tempfile.TemporaryDirectory() as store:
            bench = Bench(store=Path(store))
            if not number:  # compiles the encoder, once on a machine
                warm(source, view, budget=Budget(), seed=0, bench=bench)
                continue
            began = time.process_time()
            predictor = make(name, {})(source, view, budget=Budget(), seed=number - 1, bench=bench)
            fits.append(time.process_time() - began)
            began = time.process_time()
            accuracies.append(float((predictor.predict_proba(held).argmax(axis=1) == truth).mean()))
            predictions.append(time.process_time() - began)
    return {"accuracies": accuracies, "fit_cpu_seconds": fits, "predict_cpu_seconds": predictions}


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    scores = result["accuracies"]
    return {
        "accuracy": round(mean(scores), 4),
        "deviation": round(stdev(scores), 4) if len(scores) > 1 else None,
        "accuracies": [round(score, 4) for score in scores],
        "fit_cpu_seconds": round(mean(result["fit_cpu_seconds"]), 2),
        "predict_cpu_seconds": round(mean(result["predict_cpu_seconds"]), 2),
        **({"steps": result["steps"]} if "steps" in result else {}),
    }


def _words(routes: dict[str, dict[str, Any]]) -> str:
    return ", ".join(
        f"{route} {100 * mean(result['accuracies']):.1f} % in {mean(result['fit_cpu_seconds']):.1f} s"
        for route, result in routes.items()
    )


def _targets(found: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, object]]:
    """On every set within noise of SetFit, above it on average, in a third of its time."""
    lines, gains = [], []
    for name, routes in found.items():
        gain = np.array(routes["contrast"]["accuracies"]) - np.array(routes["setfit"]["accuracies"])
        error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
        gains.append(float(gain.mean()))
        lines.append(
            target(
                f"{name}: contrast at least SetFit{_given(name)}, within two standard errors over draws",
                gains[-1] >= -2 * error,
                f"{100 * gains[-1]:+.1f} points, standard error {100 * error:.1f}",
            )
        )
    lines.append(target("on average above SetFit", mean(gains) > 0, f"{100 * mean(gains):+.1f} points"))
    shares = [
        mean(routes["contrast"]["fit_cpu_seconds"]) / mean(routes["setfit"]["fit_cpu_seconds"])
        for name, routes in found.items()
        if name not in LARGE
    ]
    if shares:
        lines.append(
            target(
                "CPU time to learn, on average at most a third of SetFit's with its defaults",
                mean(shares) <= SHARE,
                f"{mean(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})",
            )
        )
    return lines


def _given(name: str) -> str:
    return f" in {ALLOWED} times its CPU time" if name in LARGE else ""


def _command() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_shot", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--test", type=int, default=TEST)
    parser.add_argument("--route", choices=ROUTES, help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task is not None:
        document: dict[str, Any] = _route(given.route, json.loads(given.task.read_text(encoding="utf-8")))
    else:
        *_, document = main(tuple(given.sets), given.draws, given.test)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    _command()

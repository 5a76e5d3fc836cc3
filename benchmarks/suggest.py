"""Is labelling what `headstart suggest` names better than labelling at random, or than what the model is least sure of?

A probe on three random labels of each class, ten at least; then as many more, suggested, the least sure, or at random,
from the rest of the training examples; then the probe again, judged on the test part. The same draws for all ways.

A set's interval is over draws: it is about that pool and that test part. What may hold elsewhere is said by the
interval over families of sets, in which the four domains of PACS are one.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.common import DATA, SETS, target
from headstart.budget import Budget
from headstart.judge.intervals import draws_t, mean_score
from headstart.search.suggest import choose, margins
from headstart.source import find
from headstart.strategy import Bench, make
from headstart.target import load_target

PLACES = SETS | {"banking77": "banking77/train.csv"}
WAYS = ("random", "least sure", "suggested")
PER_CLASS, LEAST = 3, 10  # first labels; as many more are chosen
FIRST_DRAW = 1_000  # the way was chosen by looking at other draws than these


def main(draws: int = 20) -> dict[str, Any]:
    """Every set.

    Args:
        draws: of the first labels.
    """
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    found = {name: _measured(name, draws) for name in PLACES}
    gains = {way: _over_families(found, way) for way in WAYS[1:]}
    return {"draws": draws, "found": found, "over_families": gains, "targets": _targets(found, gains)}


def _family(name: str) -> str:
    return "pacs" if name.startswith("pacs_") else name


def _measured(name: str, draws: int) -> dict[str, Any]:
    """Scores before and after, by each way, and gains over random with their intervals over draws."""
    source_name = "minilm_l6" if PLACES[name].endswith(".csv") else "efficientnet_lite0"
    data, source, bench = load_target(DATA / PLACES[name], seed=0), find(source_name), Bench()
    episode = data.episodes[0]
    view, test = episode.view.training(), episode.seal.inputs
    truth: list[Any] = []
    episode.seal.open("suggest", lambda _, labels: truth.append(labels))
    probe = make("probe", {})
    more = max(LEAST, PER_CLASS * len(data.classes))

    def fit(rows: Any) -> Any:
        return probe(source, view.take(np.sort(rows)), budget=Budget(), seed=0, bench=bench)

    def score(predictor: Any) -> float:
        logs = predictor.log_probabilities(bench.features(predictor.body, test, source_name))
        return mean_score((logs.argmax(axis=1) == truth[0])[None], truth[0], data.metric)

    scores: dict[str, list[float]] = {"before": [], **{way: [] for way in WAYS}}
    for draw in range(FIRST_DRAW, FIRST_DRAW + draws):
        order = np.random.default_rng(draw).permutation(len(view))
        sample = view.sample(more, draw)
        known = np.flatnonzero(np.isin(view.examples.inputs.digests(), sample.examples.inputs.digests()))
        pool = order[~np.isin(order, known)]
        before = fit(known)
        vectors = bench.features(before.body, view.examples.inputs.take(pool), source_name)
        probabilities = np.exp(before.log_probabilities(vectors))
        chosen = {
            "random": np.arange(more),
            "least sure": np.argsort(margins(probabilities), kind="stable")[:more],
            "suggested": choose(vectors, probabilities, more, draw)[0],
        }
        scores["before"].append(score(before))
        for way, rows in chosen.items():
            scores[way].append(score(fit(np.concatenate([known, pool[rows]]))))
    after = {way: np.array(scores[way]) for way in WAYS}
    gains = {way: draws_t(after[way] - after["random"], 0.0, draws * len(test))[:3] for way in WAYS[1:]}
    print(f"   {name}: suggested {100 * gains['suggested'][0]:+.1f} points over random", file=sys.stderr, flush=True)
    return {
        "source": source_name,
        "labels": [more, 2 * more],
        "judged_on": len(test),
        "metric": data.metric,
        "scores": {way: round(float(np.mean(values)), 4) for way, values in scores.items()},
        "gains": {way: [round(value, 4) for value in gain] for way, gain in gains.items()},
    }


def _over_families(found: dict[str, dict[str, Any]], way: str) -> list[float]:
    """Mean gain over random of the families, and its interval over them."""
    families: dict[str, list[float]] = defaultdict(list)
    for name, row in found.items():
        families[_family(name)].append(row["gains"][way][0])
    gain = draws_t(np.array([mean(gains) for gains in families.values()]), 0.0, len(families))
    return [round(value, 4) for value in gain[:3]]


def _targets(found: dict[str, dict[str, Any]], gains: dict[str, list[float]]) -> list[dict[str, object]]:
    estimate, low, high = (100 * value for value in gains["suggested"])
    families = len({_family(name) for name in PLACES})
    worse = [name for name, row in found.items() if row["gains"]["suggested"][2] < 0]
    better = sum(row["gains"]["suggested"][1] > 0 for row in found.values())
    return [
        target(
            f"labelling suggestions is better than labelling at random, over {families} families of sets",
            low > 0,
            f"{estimate:+.1f} points ({low:+.1f} to {high:+.1f})",
        ),
        target(
            "and on no set worse, beyond its interval",
            not worse,
            f"worse on {', '.join(worse) or 'none'}; better on {better} of {len(found)}",
        ),
    ]

"""Probes on deep, mixed and shallow layers, and ensembles over sources, beside the plain probe.

    python -m benchmarks layers --set repeats=1 --results FOLDER     # less of it, kept elsewhere

Every route has one setting, and is trained five times a repeat, each time without another fifth, which it predicts: so
every example counts. Gains are on the same examples; their intervals are those of the verdict (stratified paired
bootstrap, over examples and repeats). Mixed layers are compared with the plain probe on the same source; an ensemble
with the best of its own members, which is found on the very examples it is judged on, so that the gain is rather too
small; and so is the ensemble of baselines.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.common import DATA, target
from benchmarks.folds import points, unseen

Route = tuple[str, str, dict[str, Any]]

PICTURES = {"textures": "textures", "sketch": "pacs/sketch", "flowers": "flowers", "ants_bees": "ants_bees"}
TEXTS = {"trec": "trec"}
LITES = tuple(f"efficientnet_lite{i}" for i in range(3))
WAYS: dict[str, dict[str, Any]] = {
    "deep": {},
    "shallow": {"layers": "shallow"},
    "mixed": {"layers": "mixed"},
    "learned": {"layers": "mixed", "weights": "learned"},
    "kept": {"layers": "mixed", "keep": 0.1},
}
BASELINES = {"hog": {"features": "hog", "size": 64}, "pixels": {"features": "pixels", "size": 16}}
TOLD = ("textures", "sketch")  # where a network that knows photos should not know best what to look at


def main(repeats: int = 3) -> dict[str, Any]:
    """Every set with every route.

    Args:
        repeats: of the five folds, each with other folds.
    """
    places = {**PICTURES, **TEXTS}
    if missing := [str(DATA / place) for place in places.values() if not (DATA / place).is_dir()]:
        return {"skipped": f"no {', '.join(missing)}"}
    measured: dict[str, Any] = {"repeats": repeats}
    for name in PICTURES:
        measured[name] = _pictures(name, repeats)
    for name in TEXTS:
        routes = {way: ("minilm_l6", "probe", settings) for way, settings in WAYS.items()}
        measured[name] = _Measured(DATA / places[name], routes, repeats).told({way: ["deep"] for way in WAYS})
    measured["targets"] = [
        _beaten(f"{name}: mixed layers beat the plain probe on {source}", measured[name][f"learned, {source}"])
        for name in TOLD
        for source in LITES
    ]
    measured["targets"] += [
        _beaten(f"{name}: the ensemble of mixed probes beats its best member", measured[name]["ensemble, mixed"])
        for name in PICTURES
    ]
    return measured


def _pictures(name: str, repeats: int) -> dict[str, Any]:
    routes: dict[str, Route] = {
        f"{way}, {source}": (source, "probe", settings) for source in LITES for way, settings in WAYS.items()
    }
    against = {route: [f"deep, {route.partition(', ')[2]}"] for route in routes}
    for way in ("deep", "mixed"):
        routes[f"ensemble, {way}"] = ("+".join(LITES), "ensemble", {"layers": way})
        against[f"ensemble, {way}"] = [f"{way}, {source}" for source in LITES]
    for kind, settings in BASELINES.items():
        routes[kind] = ("scratch", "classical", settings)
        against[kind] = [kind]
    routes["hog+pixels"] = ("scratch", "classical", {"features": "hog+pixels", "size": 64})
    against["hog+pixels"] = list(BASELINES)
    return _Measured(DATA / PICTURES[name], routes, repeats).told(against)


class _Measured:
    """Which examples each route predicted right when it had not seen them, and what a training took."""

    def __init__(self, place: Any, routes: dict[str, Route], repeats: int) -> None:
        from headstart.target import load_target

        self.name, self.view = place.name, load_target(str(place)).everything
        self.right: dict[str, Any] = {}
        self.spent: dict[str, float] = {}
        for route, (source, strategy, settings) in routes.items():
            self.right[route], self.spent[route] = unseen(source, strategy, settings, self.view, repeats)

    def told(self, against: dict[str, list[str]]) -> dict[str, Any]:
        """Scores, seconds, and the gain over the best of those that a route is compared with."""
        from headstart.judge.intervals import mean_score, paired_interval

        labels, metric = self.view.examples.labels, self.view.metric
        out: dict[str, Any] = {"metric": metric, "examples": len(labels)}
        score = {route: mean_score(right, labels, metric) for route, right in self.right.items()}
        for route, right in self.right.items():
            out[route] = {"score": round(score[route], 4), "fit_cpu_seconds": round(self.spent[route], 3)}
            said = f"{100 * score[route]:.1f} %"
            other = max(against[route], key=lambda name: score[name])
            if other != route:
                gain = paired_interval(right, self.right[other], labels, metric)
                out[route] |= {"over": other, "gain": [round(float(value), 4) for value in gain]}
                said += f", {points(out[route]['gain'])} over {other}"
            print(f"   {self.name}, {route}: {said}", file=sys.stderr, flush=True)
        return out


def _beaten(what: str, row: dict[str, Any]) -> dict[str, object]:
    return target(what, row["gain"][1] > 0, f"{points(row['gain'])} points over {row['over']}")

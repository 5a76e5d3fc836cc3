"""Static embeddings without a hub: what the bundled encoder's word vectors are worth beside the encoder and n-grams.

    python -m benchmarks static_table --set most=500 --set repeats=2 --results FOLDER     # less of it, kept elsewhere

Six sets of texts, with all labels (ridge probes) and with eight of each class (nearest class means), other eight for
each fold. N-grams may choose between a linear machine and naive Bayes on the very
examples they are judged on, so that a gain over them is rather too small. `distilled` is a table made as model2vec does
it (Tulkens & van Dongen 2024): every wordpiece through the encoder by itself, principal components, weights by rank.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.common import DATA, target
from benchmarks.folds import points, unseen

SETS = ("trec", "banking77", "sst2", "subjectivity", "customer_reviews", "sms_spam")
MOST = 4_000  # texts of each set
EIGHT = 8  # labels of each class, where they are few
WIDTH = 256  # of the distilled table
NGRAMS = {"svm": 0.5, "bayes": 0.3}
TIMES = 10  # as cheap as the encoder, at least
TIMED = 2_000  # texts

Route = tuple[str, str, dict[str, Any]]


def main(most: int = MOST, repeats: int = 5) -> dict[str, Any]:
    """Every set with every route.

    Args:
        most: texts of each set.
        repeats: of the five folds, where labels are few; once where there are all.
    """
    if missing := [name for name in SETS if not (DATA / name).is_dir()]:
        return {"skipped": f"no {', '.join(missing)} in {DATA}"}
    with tempfile.TemporaryDirectory() as folder:
        distilled, seconds = _distilled(Path(folder) / "distilled")
        names = {"encoder": "minilm_l6", "static": "minilm_static", "distilled": f"static:{distilled}"}
        views = {name: _view(name, most) for name in SETS}
        found: dict[str, Any] = {"texts": most, "repeats": repeats, "distilled_cpu_seconds": round(seconds, 1)}
        found["cpu_ms_a_text"] = {route: _cost(names[route], views["sst2"]) for route in ("encoder", "static")}
        found["all"] = {name: _measured(name, view, _all(names), 1, None) for name, view in views.items()}
        found["eight"] = {name: _measured(name, view, _few(names), repeats, _eight) for name, view in views.items()}
    return found | {"targets": _targets(found)}


def _view(name: str, most: int) -> Any:
    """A sample of the labelled texts of a set."""
    from headstart.target import load_target
    from headstart.target.view import TrainView

    everything = load_target(str(DATA / name)).everything
    view = everything.sample(min(most, len(everything)), 0)
    return TrainView(view.examples, view.classes, view.metric)


def _ngrams() -> dict[str, Route]:
    return {
        f"n-grams, {machine}": ("scratch", "classical", {"features": "words+characters", "machine": machine, "C": C})
        for machine, C in NGRAMS.items()
    }


def _all(names: dict[str, str]) -> dict[str, Route]:
    return {route: (name, "probe", {}) for route, name in names.items()} | _ngrams()


def _few(names: dict[str, str]) -> dict[str, Route]:
    return {route: (name, "prototypes", {}) for route, name in names.items()} | _ngrams()


def _eight(labels: Any, seed: int) -> Any:
    """Rows of eight labels of each class."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:EIGHT] for c in np.unique(labels)])


def _measured(name: str, view: Any, routes: dict[str, Route], repeats: int, thinned: Any) -> dict[str, Any]:
    """The score of every route, and the gain of the static table over the better n-grams."""
    from headstart.judge.intervals import mean_score, paired_interval

    labels, metric = view.examples.labels, view.metric
    right = {
        route: unseen(source, strategy, settings, view, repeats, thinned=thinned)[0]
        for route, (source, strategy, settings) in routes.items()
    }
    score = {route: round(mean_score(each, labels, metric), 4) for route, each in right.items()}
    best = max((route for route in routes if route.startswith("n-grams")), key=lambda route: score[route])
    gain = [round(float(value), 4) for value in paired_interval(right["static"], right[best], labels, metric)[:3]]
    said = ", ".join(f"{route} {100 * value:.1f}" for route, value in score.items())
    print(f"   {name}: {said}; static {points(gain)} over {best}", file=sys.stderr, flush=True)
    return {"metric": metric, "examples": len(labels), "scores": score, "over": best, "gain": gain}


def _cost(name: str, view: Any) -> float:
    """CPU milliseconds for the features of a text, from its words to the store; the second of two rounds."""
    from headstart.features import body_of, extract
    from headstart.source import find

    inputs = view.examples.inputs.take(list(range(min(TIMED, len(view)))))
    for _ in range(2):  # the first compiles and loads
        with tempfile.TemporaryDirectory() as store:
            began = time.process_time()
            extract(body_of(find(name)), inputs, store=Path(store))
            spent = time.process_time() - began
    return round(1000 * spent / len(inputs), 3)


def _distilled(folder: Path) -> tuple[Path, float]:
    """A table of the encoder's vectors of single wordpieces in a folder, and the CPU seconds it took."""
    import torch
    from safetensors.torch import save_file

    from headstart.source import find

    source: Any = find("minilm_l6")
    began, network, document = time.process_time(), source.module().eval(), source.tokenizer()
    vocabulary = json.loads(document)["model"]["vocab"]
    ids = torch.arange(len(vocabulary)).clamp(min=1)  # number 0 would be padding
    rows = []
    with torch.inference_mode():
        for part in ids.split(512):
            marks = [torch.full_like(part, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")]
            rows.append(network.forward_features(torch.stack([marks[0], part, marks[1]], dim=1))[0].mean(1))
    vectors = torch.cat(rows)
    vectors -= vectors.mean(0)
    _, components = torch.linalg.eigh(vectors.T @ vectors)
    table = vectors @ components[:, -WIDTH:] * torch.log(torch.arange(len(ids)) + 2.0)[:, None]
    seconds = time.process_time() - began
    folder.mkdir()
    save_file({"embeddings": table.contiguous()}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(document, encoding="utf-8")
    (folder / "config.json").write_text('{"normalize": true}', encoding="utf-8")
    return folder, seconds


def _targets(found: dict[str, Any]) -> list[dict[str, object]]:
    few, cost = found["eight"], found["cpu_ms_a_text"]
    gains = [row["gain"][0] for row in few.values()]
    each = ", ".join(f"{name} {points(row['gain'])}" for name, row in few.items())
    ahead = {
        labels: mean(row["scores"]["static"] - row["scores"]["distilled"] for row in found[labels].values())
        for labels in ("all", "eight")
    }
    return [
        target(
            f"static: a text costs at most a {TIMES}th of the encoder's CPU time",
            cost["static"] * TIMES <= cost["encoder"],
            f"{cost['static']:.2f} ms, and {cost['encoder']:.2f} ms, {cost['encoder'] / cost['static']:.0f} times",
        ),
        target(
            "eight labels of each class: static above n-grams on average",
            mean(gains) > 0,
            f"{100 * mean(gains):+.1f} points; {each}",
        ),
        target(
            "word vectors as they are, not worse than distilled ones on average",
            min(ahead.values()) >= 0,
            f"{100 * ahead['all']:+.1f} points with all labels, {100 * ahead['eight']:+.1f} with eight of each class; "
            f"distilling took {found['distilled_cpu_seconds']:.0f} CPU s",
        ),
    ]

"""An earlier run as a source: photos first, then paintings and sketches of the same classes, in several stages.

    python -m benchmarks earlier_run --set draws=2 --results FOLDER     # less of it, kept elsewhere

The intermediate is photos, on which the last stage of the bundled network is fine-tuned. Then it is the source for each
of the other domains, with a few labels: `stages` is bundled -> photos -> domain, and `direct` bundled -> domain. `own`
is the earlier run's own classifier, without any label of the domain; a probe is also averaged with it. Gains are of
several stages over direct ones, on the same test examples; their intervals are those of the verdict (stratified paired
bootstrap, over examples and draws of the labels).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DATA, target

SOURCE = "bundled:efficientnet_lite0"
BEFORE, DOMAINS = "photo", ("art_painting", "sketch")
TAIL = {"last": 1, "epochs": 10}
LABELS = (1, 5, 20)  # of each class
ROUTES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # strategy, and parameters direct and in stages
    "probe": ("probe", {}, {}),
    "probe beside the old head": ("probe", {}, {"own": True}),
    "finetune": ("finetune", TAIL, TAIL),
}
FINETUNED_FROM = 20  # labels of each class; with fewer there is nothing to fine-tune with


def main(draws: int = 6) -> dict[str, Any]:
    """Both domains, at every number of labels.

    Args:
        draws: of the labels.
    """
    if missing := [str(DATA / "pacs" / name) for name in (BEFORE, *DOMAINS) if not (DATA / "pacs" / name).is_dir()]:
        return {"skipped": f"no {', '.join(missing)}"}
    with tempfile.TemporaryDirectory() as folder:
        store, run = Path(folder) / "store", Path(folder) / "photos"
        _ship(run, store)
        found = {name: _measured(name, f"run:{run}", draws, store) for name in DOMAINS}
    gains = {f"{name}, {row}": values["gain"] for name, part in found.items() for row, values in part["rows"].items()}
    best = max(gains, key=lambda row: gains[row][0])
    return {
        "source": SOURCE,
        "before": BEFORE,
        "draws": draws,
        "domains": found,
        "targets": [
            target(
                "several stages beat direct ones by more than the interval, somewhere",
                gains[best][1] > 0,
                f"{best}: {_words(gains[best])}",
            )
        ],
    }


def _ship(run: Path, store: Path) -> None:
    """What a run with `--strategy 'finetune(last=1,epochs=10)'` on photos ships, trained on all of them."""
    from headstart.budget import Budget
    from headstart.source import find
    from headstart.strategy import Bench, make
    from headstart.target import load_target

    data, source = load_target(str(DATA / "pacs" / BEFORE)), find(SOURCE)
    made = make("finetune", TAIL)(source, data.everything, budget=Budget(), seed=0, bench=Bench(store=store))
    summary = {"name": data.name, "train": data.n_train, "classes": list(data.classes)}
    made.provenance |= {"target": summary, "source": SOURCE, "strategy": "finetune", "licence": source.card.licence}
    made.save(run / "model")


def _measured(name: str, earlier: str, draws: int, store: Path) -> dict[str, Any]:
    from headstart.judge.intervals import mean_score, paired_interval
    from headstart.target import load_target

    data = load_target(str(DATA / "pacs" / name))
    (episode,) = data.episodes
    labels = episode.seal.open("the benchmark", lambda *_: None)
    own = _right("zero-shot", {}, earlier, episode.view, 0, episode.seal.inputs, labels, store)
    out: dict[str, Any] = {"test": len(labels), "own": round(mean_score(own[None], labels, "accuracy"), 4), "rows": {}}
    print(f"   {name}, the earlier run's own classifier: {100 * out['own']:.1f} %", file=sys.stderr, flush=True)
    for each in LABELS:
        for route, (kind, direct, staged) in ROUTES.items():
            if route == "finetune" and each < FINETUNED_FROM:
                continue
            right: dict[str, Any] = {}
            for way, source, parameters in (("direct", SOURCE, direct), ("stages", earlier, staged)):
                views = [episode.view.sample(each * len(data.classes), seed) for seed in range(draws)]
                right[way] = np.stack(
                    [
                        _right(kind, parameters, source, view, seed, episode.seal.inputs, labels, store)
                        for seed, view in enumerate(views)
                    ]
                )
            scores = {way: round(mean_score(rows, labels, "accuracy"), 4) for way, rows in right.items()}
            gain = [round(v, 4) for v in paired_interval(right["stages"], right["direct"], labels, "accuracy")]
            row = f"{route}, {each} labels of each class"
            out["rows"][row] = {**scores, "gain": gain}
            print(f"   {name}, {row}: {scores}, {_words(gain)}", file=sys.stderr, flush=True)
    return out


def _right(
    kind: str, parameters: dict[str, Any], name: str, view: Any, seed: int, inputs: Any, labels: Any, store: Path
) -> Any:
    """(N,) bool: which test examples a route is right on."""
    from headstart.budget import Budget
    from headstart.source import find
    from headstart.strategy import Bench, make

    bench = Bench(store=store)
    made = make(kind, parameters)(find(name), view, budget=Budget(), seed=seed, bench=bench)
    return made.log_probabilities(bench.features(made.body, inputs, name)).argmax(axis=1) == labels


def _words(gain: list[float]) -> str:
    estimate, low, high = (100 * value for value in gain)
    return f"{estimate:+.1f} points ({low:+.1f} to {high:+.1f})"

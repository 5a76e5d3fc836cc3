"""The planner at two minutes beside an exhaustive search: every setting that there is, then the best of them.

The search trains every setting on the first fold, and goes on to the next of the five with those of each side that are
not behind by an interval of the judge, paired over all held-out examples so far (a race; Maron & Moore 1994); of those
that train a network with the best eight, as a careful person would. Then the best transfer route and the best baseline
are judged on the sealed test as a run judges its finalists, and what the same guard lets through is what it ships.

A target with a seed is a unit. Each seed draws other examples to learn from, 100 unless told, and up to 1,000 of the
rest to be judged on; with `--set labels=0` the data sets are taken as they are, which takes days. What was done of a
unit lies in `runs/planner` under the checkout (or in the folder that `HEADSTART_BENCH_RUNS` names), trial by trial, so
that the same command goes on where it was cut; it takes hours.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import DATA, RESULTS, ROOT, SETS, headstart, labelled_texts, target
from headstart import machine, strategy
from headstart.budget import Budget
from headstart.files import new_directory, write_json
from headstart.judge.intervals import mean_score, paired_interval
from headstart.search import Ledger, Options, assemble
from headstart.search.begin import begin
from headstart.search.finalist import finalists, right_answers, validation_score
from headstart.search.plan import SIDES
from headstart.strategy import Bench
from headstart.target import Target, load_target
from headstart.target.image import SUFFIXES
from headstart.target.split import stratified_sample
from headstart.trial import Result, Spec, decode, encode, execute

LIST = {  # about the cheapest first
    "digits": "embedded:digits",
    "pictograms": "embedded:pictograms",
    **{name: str(DATA / place) for name, place in SETS.items()},
}
FOLDS = 5
RACE = 8  # settings of a side that train a network and go on to the next fold
DONE = "unit.json"
PLAN = 43  # by which a unit was measured: raise it when the plan or a route does something else than before
TEST = 1000  # examples that a target is judged on, at most
FINALS = 3  # seeds of a finalist that trains a network; of others one, because they hardly differ
SEEDS = 5  # of every target, where all of it is measured
LOST, TIME = 0.01, 0.25  # on average at most: points lost, share of the exhaustive search's CPU seconds
WITHIN = 0.9  # of the plan's trials, within a factor of two of what was predicted


def main(
    seconds: int = 120, labels: int = 100, seeds: int = 1, targets: int = len(LIST), finished: int = 0
) -> Iterator[dict[str, Any]] | dict[str, Any]:
    """Compare on each target with each seed.

    Args:
        seconds: budget of the planner.
        labels: of a target, to learn from; 0: the data sets as they are.
        seeds: of draws and of everything else random.
        targets: how many of the list, from its start.
        finished: 1: only those units of them that were finished before.
    """
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    asked = [(name, labels, seed) for seed in range(seeds) for name in list(LIST)[:targets]]
    if finished:
        asked = [each for each in asked if (_place(*each) / DONE).is_file()]
    return _measured(seconds, labels, asked)


def _measured(seconds: int, labels: int, asked: Sequence[tuple[str, int, int]]) -> Iterator[dict[str, Any]]:
    units = earlier(seconds, labels)
    if not asked:
        yield _document(seconds, labels, units)
    for each in asked:
        done = _place(*each) / DONE
        found = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else _unit(*each, seconds)
        if "stderr" not in found:  # what failed is tried again
            write_json(done, found)
        units[each[0], each[2]] = {"target": each[0], "seed": each[2]} | found
        yield _document(seconds, labels, units)


def _unit(name: str, labels: int, seed: int, seconds: int) -> dict[str, Any]:
    """A unit, and when and where and of what plan it was measured."""
    measured = {
        "plan": PLAN,
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": machine.describe()["processor"],
    }
    return measured | unit(name, labels, seed, seconds)


def _document(seconds: int, labels: int, units: dict[tuple[str, int], dict[str, Any]]) -> dict[str, Any]:
    order = list(LIST)
    found = [units[key] for key in sorted(units, key=lambda key: (key[1], order.index(key[0])))]
    return {"budget_seconds": seconds, "labels": labels, "units": found, **summary(found)}


def earlier(seconds: int, labels: int, results: Path = RESULTS) -> dict[tuple[str, int], dict[str, Any]]:
    """The units that the committed results have of this plan, by target and seed."""
    try:
        known = json.loads((results / "planner.json").read_text(encoding="utf-8"))["measured"]
    except (OSError, ValueError, KeyError):
        return {}
    if (known["budget_seconds"], known["labels"]) != (seconds, labels):
        return {}
    return {(u["target"], u["seed"]): u for u in known["units"] if u.get("plan") == PLAN and "stderr" not in u}


def unit(name: str, labels: int, seed: int, seconds: int) -> dict[str, Any]:
    """One target with one seed: what both searches shipped, and what they took."""
    place = planned(name, labels, seed, seconds)
    document = place / "run" / "evidence.json"
    if not document.is_file():
        return {"stderr": (place / "stderr").read_text(encoding="utf-8", errors="replace")[-2000:]}
    evidence = json.loads(document.read_text(encoding="utf-8"))
    loaded = load_target(_data(name, place), seed=seed)
    if loaded.split == "cross-fit":
        return {"skipped": "too small for a test split"}
    ledger = Ledger(_made(place / "exhaustive"))
    everything(loaded, ledger, place / "store", seed)
    chosen = evidence[evidence["shipped"]]
    best = exhaustive(ledger)
    theirs, truth = answers(ledger, best["shipped"][1])
    mine, _ = answers(Ledger(place / "run"), chosen["strategy"])
    low, high = paired_interval(theirs, mine, truth, loaded.metric)[1:]
    return {
        "metric": loaded.metric,
        "learned_from": loaded.n_train,
        "judged_on": loaded.n_test,
        "planner": {
            "shipped": [chosen["source"], chosen["strategy"], chosen["parameters"]],
            "score": chosen["score"],
            "seconds": evidence["seconds_total"],
            "cpu_seconds": evidence["cost"]["cpu_seconds"],
            "baseline": evidence["baseline"]["score"],
            # Transfer minus baseline where transfer was shipped: a ship that is worse beyond the interval is a failure.
            "worse_than_baseline": evidence["shipped"] == "transfer" and evidence["gain"]["high"] < 0,
        },
        "exhaustive": best,
        "lost": best["score"] - chosen["score"],
        "lost_interval": [low, high],
        "predictions": {key: evidence["predictions"][key] for key in ("trials", "within")},
        # CPU seconds, which a busy machine hardly changes, and which count what a search leaves idle as nothing.
        "share_of_time": evidence["cost"]["cpu_seconds"] / best["cpu_seconds"],
    }


def _place(name: str, labels: int, seed: int) -> Path:
    """The folder of a unit."""
    runs = Path(os.environ.get("HEADSTART_BENCH_RUNS", ROOT / "runs")) / "planner"
    return runs / f"{name}-{labels or 'all'}-{seed}"


def planned(name: str, labels: int, seed: int, seconds: int) -> Path:
    """The folder of a unit, in which the plan has been carried out (or has failed)."""
    place = _made(_place(name, labels, seed))
    if labels and not LIST[name].startswith("embedded:") and not (place / "data").is_dir():
        with new_directory(place / "data") as folder:
            draw(Path(LIST[name]), folder, labels, seed)
    if not (place / "run" / "evidence.json").is_file():
        options = ("--budget", f"{seconds}s", "--seed", str(seed), "--out", str(place / "run"))
        headstart("fit", _data(name, place), *options, cache=place / "cache", limit=10 * seconds + 600)
    return place


def _data(name: str, place: Path) -> str:
    """Where the data of a unit is: what was drawn for it, or the whole."""
    return str(place / "data") if (place / "data").is_dir() else LIST[name]


def draw(data: Path, folder: Path, labels: int, seed: int) -> None:
    """Write `labels` examples to learn from and at most `TEST` others to be judged on, as data with a given split.

    Classes keep their shares, but of each two are learned from at least. The embedded data sets are as small as that,
    and are not drawn from.

    Args:
        data: a table with the columns text and label, or a folder with one of pictures for each class, or one for
            each part with those.
        folder: is there, and empty.
        labels: how many to learn from.
        seed: of the draw.
    """
    if data.suffix == ".csv":
        rows: list[Any] = labelled_texts(data)
        names = [label for _, label in rows]
    else:
        rows = sorted(path for path in data.rglob("*") if path.suffix.lower() in SUFFIXES)
        names = [path.parent.name for path in rows]
    learned = _twice(names, stratified_sample(names, labels, seed=seed))
    rest = np.setdiff1d(np.arange(len(rows)), learned)
    judged = rest[stratified_sample([names[i] for i in rest], TEST, seed=seed)]
    for part, index in (("train", learned), ("test", judged)):
        if data.suffix == ".csv":
            with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerows([("text", "label"), *(rows[i] for i in index)])
        else:
            for i in index:
                shutil.copy2(rows[i], _made(folder / part / names[i]) / rows[i].name)


def _twice(names: Sequence[str], learned: NDArray[np.int64]) -> NDArray[np.int64]:
    """A sample in which each class is twice at least, as a target's must be; a small one may have been drawn once."""
    labels = np.array(names)
    short = [name for name in np.unique(labels) if np.sum(labels[learned] == name) < 2]
    more = [
        np.setdiff1d(np.flatnonzero(labels == name), learned)[: 2 - np.sum(labels[learned] == name)] for name in short
    ]
    return np.sort(np.concatenate([learned, *more]))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def everything(loaded: Target, ledger: Ledger, store: Path, seed: int) -> None:
    """Every setting on every fold, then the best on the sealed test; what the ledger has is not done again."""
    (episode,) = loaded.episodes
    options = Options(seed=seed)
    settings = options.settings(loaded.modality, loaded.everything.wordless())
    begin(ledger, loaded, options, settings)
    folds = FOLDS if episode.view.validation is None else 1

    def run(spec: Spec) -> None:
        if spec.key not in ledger.results:
            sealed = None if spec.phase == "search" else episode.seal.inputs
            ledger.add(execute(spec, episode.view, sealed, budget=Budget(), bench=Bench(store=store)).result)

    for setting in settings:
        run(setting.spec(episode.name, "search", 0))
    firsts = {r.spec.setting: r for r in ledger.results.values() if r.spec.phase == "search" and r.spec.seed == 0}
    for side in SIDES:
        racing = {setting: first for setting, first in firsts.items() if first.side == side}
        for fold in range(1, folds):
            for setting in contenders(ledger, racing, loaded.metric, fold):
                run(replace(racing[setting].spec, seed=fold))
        chosen = winner([r for r in ledger.results.values() if r.side == side], loaded.metric)
        trains = strategy.find(chosen.strategy).needs.gradients
        for number in range(FINALS if trains else 1):
            run(Spec(**{**chosen.to_json(), "phase": "final", "seed": number}))
        if chosen.setting not in {event["finalist"] for event in ledger.all("opened")}:
            episode.seal.open(
                chosen.setting,
                lambda finalist, labels: ledger.write(
                    "opened", episode=episode.name, finalist=finalist, labels=encode(labels)
                ),
            )


def contenders(ledger: Ledger, settings: Iterable[str], metric: str, folds: int) -> list[str]:
    """The best of a side, without those behind the very best, on the folds so far, by a paired interval of the judge.

    Args:
        ledger: has the results.
        settings: of the side.
        metric: by which they are compared.
        folds: how many there are results of; a setting that failed on one, or was left behind before it, is out.
    """
    found = {s: results for s in settings if (results := _folds(ledger, s)).keys() >= set(range(folds))}
    if not found:
        raise ValueError("every setting failed on some fold")
    labels = np.concatenate([next(iter(found.values()))[fold].labels for fold in range(folds)])
    right = {s: np.concatenate([_right(results[fold]) for fold in range(folds)])[None] for s, results in found.items()}
    best = max(right, key=lambda setting: mean_score(right[setting], labels, metric))
    behind = {s for s in right if s != best and paired_interval(right[best], right[s], labels, metric)[1] > 0}
    left = [setting for setting in right if setting not in behind]
    left.sort(key=lambda setting: mean_score(right[setting], labels, metric), reverse=True)
    dear = [setting for setting in left if strategy.find(found[setting][0].spec.strategy).needs.gradients]
    return [setting for setting in left if setting not in dear[RACE:]]


def _folds(ledger: Ledger, setting: str) -> dict[int, Result]:
    """The results of a setting that succeeded, by fold."""
    results = (r for r in ledger.results.values() if r.spec.setting == setting and r.spec.phase == "search")
    return {r.spec.seed: r for r in results if r.status == "ok"}


def _right(result: Result) -> NDArray[np.bool_]:
    assert result.log_probabilities is not None
    return np.asarray(result.log_probabilities.argmax(axis=1) == result.labels)


def winner(results: Sequence[Result], metric: str) -> Spec:
    """The setting with the best mean validation score of those that succeeded on all folds; of equals the cheaper."""
    folds: dict[str, list[Result]] = {}
    for result in results:
        if result.spec.phase == "search":
            folds.setdefault(result.spec.setting, []).append(result)
    most = max(len(each) for each in folds.values())
    able = [each for each in folds.values() if len(each) == most and all(r.status == "ok" for r in each)]
    if not able:
        raise ValueError("every setting failed on some fold")
    best = max(able, key=lambda each: (mean(validation_score(r, metric) for r in each), -sum(r.wall for r in each)))
    return best[0].spec


def exhaustive(ledger: Ledger) -> dict[str, Any]:
    """What the exhaustive search ships by the judge and the guard of a run, and what all its trials took."""
    evidence = assemble(ledger)
    shipped = getattr(evidence, evidence.shipped)
    sides = {side: sum(r.wall for r in ledger.results.values() if r.side == side) for side in SIDES}
    return {
        "shipped": [shipped.source, shipped.strategy, shipped.parameters],
        "why": evidence.shipped_reason,
        "score": shipped.score,
        "seconds": round(ledger.seconds(), 1),
        "cpu_seconds": round(sum(r.cpu for r in ledger.results.values()), 1),
        "seconds_of": {side: round(value, 1) for side, value in sides.items()},
        "trials": len(ledger.results),
        "failed": sum(r.status == "failed" for r in ledger.results.values()),
    }


def answers(ledger: Ledger, shipped: str) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(S, N) whether the finalist by the strategy that was shipped was right on the sealed test; (N,) the labels."""
    opened = ledger.all("opened")[0]
    labels = decode(opened["labels"])
    return right_answers(finalists(ledger, opened["episode"])[strategy.find(shipped).side].finals, labels), labels


def summary(units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over targets and seeds, and what must be shown: on all of them, so that a part shows nothing yet."""
    able = [each for each in units if "lost" in each]
    if not able:
        return {"targets": []}
    lost, share = mean(each["lost"] for each in able), mean(each["share_of_time"] for each in able)
    trials = sum(each["predictions"]["trials"] for each in able)
    within = sum(each["predictions"]["trials"] * each["predictions"]["within"] for each in able) / trials
    whole = len(able) == SEEDS * len(LIST)
    count = f"{len(able)} of {SEEDS * len(LIST)} targets with a seed"
    worse = [f"{each['target']}-{each['seed']}" for each in able if each["planner"]["worse_than_baseline"]]
    return {
        "lost": round(lost, 4),
        "share_of_time": round(share, 4),
        "predicted_within_factor_two": round(within, 4),
        "targets": [
            target(
                f"loses at most {100 * LOST:g} point on average",
                whole and lost <= LOST,
                f"{100 * lost:.2f} points on {count}",
            ),
            target(f"in at most {TIME:.0%} of the CPU time", whole and share <= TIME, f"{share:.1%} on {count}"),
            target(
                "never ships what is worse than the best baseline beyond the interval",
                whole and not worse,
                f"{' and '.join(worse) or 'none'} on {count}",
            ),
            target(
                f"{WITHIN:.0%} of trials take between half and twice the predicted seconds",
                whole and within >= WITHIN,
                f"{within:.1%} of {trials:,} trials on {count}",
            ),
        ],
    }

"""The planner at two minutes beside an exhaustive search: every setting that there is, then the best of them.

The search trains every setting on the first fold, and on all five those of each side that are not behind its best by
more than two standard errors, as a careful person would. Then the best transfer route and the best baseline are judged
on the sealed test as a run judges its finalists, and what the same guard lets through is what it ships.

A target with a seed is a unit. What was done of it lies in `runs/planner` under the checkout (or in the folder that
`HEADSTART_BENCH_RUNS` names), trial by trial, so that the same command goes on where it was cut; it takes hours.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.common import DATA, ROOT, headstart, target
from headstart import strategy
from headstart.budget import Budget
from headstart.search import Ledger, Options, assemble
from headstart.search.begin import begin
from headstart.search.finalist import validation_score
from headstart.search.plan import SIDES
from headstart.strategy import Bench
from headstart.target import Target, load_target
from headstart.trial import Result, Spec, encode, execute

LIST = {  # about the cheapest first
    "digits": "embedded:digits",
    "pictograms": "embedded:pictograms",
    "textures": str(DATA / "textures"),
    "ants_bees": str(DATA / "ants_bees"),
    "flowers": str(DATA / "flowers"),
    **{f"pacs_{name}": str(DATA / "pacs" / name) for name in ("photo", "art_painting", "cartoon", "sketch")},
    "customer_reviews": str(DATA / "customer_reviews" / "all.csv"),
    "trec": str(DATA / "trec" / "train.csv"),
    "sst2": str(DATA / "sst2" / "train.csv"),
    "sms_spam": str(DATA / "sms_spam" / "all.csv"),
    "subjectivity": str(DATA / "subjectivity" / "all.csv"),
}
FOLDS = 5
NOISE = 2.0  # standard errors within which a setting has all folds
FINALS = 3  # seeds of a finalist that trains a network; of others one, because they hardly differ
SEEDS = 5  # of every target, where all of it is measured
LOST, TIME = 0.01, 0.25  # on average at most: points lost, share of the exhaustive search's CPU seconds


def main(seconds: int = 120, seeds: int = 1, targets: int = len(LIST)) -> Iterator[dict[str, Any]] | dict[str, Any]:
    """Compare on each target with each seed.

    Args:
        seconds: budget of the planner.
        seeds: of splits and of everything else random.
        targets: how many of the list, from its start.
    """
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    return _measured(seconds, seeds, list(LIST)[:targets])


def _measured(seconds: int, seeds: int, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    runs = Path(os.environ.get("HEADSTART_BENCH_RUNS", ROOT / "runs")) / "planner"
    units: list[dict[str, Any]] = []
    for seed in range(seeds):
        for name in names:
            place = runs / f"{name}-{seed}"
            place.mkdir(parents=True, exist_ok=True)
            found = {"target": name, "seed": seed}
            units.append(found | (unit(LIST[name], place, seconds, seed)))
            yield {"budget_seconds": seconds, "units": units, **summary(units)}


def unit(data: str, place: Path, seconds: int, seed: int) -> dict[str, Any]:
    """One target with one seed: what both searches shipped, and what they took."""
    document = place / "run" / "evidence.json"
    if not document.is_file():
        options = ("--budget", f"{seconds}s", "--seed", str(seed), "--out", str(place / "run"))
        ran = headstart("fit", data, *options, cache=place / "cache", limit=10 * seconds + 600)
        if ran.code != 0:
            return {"stderr": ran.err[-2000:]}
    evidence = json.loads(document.read_text(encoding="utf-8"))
    loaded = load_target(data, seed=seed)
    if loaded.split == "cross-fit":
        return {"skipped": "too small for a test split"}
    ledger = Ledger(_made(place / "exhaustive"))
    everything(loaded, ledger, place / "store", seed)
    planned = evidence[evidence["shipped"]]
    best = exhaustive(ledger)
    return {
        "metric": loaded.metric,
        "planner": {
            "shipped": [planned["source"], planned["strategy"], planned["parameters"]],
            "score": planned["score"],
            "seconds": evidence["seconds_total"],
            "cpu_seconds": evidence["cost"]["cpu_seconds"],
            "baseline": evidence["baseline"]["score"],
            # Transfer minus baseline where transfer was shipped: a ship that is worse beyond the interval is a failure.
            "worse_than_baseline": evidence["shipped"] == "transfer" and evidence["gain"]["high"] < 0,
        },
        "exhaustive": best,
        "lost": best["score"] - planned["score"],
        # CPU seconds, which a busy machine hardly changes, and which count what a search leaves idle as nothing.
        "share_of_time": evidence["cost"]["cpu_seconds"] / best["cpu_seconds"],
    }


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
        for setting in contenders([first for first in firsts.values() if first.side == side], loaded.metric):
            for fold in range(1, folds):
                run(replace(firsts[setting].spec, seed=fold))
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


def contenders(firsts: Sequence[Result], metric: str) -> list[str]:
    """The settings of a side that are not behind its best on the first fold by more than the noise."""
    able = {r.spec.setting: r for r in firsts if r.status == "ok"}
    if not able:
        raise ValueError("every setting failed on the first fold")
    scores = {setting: validation_score(r, metric) for setting, r in able.items()}
    best = max(scores.values())
    held = len(next(iter(able.values())).labels)
    return [s for s, score in scores.items() if best - score <= NOISE * error(best, score, held)]


def error(one: float, other: float, examples: int) -> float:
    """The standard error of a difference between two scores on as many examples."""
    return math.sqrt((one * (1 - one) + other * (1 - other)) / examples)


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


def summary(units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over targets and seeds, and what must be shown: on all of them, so that a part shows nothing yet."""
    able = [each for each in units if "lost" in each]
    if not able:
        return {"targets": []}
    lost, share = mean(each["lost"] for each in able), mean(each["share_of_time"] for each in able)
    whole = len(able) == SEEDS * len(LIST)
    count = f"{len(able)} of {SEEDS * len(LIST)} targets with a seed"
    worse = [f"{each['target']}-{each['seed']}" for each in able if each["planner"]["worse_than_baseline"]]
    return {
        "lost": round(lost, 4),
        "share_of_time": round(share, 4),
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
        ],
    }

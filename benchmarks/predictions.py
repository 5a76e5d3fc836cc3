"""Predicted against actual seconds of every trial of whole runs: on a machine nobody measured yet, and on one that was.

Each target is fitted twice with the default budget, each time with an empty store of features: first with no history of
the machine, then with the history that the runs before have left. What was measured is written down after each run.

From the same ledgers: how many seconds successive halving could have saved at most (decision 0023).
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.common import DATA, headstart, target
from headstart import strategy
from headstart.search import Ledger
from headstart.search.finalist import validation_score
from headstart.trial import Result

LIST = {
    "textures": str(DATA / "textures"),
    "pictograms": "embedded:pictograms",
    "trec": str(DATA / "trec" / "train.csv"),
    "customer_reviews": str(DATA / "customer_reviews" / "all.csv"),
}
SHARE = 0.9  # of the trials, within a factor of two
SHOWN = 10  # of the worst


def main(seconds: int = 120) -> Iterator[dict[str, Any]] | dict[str, Any]:
    """Fit each target cold and warm.

    Args:
        seconds: budget of a run.
    """
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    return _measured(seconds)


def _measured(seconds: int) -> Iterator[dict[str, Any]]:
    runs: dict[str, Any] = {"cold": {}, "warm": {}}
    spared: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "seconds.json"
        for state in runs:
            for name, data in LIST.items():
                place = Path(folder) / state / name
                place.mkdir(parents=True)
                cache = place / "cache"
                cache.mkdir()
                if state == "warm" and history.is_file():
                    shutil.copy(history, cache / history.name)
                ran = headstart("fit", data, "--budget", f"{seconds}s", "--out", str(place / "run"), cache=cache)
                runs[state][name] = told(place / "run") if ran.code == 0 else {"stderr": ran.err[-2000:]}
                if ran.code == 0:
                    spared.append(hopeless(Ledger(place / "run")))
                    # What a cold run left is what a warm one of any target begins with.
                    merge(cache / history.name, history)
                shutil.rmtree(place)
                yield summary(runs, seconds) | {"halving": halving(spared)}


def told(run: Path) -> list[dict[str, Any]]:
    """Every trial of a run whose seconds were predicted, from its ledger."""
    lines = (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    results = [event["result"] for event in map(json.loads, lines) if event["event"] == "result"]
    return [
        {
            **{key: r["spec"][key] for key in ("phase", "source", "strategy", "parameters", "seed", "labels")},
            "predicted": r["predicted"],
            "seconds": round(r["wall"], 4),
        }
        for r in results
        if r["predicted"] is not None and r["status"] == "ok"
    ]


def hopeless(ledger: Ledger) -> dict[str, float]:
    """Seconds that a run spent on settings which were behind their side's best by more than two standard errors.

    Returns:
        `wall`: of the run. `networks`: own seconds of first trials that train a network, which halving would train on a
        part first; `networks_behind`: of those that were behind on the fold. `confirming`: of trials on further folds;
        `confirming_behind`: of those begun when the setting was behind on the folds it had.
    """
    start = ledger.first("run")
    assert start is not None
    found = dict.fromkeys(("wall", "networks", "networks_behind", "confirming", "confirming_behind"), 0.0)
    found["wall"] = ledger.all("end")[-1]["wall"]
    able = [r for r in ledger.results.values() if r.spec.phase == "search" and r.status == "ok"]
    for side in ("transfer", "baseline"):
        folds: dict[str, dict[int, Result]] = {}
        for result in able:
            if result.side == side:
                folds.setdefault(result.spec.setting, {})[result.spec.seed] = result
        scores = {key: {n: validation_score(r, start["metric"]) for n, r in of.items()} for key, of in folds.items()}
        if not folds:
            continue
        best = max(scores, key=lambda key: (len(scores[key]), mean(scores[key].values())))
        first = max(scores, key=lambda key: scores[key].get(0, 0.0))
        for key, of in folds.items():
            for n, result in sorted(of.items()):
                network = strategy.find(result.spec.strategy).needs.gradients
                kind = "confirming" if n else "networks" if network else ""
                if not kind:
                    continue
                found[kind] += result.own_seconds
                before = [0] if not n else [m for m in of if m < n and m in folds[best]]
                examples = sum(len(of[m].labels) for m in before)
                if behind(scores[key], scores[best if n else first], before, examples):
                    found[f"{kind}_behind"] += result.own_seconds
    return {key: round(value, 2) for key, value in found.items()}


def behind(mine: dict[int, float], best: dict[int, float], folds: list[int], examples: int) -> bool:
    """Whether scores are below the best's by more than two standard errors on the folds that both have."""
    if not folds or any(n not in best for n in folds):
        return False
    a, b = mean(mine[n] for n in folds), mean(best[n] for n in folds)
    return b - a > 2 * math.sqrt((a * (1 - a) + b * (1 - b)) / examples)


def halving(spared: list[dict[str, float]]) -> dict[str, float]:
    """The sums over all runs, and the share of the wall seconds that no method of stopping early could exceed."""
    total = {key: round(sum(each[key] for each in spared), 1) for key in (spared[0] if spared else {})}
    lost = total.get("networks_behind", 0.0) + total.get("confirming_behind", 0.0)
    return total | ({"share_behind": round(lost / total["wall"], 4)} if total else {})


def merge(new: Path, into: Path) -> None:
    """Join the rates of one history file to another's."""
    found = json.loads(new.read_text(encoding="utf-8"))
    if into.is_file():
        for key, mine in json.loads(into.read_text(encoding="utf-8"))["machines"].items():
            theirs = found["machines"].setdefault(key, {"rates": {}, "last": mine["last"]})
            for name, values in mine["rates"].items():
                theirs["rates"][name] = [*values, *theirs["rates"].get(name, [])][-5:]
    into.write_text(json.dumps(found), encoding="utf-8")


def off(trial: dict[str, Any]) -> float:
    """By what factor a prediction was wrong, at least 1; nothing is shorter than a millisecond."""
    ratio = max(1e-3, trial["seconds"]) / max(1e-3, trial["predicted"])
    return max(ratio, 1 / ratio)


def share(trials: list[dict[str, Any]]) -> float | None:
    """Of the trials, how many were predicted within a factor of two."""
    return round(sum(off(trial) <= 2 for trial in trials) / len(trials), 4) if trials else None


def summary(runs: dict[str, Any], seconds: int) -> dict[str, Any]:
    """The shares, all together and run by run, and the worst trials of each history."""
    shares: dict[str, Any] = {}
    targets = []
    for state, found in runs.items():
        able = {name: trials for name, trials in found.items() if isinstance(trials, list)}
        everything = [{"target": name, **trial} for name, trials in able.items() for trial in trials]
        # Trials of some milliseconds are as many as they are irrelevant, so that both shares are given.
        long = [trial for trial in everything if trial["seconds"] >= 0.5]
        shares[state] = {
            "trials": len(everything),
            "within": share(everything),
            "half_a_second_or_more": {"trials": len(long), "within": share(long)},
            "targets": {name: {"trials": len(trials), "within": share(trials)} for name, trials in able.items()},
            "failed": {name: trials for name, trials in found.items() if not isinstance(trials, list)},
            "worst": sorted(everything, key=off, reverse=True)[:SHOWN],
        }
        if everything:
            reached = shares[state]["within"]
            targets.append(
                target(
                    f"{state} history: {SHARE:.0%} of trials within a factor of two",
                    reached >= SHARE,
                    f"{100 * reached:.1f} % of {len(everything)}",
                )
            )
    return {"budget_seconds": seconds, "runs": shares, "targets": targets}

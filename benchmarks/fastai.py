"""`headstart fit` with its default budget beside the `fine_tune` of fastai on the same weights: seconds to an accuracy.

Both sides are judged on the val folder of ants_bees, and their clocks begin with their processes. For each seed the
accuracy to reach is the better of the two: that of the model that headstart shipped, and the best that fastai had after
any epoch (chosen on the test pictures, in its favour). Three moments of headstart are told apart:

- *first trained*: the first trial of the route that was shipped had ended. It was trained without the fold it predicts;
  the accuracy is that of the shipped model, which was trained by the same route on all that may be trained on;
- *shipped model*: the very model that was shipped had been trained;
- *process*: everything was proven, written and reported. The default budget is spent on that, whatever the first took.

fastai is run as briefly as its introduction does, and for longer, because it may need more epochs to get there. What
counts is the run that gets there first; where none does, the longest, whose end is all that is known.

The first headstart of a pair finds an empty cache and converts its networks; the second finds what the first left.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import common
from benchmarks.common import DATA, target
from benchmarks.peers import environment

LEAST = 50.0  # the ratio to reach
MOMENTS = {
    "first_trained": "until the shipped route was first trained",
    "shipped_model": "until the shipped model was trained",
    "process": "whole process",
}
LIMIT = 3000.0  # seconds, of each process
SHORT = 3  # unfrozen epochs
NEVER = "never"


def main(seeds: int = 1, epochs: int = 40) -> dict[str, Any]:
    """For each seed two processes of headstart and two of fastai, which take minutes: one seed by default.

    Args:
        seeds: of both.
        epochs: unfrozen ones, of the longer run of fastai.
    """
    data = DATA / "ants_bees"
    if why := environment.lacking(data):
        return {"skipped": why}
    python = environment.python()
    assert python is not None
    pairs = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ours = {cache: fit(data, folder, cache, seed) for cache in ("empty", "warm")}  # in this order
            theirs = [
                common.peer(
                    python, "fastai_finetune", folder / "peer.json", data / "train", data / "val", "--seed", seed,
                    "--epochs", asked, limit=LIMIT,
                )
                for asked in dict.fromkeys((min(SHORT, epochs), epochs))
            ]  # fmt: skip
        pairs.append(compare(seed, ours, theirs))
    return {"seeds": seeds, "pairs": pairs, "targets": [_target(cache, pairs) for cache in ("empty", "warm")]}


def fit(data: Path, folder: Path, cache: str, seed: int) -> dict[str, Any]:
    """One `headstart fit`, and when what happened in it.

    Raises:
        RuntimeError: it failed.
    """
    out, profile = folder / cache, folder / "profile.json"
    watch = LedgerWatch(out)
    ran = common.headstart(
        "fit", str(data), "--seed", str(seed), "--out", str(out), "--profile", str(profile),
        cache=folder / "cache", limit=LIMIT, watch=watch,
    )  # fmt: skip
    if ran.code:
        raise RuntimeError(f"headstart fit ended with {ran.code}: {ran.err[-2000:]}")
    evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
    phases = json.loads(profile.read_text(encoding="utf-8"))["phases"]
    shipped = evidence[evidence["shipped"]]
    return {
        "accuracy": round(shipped["metrics"]["accuracy"], 4),
        "test_images": evidence["n_test"],
        "verdict": evidence["verdict"],
        "shipped": {key: shipped[key] for key in ("source", "strategy", "parameters")},
        "seconds": {
            "target_read": watch.first("run"),
            "first_trained": watch.trained(shipped, "search"),
            "shipped_model": watch.trained(shipped, "final"),
            "process": ran.seconds,
        },
        "phases": {name: round(phase["seconds"], 2) for name, phase in phases.items()},
    }


class LedgerWatch:
    """Notes, while a run goes on, how many seconds after its process's start each line of its ledger was there.

    A line is written as soon as what it tells has happened; it is seen at most `EVERY` seconds later.

    Args:
        run: the run's folder, which need not exist yet.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "ledger.jsonl"
        self.seen: list[tuple[float, dict[str, Any]]] = []
        self._read = 0

    def __call__(self, seconds: float) -> None:
        """Take the lines that have been finished since the last call."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._read)
                lines = stream.read().splitlines(keepends=True)
        except FileNotFoundError:
            return
        for line in lines:
            if line.endswith(b"\n"):
                self._read += len(line)
                self.seen.append((round(seconds, 2), json.loads(line)))

    def first(self, event: str) -> float | None:
        """When the first event of a kind was there."""
        return next((seconds for seconds, line in self.seen if line["event"] == event), None)

    def trained(self, route: dict[str, Any], phase: str) -> float | None:
        """When the first trial of a phase on a route had succeeded; of finals, that with seed 0, which is shipped."""
        for seconds, line in self.seen:
            if line["event"] != "result" or line["result"]["status"] != "ok":
                continue
            spec = line["result"]["spec"]
            same = all(spec[key] == route[key] for key in ("source", "strategy", "parameters"))
            if same and spec["phase"] == phase and (phase == "search" or spec["seed"] == 0):
                return seconds
        return None


def compare(seed: int, ours: dict[str, dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """One pair: the better accuracy, when each side reached it, and how many times sooner headstart did.

    Args:
        seed: of both.
        ours: what :func:`fit` gave, by the cache it found.
        theirs: what the peer measured of itself, in each of its runs.
    """
    points = [point for run in theirs for point in run["timeline"]]
    best, longest = max(point["accuracy"] for point in points), max(run["seconds"]["process"] for run in theirs)
    found: dict[str, Any] = {
        "seed": seed,
        "fastai": {
            "timelines": [
                [{key: p[key] for key in ("seconds", "accuracy", "phase")} for p in run["timeline"]] for run in theirs
            ],
            "best_accuracy": best,
            "last_accuracies": [run["accuracy"] for run in theirs],
            "process_seconds": longest,
            "test_images": theirs[0]["test_images"],
        },
        "headstart": ours,
        "to_the_better": {},
    }
    for cache, run in ours.items():
        better = max(best, run["accuracy"])
        half = 0.5 / theirs[0]["test_images"]  # of a picture: accuracies are rounded
        reached = min((point["seconds"] for point in points if point["accuracy"] > better - half), default=None)
        spent = longest if reached is None else reached
        found["to_the_better"][cache] = {
            "accuracy": better,
            "fastai_seconds": NEVER if reached is None else reached,
            "fastai_seconds_at_least": round(spent, 1),
            "headstart_reached_it": run["accuracy"] > better - half,
            "ratios": {
                moment: None if run["seconds"][moment] is None else round(spent / run["seconds"][moment], 2)
                for moment in MOMENTS
            },
        }
    return found


def _target(cache: str, pairs: list[dict[str, Any]]) -> dict[str, object]:
    """The target for one state of the cache, with every ratio beside the one that counts: medians over seeds."""
    found = [pair["to_the_better"][cache] for pair in pairs]
    what = f"seconds to the better accuracy, fastai against headstart {MOMENTS['first_trained']}, {cache} cache"
    what = f"{what}: at least {LEAST:g}"
    if missed := [pair for pair in found if not pair["headstart_reached_it"]]:
        wanted = ", ".join(f"{100 * pair['accuracy']:.1f} %" for pair in missed)
        return target(what, False, f"headstart did not reach it with {len(missed)} of {len(found)} seeds: {wanted}")
    ratios = {moment: median(pair["ratios"][moment] or 0.0 for pair in found) for moment in MOMENTS}
    never = [pair for pair in found if pair["fastai_seconds"] == NEVER]
    seconds = median(pair["fastai_seconds_at_least"] for pair in found)
    when = f"fastai: {seconds:.0f} s"
    if never:
        when = f"fastai: never with {len(never)} of {len(found)} seeds: more than the longest run, {seconds:.0f} s"
    words = "; ".join(f"{words} {ratios[moment]:.1f}" for moment, words in MOMENTS.items())
    return target(what, ratios["first_trained"] >= LEAST, f"{words} ({when}; {len(found)} seed(s))")

"""What many files cost: a second run after 1 % of new ones, and peak memory at 10,000 against 100,000 pictures.

The pictures are generated, 96 pixels wide. Each pass and each run is a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import CLASSES, Ran, generate, headstart, process, target

PASS = Path(__file__).with_name("features_pass.py")
REPEATS = 5
SHARE = 0.01  # of new files
SECONDS = 1.0  # for 10,000 files, beyond the cost of the new ones
GROWTH = 1.2  # of the peak
LIMIT = 1500.0  # seconds, of each process
SETTLED = 2.1  # seconds after which the digest of a file that was left alone is remembered


def main(small: int = 10_000, large: int = 100_000, repeats: int = REPEATS) -> dict[str, Any]:
    """All of it, on one folder that grows; `large` 0 leaves the comparison of memory out."""
    if small < 20 * CLASSES:
        raise ValueError(f"small={small}: at least {20 * CLASSES}, so that 1 % more is a target of its own")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = folder / "pictures"
        _warm_up(folder)
        generate(pictures, small)
        time.sleep(SETTLED)
        runs = {small: _run(pictures, folder)} if large else {}
        passes = {small: _pass(pictures, folder)}
        rounds = [_round(pictures, folder, seed, small) for seed in range(1, 1 + repeats)]
        if large:
            generate(pictures, large - _count(pictures), seed=1 + repeats)
            time.sleep(SETTLED)
            runs[large] = _run(pictures, folder)
            _forget(folder)
            passes[large] = _pass(pictures, folder)
    measured: dict[str, Any] = {
        "second_run": {"files": small, "new_each_round": _new(small), "first_pass": passes[small], "rounds": rounds}
    }
    targets = [_second_run(rounds)]
    if large:
        measured["memory"] = {
            "runs": {str(count): run for count, run in runs.items()},
            "passes": {str(count): found for count, found in passes.items()},
        }
        targets.append(_memory(runs))
    return measured | {"targets": targets}


def _new(files: int) -> int:
    """1 % of so many files, and enough of each class that they are a target by themselves."""
    return max(round(SHARE * files), 5 * CLASSES)


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _warm_up(folder: Path) -> None:
    """Have the network converted, for both caches: neither seconds nor memory of that belong to a pass."""
    generate(folder / "few", 20 * CLASSES, seed=10_000)
    _pass(folder / "few", folder)
    shutil.copytree(folder / "cache", folder / "other_cache")


def _forget(folder: Path) -> None:
    """Leave only the converted network in the cache."""
    for path in (folder / "cache").iterdir():
        if path.name != "compiled":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _pass(pictures: Path, folder: Path, cache: str = "cache") -> dict[str, Any]:
    """Target and features of all pictures (see features_pass.py), with the process's seconds and peak."""
    out = folder / "pass.json"
    # -P: the folder of the script is no place to import from.
    ran = process(
        "-P", str(PASS), str(pictures), "--json", str(out), folder=folder, limit=LIMIT,
        HEADSTART_CACHE=str(folder / cache),
    )  # fmt: skip
    if ran.code:
        raise RuntimeError(f"a pass ended with {ran.code}: {ran.err[-2000:]}")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    found["seconds"] = {name: round(seconds, 3) for name, seconds in found["seconds"].items()}
    return found | {"process_seconds": ran.seconds, "peak_mb": ran.peak_mb}


def _round(pictures: Path, folder: Path, seed: int, files: int) -> dict[str, Any]:
    """Add 1 % new files; seconds of a pass over all, and of one over nothing but the new ones."""
    alone = folder / f"new_{seed}"
    generate(alone, _new(files), seed)
    shutil.copytree(alone, pictures, dirs_exist_ok=True)
    time.sleep(SETTLED)
    new = _pass(alone, folder, "other_cache")
    all_of_it = _pass(pictures, folder)
    shutil.rmtree(alone)
    before = all_of_it["examples"] - all_of_it["computed"]
    extra = all_of_it["seconds"]["work"] - new["seconds"]["work"]
    return {
        "examples": all_of_it["examples"],
        "computed": all_of_it["computed"],
        "computed_alone": new["computed"],
        "seconds": all_of_it["seconds"],
        "seconds_alone": new["seconds"],
        "process_seconds": all_of_it["process_seconds"],
        "extra_seconds_per_10000": round(extra / before * 10_000, 3),
    }


def _run(pictures: Path, folder: Path) -> dict[str, Any]:
    """A whole `headstart fit` with its default budget and a cache of its own, as a new user would run it."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        ran: Ran = headstart("fit", str(pictures), "--out", str(place / "run"), cache=place / "cache", limit=LIMIT)
        found: dict[str, Any] = {"exit_code": ran.code, "seconds": ran.seconds, "peak_mb": ran.peak_mb}
        if ran.code:
            return found | {"stderr": ran.err[-2000:]}
        evidence = json.loads((place / "run" / "evidence.json").read_text(encoding="utf-8"))
        return found | {key: evidence[key] for key in ("verdict", "n_test", "warnings", "seconds_total")}


def _second_run(rounds: list[dict[str, Any]]) -> dict[str, object]:
    extra = [one["extra_seconds_per_10000"] for one in rounds]
    # A round in which more was computed than is new has measured something else.
    right = all(one["computed"] <= one["computed_alone"] for one in rounds)
    found = f"{median(extra):.2f} s ({min(extra):.2f} to {max(extra):.2f})"
    return target(
        f"second run with 1 % new files, beyond the cost of those: under {SECONDS:g} s for 10,000 files",
        right and median(extra) < SECONDS,
        found if right else f"{found}, but old files were computed anew",
    )


def _memory(runs: dict[int, dict[str, Any]]) -> dict[str, object]:
    (small, few), (large, many) = runs.items()
    ratio = many["peak_mb"] / few["peak_mb"]
    ok = few["exit_code"] == many["exit_code"] == 0
    return target(
        f"peak memory of headstart fit, {large:,} against {small:,} pictures: within {GROWTH:g}x",
        ok and ratio <= GROWTH,
        f"{ratio:.2f} ({many['peak_mb']:.0f} against {few['peak_mb']:.0f} MiB)" if ok else "a run failed",
    )

"""What many texts cost: throughput against the compiled encoder alone, and peak memory at 10,000 against 100,000.

Each pass is a process of its own, and begins with an empty store.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import DATA, process, target
from benchmarks.texts_pass import FILES

PASS = Path(__file__).with_name("texts_pass.py")
SHARE = 0.9  # of the encoder's throughput
ARRAYS = 3  # copies of the vectors that the memory may grow by: the result, what the store had, and what is under way
LIMIT = 3600.0  # seconds, of each process


def main(small: int = 10_000, large: int = 100_000, repeats: int = 3) -> dict[str, Any]:
    """Both ways in turn on `small` texts, then `large` through headstart."""
    if absent := [name for name in FILES if not (DATA / name).is_file()]:
        return {"skipped": f"no {', '.join(absent)}"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _pass(folder, 200, "headstart")  # converts the encoder
        rounds = [{way: _pass(folder, small, way) for way in ("encoder", "headstart")} for _ in range(repeats)]
        whole = _pass(folder, large, "headstart")
        rounds.append({"encoder": _pass(folder, small, "encoder"), "headstart": whole})
    shares = [both["headstart"]["texts_per_second"] / both["encoder"]["texts_per_second"] for both in rounds]
    before = median(both["headstart"]["peak_mb"] for both in rounds[:-1])
    grown = whole["peak_mb"] - before
    vectors = whole["result_mb"] - rounds[0]["headstart"]["result_mb"]
    return {
        "rounds": rounds,
        "shares": [round(share, 3) for share in shares],
        "targets": [
            _throughput(small, shares[:-1]),
            _throughput(large, shares[-1:]),
            target(
                f"memory from {small:,} to {large:,}: grows by {ARRAYS} times the {vectors:.0f} MiB of vectors at most",
                grown <= ARRAYS * vectors,
                f"{before:.0f} to {whole['peak_mb']:.0f} MiB",
            ),
        ],
    }


def _pass(folder: Path, count: int, way: str) -> dict[str, Any]:
    out = folder / "pass.json"
    ran = process(
        str(PASS),
        str(count),
        "--way",
        way,
        "--json",
        str(out),
        folder=folder,
        limit=LIMIT,
        HEADSTART_CACHE=str(folder / "cache"),
        HEADSTART_BENCH_DATA=str(DATA),
    )
    if ran.code:
        raise RuntimeError(ran.err[-2000:])
    return json.loads(out.read_text(encoding="utf-8")) | {"peak_mb": ran.peak_mb}


def _throughput(count: int, shares: list[float]) -> dict[str, object]:
    found = ", ".join(f"{share:.2f}" for share in shares)
    return target(f"{count:,} texts: at least {SHARE} of the encoder alone", median(shares) >= SHARE, found)

"""What several benchmarks share: the data, the command, the peak memory of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("HEADSTART_BENCH_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Ran:
    """A finished command: exit code, output, wall seconds, highest resident memory in MiB."""

    code: int
    out: str
    err: str
    seconds: float
    peak_mb: float


def headstart(*arguments: str, cache: Path, limit: float = 900, **environment: str) -> Ran:
    """Run the command line in a process of its own, and end it after `limit` seconds."""
    env = os.environ | {"HEADSTART_CACHE": str(cache), "COLUMNS": "120"} | environment
    out, err = cache.parent / "stdout", cache.parent / "stderr"
    began, peak = time.perf_counter(), 0
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "headstart", *arguments], stdout=stdout, stderr=stderr, env=env, cwd=cache.parent
        )
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            if time.perf_counter() - began > limit:
                process.kill()
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.05)
        code = process.wait()
    text = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Ran(code, text[0], text[1], round(time.perf_counter() - began, 1), round(peak / 2**20, 1))


def target(what: str, met: bool, found: str) -> dict[str, object]:
    """One line of what a benchmark must show."""
    return {"what": what, "met": bool(met), "found": found}

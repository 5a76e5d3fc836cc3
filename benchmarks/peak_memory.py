"""Peak memory of `headstart fit` on 50,000 generated pictures."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import generate, headstart, target

PICTURES = 50_000
LIMIT_MB = 2048
RUNS = {
    "a budget of 3 minutes": ("--budget", "3m"),  # which samples them, and says so
    "every picture": ("--trials", "8", "--strategy", "probe", "--source", "efficientnet_lite0"),
}


def main() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "pictures", PICTURES)
        runs = {what: fit(folder, what.replace(" ", "_"), *options) for what, options in RUNS.items()}
    return {
        "pictures": PICTURES,
        "runs": runs,
        "targets": [
            target(
                f"{PICTURES:,} pictures, {what}: under {LIMIT_MB} MiB",
                run["exit_code"] == 0 and run["peak_mb"] < LIMIT_MB,
                f"{run['peak_mb']:.0f} MiB",
            )
            for what, run in runs.items()
        ],
    }


def fit(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """One run, in a process of its own."""
    out = folder / name
    data = str(folder / "pictures")
    ran = headstart("fit", data, *options, "--out", str(out), cache=folder / "cache", limit=1500)
    found: dict[str, Any] = {"exit_code": ran.code, "seconds": ran.seconds, "peak_mb": ran.peak_mb}
    if ran.code == 0:
        evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
        found |= {key: evidence[key] for key in ("verdict", "gain", "n_test", "warnings", "seconds_total")}
    else:
        found["stderr"] = ran.err[-2000:]
    return found

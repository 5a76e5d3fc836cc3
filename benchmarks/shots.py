"""The whole job with few labels: `fit --shots`, its verdicts and intervals, on texts with eight labels and pictures.

python -m benchmarks shots --set draws=4 --set seconds=60     # less of it
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, headstart, target

TEXTS = ("customer_reviews", "sst2", "trec", "subjectivity", "banking77")
PICTURES = ("embedded:pictograms", "ants_bees")
SHOTS = {**dict.fromkeys(TEXTS, (8,)), **dict.fromkeys(PICTURES, (1, 5))}
DRAWS, SECONDS = 10, 120


def main(draws: int = DRAWS, seconds: int = SECONDS) -> dict[str, Any]:
    """Every set.

    Args:
        draws: of each.
        seconds: the budget of each run.
    """
    wanted = [name for name in SHOTS if ":" not in name]
    if missing := [name for name in wanted if not (DATA / name).is_dir()]:
        return {"skipped": f"no {', '.join(missing)} in {DATA}"}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, shots in SHOTS.items():
            for k in shots:
                found[f"{name} {k}"] = _fit(name, k, draws, seconds, Path(folder))
    return {
        "draws": draws,
        "budget_seconds": seconds,
        "runs": found,
        "targets": [
            target(f"{name}: helped with 8 labels of each class", run.get("verdict") == "helped", _words(run))
            for name in TEXTS
            for run in [found[f"{name} 8"]]
        ],
    }


def _fit(name: str, shots: int, draws: int, seconds: int, folder: Path) -> dict[str, Any]:
    given = DATA / name
    data = name if ":" in name else str(given / "all.csv" if (given / "all.csv").is_file() else given)
    out = folder / f"{given.name.replace(':', '_')}-{shots}"
    # One cache for all: after the first run the networks are compiled, as they are for whoever asks a second question.
    ran = headstart(
        *("fit", data, "--shots", str(shots), "--draws", str(draws), "--budget", f"{seconds}s", "--out", str(out)),
        cache=folder / "cache",
        limit=4 * seconds + 300,
    )
    if ran.code != 0:
        return {"exit_code": ran.code, "stderr": ran.err[-2000:]}
    evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
    keys = ("verdict", "metric", "gain", "method", "shots", "shipped", "n_test", "minimal_detectable_gain")
    found = {key: evidence[key] for key in (*keys, "seconds_total", "warnings")}
    for side in ("transfer", "baseline"):
        wanted = ("source", "strategy", "parameters", "score", "low", "high", "metrics", "seconds")
        found[side] = {key: evidence[side][key] for key in wanted}
    rows = [row for row in evidence["leaderboard"] if row["score"] is not None]
    found["validation"] = {f"{row['strategy']} on {row['source']}": round(row["score"], 4) for row in rows}
    return found | {"budget": f"{seconds} s", "process_seconds": ran.seconds, "process_peak_mb": ran.peak_mb}


def _words(run: dict[str, Any]) -> str:
    if "verdict" not in run:
        return f"exit code {run['exit_code']}"
    gain = run["gain"]
    return (
        f"{run['verdict']}, {100 * gain['estimate']:+.1f} points ({100 * gain['low']:+.1f} to "
        f"{100 * gain['high']:+.1f}) over {len(run['shots']['draws'])} draws; {run['transfer']['strategy']} "
        f"{100 * run['transfer']['score']:.1f} %, {run['baseline']['strategy']} {100 * run['baseline']['score']:.1f} %"
    )

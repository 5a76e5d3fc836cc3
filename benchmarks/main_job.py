"""The main job on real photos and on the embedded data: verdicts, scores, seconds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, headstart, target

JOBS = {
    "ants_bees": (str(DATA / "ants_bees"), "2m"),
    "flowers": (str(DATA / "flowers"), "2m"),
    "pictograms": ("embedded:pictograms", "1m"),
    "digits": ("embedded:digits", "1m"),
}


def main() -> dict[str, Any]:
    if not DATA.is_dir():
        return {"skipped": f"no bench data in {DATA}"}
    runs: dict[str, Any] = {}
    for name, (data, budget) in JOBS.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            # A fresh cache: what a new user waits for, conversion of the networks included.
            ran = headstart("fit", data, "--budget", budget, "--out", str(out), cache=Path(folder) / "cache", limit=400)
            if ran.code != 0:
                runs[name] = {"exit_code": ran.code, "stderr": ran.err[-2000:]}
                continue
            evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
            keys = ("verdict", "metric", "gain", "shipped", "seeds", "n_test", "partial", "seconds_total", "warnings")
            runs[name] = {key: evidence[key] for key in keys}
            for side in ("transfer", "baseline"):
                wanted = ("source", "strategy", "parameters", "score", "low", "high", "metrics", "seconds")
                runs[name][side] = {key: evidence[side][key] for key in wanted}
            runs[name] |= {"budget": budget, "process_seconds": ran.seconds, "process_peak_mb": ran.peak_mb}
            runs[name]["leaderboard"] = [
                {key: row[key] for key in ("source", "strategy", "score", "low", "high", "trials", "seconds", "status")}
                for row in evidence["leaderboard"]
            ]
    return {"runs": runs, "targets": _targets(runs)}


def _targets(runs: dict[str, Any]) -> list[dict[str, object]]:
    def shipped(name: str) -> float:
        run = runs[name]
        return float(run[run["shipped"]]["metrics"]["accuracy"]) if "shipped" in run else float("nan")

    verdicts = {name: run.get("verdict", "failed") for name, run in runs.items()}
    return [
        target("ants_bees: verdict helped", verdicts["ants_bees"] == "helped", verdicts["ants_bees"]),
        target("ants_bees: shipped model >= 94 %", shipped("ants_bees") >= 0.94, f"{100 * shipped('ants_bees'):.1f} %"),
        target("flowers: verdict helped", verdicts["flowers"] == "helped", verdicts["flowers"]),
        target("pictograms: verdict helped", verdicts["pictograms"] == "helped", verdicts["pictograms"]),
        target(
            "digits: hurt or undetermined, baseline shipped",
            verdicts["digits"] in ("hurt", "undetermined") and runs["digits"].get("shipped") == "baseline",
            f"{verdicts['digits']}, {runs['digits'].get('shipped')} shipped",
        ),
    ]

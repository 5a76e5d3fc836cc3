"""What many files cost: the arithmetic of rounds and peaks, and one true pass over a few pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import common, features_pass, scale

pytestmark = pytest.mark.slow


@pytest.fixture
def fakes(monkeypatch):
    """Passes that take 1 s, 0.01 s for each new file and 0.1 ms for each old one; runs that take a MiB a picture."""
    seen: dict[str, set[str]] = {}
    runs: list[int] = []

    def process(*arguments: str, folder: Path, limit: float, HEADSTART_CACHE: str) -> common.Ran:
        pictures, out = Path(arguments[2]), Path(arguments[4])
        known = seen.setdefault(HEADSTART_CACHE, set())
        names = {path.name for path in pictures.rglob("*.jpg")}
        new = len(names - known)
        known |= names
        work = 1 + 0.01 * new + 1e-4 * (len(names) - new)
        Path(HEADSTART_CACHE).mkdir(exist_ok=True)
        seconds = {"import": 0.5, "read": 0.5, "features": work - 0.5, "work": work}
        figures = {"examples": len(names), "computed": new, "recalled": len(names) - new, "seconds": seconds}
        out.write_text(json.dumps(figures | {"result_mb": 1.0}), encoding="utf-8")
        return common.Ran(0, "", "", work + 0.5, 100.0)

    def headstart(*arguments: str, cache: Path, limit: float) -> common.Ran:
        runs.append(sum(1 for _ in Path(arguments[1]).rglob("*.jpg")))
        out = Path(arguments[arguments.index("--out") + 1])
        out.mkdir()
        evidence = {"verdict": "helped", "n_test": 10, "warnings": [], "seconds_total": 1.0}
        (out / "evidence.json").write_text(json.dumps(evidence), encoding="utf-8")
        return common.Ran(0, "", "", 1.0, 500.0 + runs[-1])

    def generate(folder: Path, count: int, seed: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        for i in range(count):
            (folder / f"{seed}_{i}.jpg").touch()

    for name, fake in (("process", process), ("headstart", headstart), ("generate", generate), ("SETTLED", 0.0)):
        monkeypatch.setattr(scale, name, fake)
    monkeypatch.setattr(scale, "_forget", lambda folder: seen.clear())
    return runs


def test_what_old_files_cost_is_left_after_the_new_ones(fakes):
    found = scale.main(small=5_000, large=0, repeats=3)
    rounds = found["second_run"]["rounds"]
    assert [(r["examples"], r["computed"], r["computed_alone"]) for r in rounds] == [
        (5_050, 50, 50),
        (5_100, 50, 50),
        (5_150, 50, 50),
    ]
    assert [r["extra_seconds_per_10000"] for r in rounds] == pytest.approx([1.0, 1.0, 1.0])
    assert "memory" not in found
    assert fakes == []


def test_memory_is_compared_at_both_sizes(fakes):
    found = scale.main(small=1_000, large=1_300, repeats=1)
    assert fakes == [1_000, 1_300]
    assert found["memory"]["passes"]["1300"]["computed"] == 1_300  # nothing was left from the pass before
    [_, line] = found["targets"]
    assert line == common.target(
        "peak memory of headstart fit, 1,300 against 1,000 pictures: within 1.2x", True, "1.20 (1800 against 1500 MiB)"
    )
    json.dumps(found, allow_nan=False)


def test_the_folder_may_not_be_too_small(fakes):
    with pytest.raises(ValueError, match="at least 200"):
        scale.main(small=100)


def one_round(extra: float, computed: int = 100) -> dict[str, Any]:
    return {"extra_seconds_per_10000": extra, "computed": computed, "computed_alone": 100}


@pytest.mark.parametrize(
    ("rounds", "met", "words"),
    [
        ([one_round(0.5), one_round(3.0), one_round(0.9)], True, "0.90 s (0.50 to 3.00)"),
        ([one_round(1.5)], False, "1.50 s (1.50 to 1.50)"),
        ([one_round(0.5, 101)], False, "0.50 s (0.50 to 0.50), but old files were computed anew"),
    ],
)
def test_the_median_counts_where_only_new_files_were_computed(rounds, met, words):
    line = scale._second_run(rounds)
    assert (line["met"], line["found"]) == (met, words)


def test_a_run_that_failed_meets_nothing():
    runs = {10: {"exit_code": 0, "peak_mb": 100.0}, 100: {"exit_code": -9, "peak_mb": 50.0}}
    line = scale._memory(runs)
    assert (line["met"], line["found"]) == (False, "a run failed")


def test_only_the_converted_network_is_left(tmp_path):
    for name in ("compiled", "features"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    (tmp_path / "cache" / "digests.sqlite").touch()
    scale._forget(tmp_path)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["compiled"]


def test_a_pass_computes_each_picture_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    common.generate(tmp_path / "pictures", 20)
    first = features_pass.measure(tmp_path / "pictures")
    assert (first["examples"], first["computed"], first["recalled"]) == (20, 20, 0)
    common.generate(tmp_path / "pictures", 10, seed=1)
    second = features_pass.measure(tmp_path / "pictures")
    assert (second["examples"], second["computed"], second["recalled"]) == (30, 10, 20)
    assert second["result_mb"] == round(30 * 1280 * 4 / 2**20, 1)
    assert second["seconds"]["work"] == pytest.approx(second["seconds"]["read"] + second["seconds"]["features"])

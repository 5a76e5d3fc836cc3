"""Accuracy beside speed: what counts as no worse, and when each side reached the better of two accuracies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import common, fastai, speed

pytestmark = pytest.mark.fast

# -- no worse ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "met"),
    [
        ([0.95, 0.97], [0.94, 0.96], True),
        ([0.1, 0.2, 0.7], [0.7, 0.1, 0.2], True),  # equal, whatever their sums round to
        # Variances of 2e-4 each: a standard error of sqrt(2e-4 / 2 + 2e-4 / 2) = 1.41 points.
        ([0.93, 0.95], [0.94, 0.96], True),
        ([0.92, 0.94], [0.94, 0.96], False),
        ([0.95, 0.95], [0.951, 0.951], False),  # no spread, no allowance
    ],
)
def test_no_worse_is_within_one_standard_error(ours, theirs, met):
    assert speed._no_worse("accuracy", ours, theirs)["met"] is met


def test_no_worse_says_means_and_ranges():
    line = speed._no_worse("accuracy", [0.92, 0.94], [0.94, 0.96])
    assert line["what"] == "accuracy: no worse (better, or within one standard error)"
    assert line["found"] == (
        "93.0 % (92.0 to 94.0) against 95.0 % (94.0 to 96.0), standard error of the difference 1.4 points"
    )


def test_epochs_are_timed_from_end_to_end(monkeypatch):
    ends = speed.EpochEnds(3)
    clock = iter([10.0, 12.0, 15.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    ends("features lite0", 5, 10)
    for done in range(1, 16):
        ends("finetune lite0", done, 15)
    assert ends.seconds() == [2.0, 3.0]


# -- a ledger, watched ------------------------------------------------------------------------------------------------

PROBE = {"source": "a", "strategy": "probe", "parameters": {}}
OTHER = {"source": "b", "strategy": "probe", "parameters": {}}


def result(route: dict[str, Any], phase: str, seed: int = 0, status: str = "ok") -> dict[str, Any]:
    return {"event": "result", "result": {"spec": {**route, "phase": phase, "seed": seed}, "status": status}}


def append(path: Path, *events: dict[str, Any], rest: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("".join(json.dumps(event) + "\n" for event in events) + rest)


def test_each_line_of_a_ledger_is_noted_once_it_is_whole(tmp_path):
    ledger = tmp_path / "run" / "ledger.jsonl"
    watch = fastai.LedgerWatch(tmp_path / "run")
    watch(0.5)
    assert watch.first("run") is None
    append(ledger, {"event": "run"}, rest='{"event": ')
    watch(1.0)
    append(ledger, rest='"end"}\n')
    watch(2.0)
    watch(3.0)
    assert [(seconds, event["event"]) for seconds, event in watch.seen] == [(1.0, "run"), (2.0, "end")]


def test_a_route_is_trained_when_its_own_trial_succeeded(tmp_path):
    watch = fastai.LedgerWatch(tmp_path / "run")
    events = [
        result(OTHER, "search"),
        result(PROBE, "search", status="failed"),
        result(PROBE, "search", seed=1),
        result(PROBE, "search"),
        result(PROBE, "final", seed=1),
        result(PROBE, "final"),
    ]
    for seconds, event in enumerate(events):
        append(tmp_path / "run" / "ledger.jsonl", event)
        watch(float(seconds))
    assert watch.trained(PROBE, "search") == 2.0
    assert watch.trained(PROBE, "final") == 5.0
    assert watch.trained(OTHER, "final") is None


# -- two timelines ----------------------------------------------------------------------------------------------------


def peer(*accuracies: float, images: int = 100) -> dict[str, Any]:
    """100 s for each epoch."""
    timeline = [
        {"seconds": 100.0 * (i + 1), "accuracy": accuracy, "phase": "frozen", "train_loss": 1.0}
        for i, accuracy in enumerate(accuracies)
    ]
    process = 100.0 * len(accuracies) + 5
    return {
        "timeline": timeline,
        "accuracy": accuracies[-1],
        "test_images": images,
        "seconds": {"process": process},
    }


def ours(accuracy: float) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "seconds": {"target_read": 1.0, "first_trained": 4.0, "shipped_model": 50.0, "process": 100.0},
    }


def compared(accuracy: float, *theirs: float) -> dict[str, Any]:
    found: dict[str, Any] = fastai.compare(0, {"empty": ours(accuracy)}, [peer(*theirs)])["to_the_better"]["empty"]
    return found


def test_a_peer_that_never_gets_there_counts_with_its_whole_run():
    found = compared(0.97, 0.93, 0.95)
    assert found["fastai_seconds"] == fastai.NEVER
    assert found["headstart_reached_it"]
    assert found["ratios"] == {"first_trained": 51.25, "shipped_model": 4.1, "process": 2.05}


def test_a_peer_counts_until_it_first_gets_there():
    found = compared(0.95, 0.93, 0.95, 0.94)
    assert (found["accuracy"], found["fastai_seconds"]) == (0.95, 200.0)
    assert found["ratios"]["first_trained"] == 50.0


def test_of_several_runs_the_one_that_gets_there_first_counts_and_the_longest_where_none_does():
    runs = [peer(0.93, 0.95), peer(0.90, 0.92, 0.95, 0.96)]
    assert fastai.compare(0, {"empty": ours(0.95)}, runs)["to_the_better"]["empty"]["accuracy"] == 0.96
    found = fastai.compare(0, {"empty": ours(0.97)}, runs)["to_the_better"]["empty"]
    assert (found["fastai_seconds"], found["fastai_seconds_at_least"]) == (fastai.NEVER, 405.0)
    found = fastai.compare(0, {"empty": ours(0.95)}, [peer(0.93, 0.95), peer(0.90, 0.92, 0.95)])
    assert found["to_the_better"]["empty"]["fastai_seconds"] == 200.0


def test_rounding_is_no_difference_and_a_picture_is_one():
    assert compared(0.9501, 0.95)["fastai_seconds"] == 100.0
    assert compared(0.96, 0.95)["fastai_seconds"] == fastai.NEVER


def test_the_peers_best_epoch_is_what_must_be_reached():
    found = compared(0.95, 0.97, 0.94)
    assert found["accuracy"] == 0.97
    assert not found["headstart_reached_it"]


def test_the_target_tells_all_ratios_and_who_never_got_there():
    pairs = [fastai.compare(seed, {"empty": ours(0.97)}, [peer(0.93, 0.95)]) for seed in range(2)]
    line = fastai._target("empty", pairs)
    assert line["met"]
    assert line["what"].endswith("first trained, empty cache: at least 50")
    assert line["found"] == (
        "until the shipped route was first trained 51.2; until the shipped model was trained 4.1; whole process 2.0 "
        "(fastai: never with 2 of 2 seeds: more than the longest run, 205 s; 2 seed(s))"
    )
    missed = fastai._target("empty", [*pairs, fastai.compare(2, {"empty": ours(0.9)}, [peer(0.93)])])
    assert not missed["met"]
    assert missed["found"] == "headstart did not reach it with 1 of 3 seeds: 93.0 %"


def test_a_pair_of_processes_for_each_seed(tmp_path, monkeypatch):
    (tmp_path / "ants_bees").mkdir()
    calls: list[tuple[Any, ...]] = []

    def headstart(*arguments: str, cache: Path, limit: float, watch: Any) -> common.Ran:
        out, profile = (Path(arguments[arguments.index(name) + 1]) for name in ("--out", "--profile"))
        calls.append(("headstart", arguments[arguments.index("--seed") + 1], cache.exists()))
        cache.mkdir(exist_ok=True)
        append(out / "ledger.jsonl", {"event": "run"})
        watch(1.0)
        append(out / "ledger.jsonl", result(PROBE, "search"))
        watch(2.0)
        append(out / "ledger.jsonl", result(PROBE, "final"))
        watch(30.0)
        route = {**PROBE, "metrics": {"accuracy": 0.96}}
        evidence = {"shipped": "transfer", "transfer": route, "n_test": 100, "verdict": "helped"}
        (out / "evidence.json").write_text(json.dumps(evidence), encoding="utf-8")
        profile.write_text(json.dumps({"phases": {"train": {"seconds": 1.0}}}), encoding="utf-8")
        return common.Ran(0, "", "", 120.0, 1.0)

    def measured(python: Path, name: str, out: Path, *arguments: object, limit: float) -> dict[str, Any]:
        calls.append((name, *(str(arguments[arguments.index(option) + 1]) for option in ("--seed", "--epochs"))))
        return peer(0.9, 0.95)

    monkeypatch.setattr(fastai, "DATA", tmp_path)
    made = fastai.environment.Prepared(Path("python"))
    monkeypatch.setattr(fastai.environment, "prepared", lambda requirements=None: made)
    monkeypatch.setattr(common, "headstart", headstart)
    monkeypatch.setattr(common, "peer", measured)
    found = fastai.main(seeds=2, epochs=9)
    assert calls == [
        (name, seed, *rest)
        for seed in "01"
        for name, *rest in (
            ("headstart", False),
            ("headstart", True),
            ("fastai_finetune", "3"),
            ("fastai_finetune", "9"),
        )
    ]
    assert [line["met"] for line in found["targets"]] == [True, True]
    run = found["pairs"][1]["headstart"]["warm"]
    assert run["seconds"] == {"target_read": 1.0, "first_trained": 2.0, "shipped_model": 30.0, "process": 120.0}
    json.dumps(found, allow_nan=False)


def test_without_data_or_peers_it_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(fastai, "DATA", tmp_path)
    assert fastai.main() == {"skipped": "ants_bees is absent"}
    (tmp_path / "ants_bees").mkdir()
    none = fastai.environment.Prepared(None, "no line")
    monkeypatch.setattr(fastai.environment, "prepared", lambda requirements: none)
    assert fastai.main() == {"skipped": "no environment for the peers: no line"}

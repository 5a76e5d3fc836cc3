"""The benchmark of predicted seconds: its arithmetic."""

import json

import numpy as np
import pytest

from benchmarks import predictions
from headstart.search import Ledger
from headstart.trial import Result, Spec

pytestmark = pytest.mark.slow


def trial(predicted, seconds):
    return {"predicted": predicted, "seconds": seconds, "strategy": "probe"}


def test_a_prediction_is_off_by_the_same_factor_above_and_below():
    assert predictions.off(trial(1.0, 3.0)) == predictions.off(trial(3.0, 1.0)) == 3.0
    assert predictions.off(trial(0.0, 0.0004)) == 1.0
    assert predictions.share([trial(1, 2), trial(2, 1), trial(1, 2.1), trial(1, 0.4)]) == 0.5
    assert predictions.share([]) is None


def test_the_summary_counts_long_trials_apart_and_names_the_worst():
    runs = {
        "cold": {"one": [trial(0.01, 0.1), trial(4.0, 4.4)], "two": {"stderr": "planted"}},
        "warm": {"one": [trial(0.1, 0.1)] * 9 + [trial(0.1, 0.5)]},
    }
    found = predictions.summary(runs, 120)
    cold, warm = found["runs"]["cold"], found["runs"]["warm"]
    assert (cold["trials"], cold["within"]) == (2, 0.5)
    assert cold["half_a_second_or_more"] == {"trials": 1, "within": 1.0}
    assert cold["failed"] == {"two": {"stderr": "planted"}}
    assert cold["worst"][0]["seconds"] == 0.1
    assert (warm["within"], warm["half_a_second_or_more"]["within"]) == (0.9, 0.0)
    assert [each["met"] for each in found["targets"]] == [False, True]


def test_histories_are_joined(tmp_path):
    def write(name, rates):
        (tmp_path / name).write_text(json.dumps({"format": 1, "machines": {"m": {"rates": rates, "last": None}}}))
        return tmp_path / name

    into = write("into", {"a": [1, 2, 3], "b": [4]})
    predictions.merge(write("new", {"a": [5, 6, 7], "c": [8]}), into)
    joined = json.loads(into.read_text())["machines"]["m"]["rates"]
    assert joined == {"a": [2, 3, 5, 6, 7], "b": [4], "c": [8]}


def test_what_halving_could_save_is_the_time_of_settings_that_were_behind(tmp_path):
    labels = np.arange(100) % 2

    def searched(strategy, seed, right, wall, **parameters):
        logs = np.zeros((100, 2), np.float32)
        guess = np.where(np.arange(100) < right, labels, 1 - labels)
        logs[np.arange(100), guess] = 1.0
        spec = Spec("test", "search", "bundled:efficientnet_lite0", strategy, parameters, seed)
        return Result(spec, "transfer", "ok", logs, labels, wall=wall)

    ledger = Ledger(tmp_path)
    ledger.write("run", metric="accuracy")
    for result in (
        searched("probe", 0, 90, 1.0),
        searched("probe", 1, 90, 2.0),
        searched("finetune", 0, 60, 10.0),  # behind by 30 points; two standard errors are 12
        searched("finetune", 0, 85, 20.0, last=1),
        searched("prototypes", 0, 60, 0.5),
        searched("prototypes", 1, 60, 0.7),
    ):
        ledger.add(result)
    ledger.write("end", wall=100.0)
    found = predictions.hopeless(ledger)
    assert found == {
        "wall": 100.0,
        "networks": 30.0,
        "networks_behind": 10.0,
        "confirming": 2.7,
        "confirming_behind": 0.7,
    }
    assert predictions.halving([found, found])["share_behind"] == 0.107
    assert predictions.halving([]) == {}

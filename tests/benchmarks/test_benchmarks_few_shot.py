"""The benchmark of few labels: what is drawn, and when it says that its targets are met."""

import csv
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.fast


@pytest.fixture
def few_shot(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # the benchmarks are no part of the package
    return importlib.import_module("benchmarks.few_shot")


@pytest.fixture
def data(few_shot, tmp_path, monkeypatch):
    monkeypatch.setattr(few_shot, "DATA", tmp_path)
    rng = np.random.default_rng(0)
    for name in ("mixed/all", "split/train", "split/test"):
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows([f"{name} {i}, and more", "abc"[c]] for i, c in enumerate(rng.integers(3, size=90)))
    return tmp_path


@pytest.mark.parametrize("name", ["mixed", "split"])
def test_every_draw_has_eight_labels_of_each_class_and_no_test_text(few_shot, data, name):
    task = json.loads(json.dumps(few_shot._task(name, 4, 30)))
    assert task["classes"] == ["a", "b", "c"]
    assert len(task["test"]["texts"]) == len(task["test"]["labels"]) == 30
    assert not set(task["test"]["texts"]) & set(task["train"]["texts"])
    assert len(task["draws"]) == 4
    for rows in task["draws"]:
        assert len(set(rows)) == 24
        assert np.bincount([task["train"]["labels"][i] for i in rows]).tolist() == [8, 8, 8]
    assert task["draws"][0] != task["draws"][1]
    assert few_shot._task(name, 4, 30) == task, "the same again"


def test_data_that_is_absent_is_said(few_shot, data):
    assert next(few_shot.main(("mixed", "nothing")))["skipped"].startswith("nothing is absent")


def result(scores, seconds):
    return {"accuracies": scores, "fit_cpu_seconds": [seconds] * 3, "predict_cpu_seconds": [1.0] * 3}


@pytest.mark.parametrize(
    ("ours", "seconds", "met"),
    [
        ([0.8, 0.82, 0.81], 2.0, [True, True, True]),
        ([0.79, 0.8, 0.8], 2.0, [True, False, True]),  # within noise, and not above
        ([0.7, 0.71, 0.71], 4.0, [False, False, False]),
    ],
)
def test_targets(few_shot, ours, seconds, met):
    found = {"trec": {"contrast": result(ours, seconds), "setfit": result([0.8, 0.8, 0.8], 10.0)}}
    assert [line["met"] for line in few_shot._targets(found)] == met

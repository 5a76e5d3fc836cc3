"""The benchmark of the planner: its arithmetic, and that a unit goes on where it was cut."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import planner
from headstart.judge.intervals import mean_score
from headstart.search import Ledger
from headstart.testing import positive
from headstart.trial import Result, Spec

pytestmark = pytest.mark.slow


def unit(lost, share, worse=False, within=0.9):
    return {
        "target": "t",
        "seed": 0,
        "lost": lost,
        "share_of_time": share,
        "planner": {"worse_than_baseline": worse},
        "predictions": {"trials": 10, "within": within},
    }


def test_means_are_over_targets_and_what_failed_is_left_out(monkeypatch):
    monkeypatch.setattr(planner, "LIST", {"t": ""})
    monkeypatch.setattr(planner, "SEEDS", 2)
    found = planner.summary([unit(0.02, 0.1), unit(-0.01, 0.3), {"target": "t", "seed": 1, "stderr": "planted"}])
    assert (found["lost"], found["share_of_time"]) == (0.005, 0.2)
    assert [each["met"] for each in found["targets"]] == [True] * 4
    found = planner.summary([unit(0.02, 0.3, worse=True, within=0.8)] * 2)
    assert [each["met"] for each in found["targets"]] == [False] * 4
    assert found["targets"][3]["found"] == "80.0% of 20 trials on 2 of 2 targets with a seed"
    found = planner.summary([unit(0.0, 0.1)])
    assert [each["met"] for each in found["targets"]] == [False] * 4, "a part shows nothing yet"
    assert found["targets"][0]["found"] == "0.00 points on 1 of 2 targets with a seed"
    assert planner.summary([]) == {"targets": []}


def test_every_setting_is_tried_and_contenders_on_every_fold_and_nothing_twice(tmp_path, monkeypatch):
    planted = positive(40, 40)
    settings = planner.Options((planted.source,), ("prototypes",)).settings()[:3]
    monkeypatch.setattr(planner.Options, "settings", lambda self, modality, wordless: settings)
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
    ledger = Ledger(tmp_path)
    target = planted.target()
    planner.everything(target, ledger, tmp_path / "store", 0)
    searched = [r for r in ledger.results.values() if r.spec.phase == "search"]
    # Two ways of prototypes, and of baselines the majority class alone.
    folds = {s.key: {r.spec.seed for r in searched if r.spec.setting == s.key} for s in settings}
    assert [len(folds[s.key]) for s in settings] == [5, 5, 5]
    before = ledger.path.read_bytes()
    planner.everything(planted.target(), Ledger(tmp_path), tmp_path / "store", 0)
    assert ledger.path.read_bytes() == before

    found = planner.exhaustive(Ledger(tmp_path))
    assert found["shipped"][1] == "prototypes", "the planted source helps"
    assert found["score"] > 0.9
    assert found["trials"] == len(searched) + 2, "a final trial of each side"
    right, labels = planner.answers(Ledger(tmp_path), found["shipped"][1])
    assert right.shape == (1, target.n_test)
    assert mean_score(right, labels, target.metric) == pytest.approx(found["score"])
    assert found["seconds"] == pytest.approx(sum(r.wall for r in ledger.results.values()), abs=0.1)


def test_a_setting_that_is_behind_beyond_the_interval_is_out_of_the_race(tmp_path, monkeypatch):
    """What disagrees one way alone is out; what disagrees both ways about as often stays, however wrong both are."""
    ledger = Ledger(tmp_path)
    labels = np.tile([0, 1], 50)

    def told(name, wrong, fold=0, kind="probe"):
        said = labels.copy()
        said[wrong] = 1 - said[wrong]
        logs = np.log(np.where(np.eye(2)[said] > 0, 0.9, 0.1)).astype(np.float32)
        spec = Spec("target", "search", name, kind, {}, seed=fold)
        ledger.add(Result(spec, "transfer", "ok", log_probabilities=logs, labels=labels))
        return spec.setting

    best = told("best", np.arange(10))
    like, behind = told("like it", np.arange(5, 16)), told("behind", np.arange(30))
    assert planner.contenders(ledger, [best, like, behind], "accuracy", 1) == [best, like]
    monkeypatch.setattr(planner, "RACE", 1)
    assert planner.contenders(ledger, [like, best], "accuracy", 1) == [best, like], "probes take no time"
    dear = [told("like it, and dear", np.arange(5, 16), kind="finetune"), told("dear", np.arange(10), kind="finetune")]
    assert planner.contenders(ledger, dear, "accuracy", 1) == [dear[1]], "of more than go on, the best"
    told("best", np.arange(10), fold=1)
    told("like it", np.arange(30), fold=1)
    assert planner.contenders(ledger, [best, like, behind], "accuracy", 2) == [best]
    with pytest.raises(ValueError, match="every setting failed"):
        planner.contenders(ledger, [best], "accuracy", 3)


def test_examples_are_drawn_with_the_shares_of_the_classes_and_none_is_in_both_parts(tmp_path):
    """Pictures come as they are, whatever parts they were in; of texts only what is asked about."""
    made = Image.new("RGB", (8, 8))
    for part, name, count in (("train", "a", 12), ("val", "a", 18), ("train", "b", 10)):
        for i in range(count):
            place = tmp_path / "pictures" / part / name / f"{part}{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            made.save(place)
    planner.draw(tmp_path / "pictures", tmp_path / "drawn", 8, seed=0)
    found = {
        part: [(path.parent.name, path.name) for path in (tmp_path / "drawn" / part).rglob("*.png")]
        for part in ("train", "test")
    }
    assert {part: sorted(name for name, _ in each) for part, each in found.items()} == {
        "train": ["a"] * 6 + ["b"] * 2,
        "test": ["a"] * 24 + ["b"] * 8,
    }
    assert not set(found["train"]) & set(found["test"])

    table = tmp_path / "texts.csv"
    table.write_text("number,text,label\n" + "".join(f"{i},text {i},{i % 2}\n" for i in range(20)), encoding="utf-8")
    texts = []
    for seed in (0, 1):
        folder = tmp_path / f"texts{seed}"
        folder.mkdir()
        planner.draw(table, folder, 6, seed)
        texts.append((folder / "train.csv").read_text(encoding="utf-8").splitlines())
        assert len((folder / "test.csv").read_text(encoding="utf-8").splitlines()) == 1 + 14
    assert texts[0][0] == "text,label"
    assert texts[0] != texts[1], "another seed draws others"


def test_what_was_measured_of_this_plan_stays_and_other_plans_go(tmp_path, monkeypatch):
    def written(number, **more):
        return unit(0.01, 0.1) | {"target": f"t{number}", "plan": planner.PLAN} | more

    old = {"target": "t3", "seed": 0}
    units = [written(0), written(1, plan=planner.PLAN - 1), written(2, stderr="planted"), old]
    document = {"measured": {"budget_seconds": 120, "labels": 100, "units": units}}
    (tmp_path / "planner.json").write_text(json.dumps(document))
    assert planner.earlier(120, 100, tmp_path) == {("t0", 0): units[0]}
    assert planner.earlier(60, 100, tmp_path) == planner.earlier(120, 0, tmp_path) == {}
    assert planner.earlier(120, 100, tmp_path / "nowhere") == {}
    monkeypatch.setattr(planner, "LIST", {"t1": "", "t0": ""})
    found = planner._document(120, 100, {("t0", 0): units[0], ("t1", 0): units[1]})["units"]
    assert [each["target"] for each in found] == ["t1", "t0"], "in the order of the list"


def test_a_class_that_would_be_drawn_once_is_drawn_twice(tmp_path):
    table = tmp_path / "texts.csv"
    rows = [f"text {i},{'rare' if i % 25 == 0 else 'common'}" for i in range(100)]
    table.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    planner.draw(table, tmp_path, 20, seed=0)
    learned = (tmp_path / "train.csv").read_text(encoding="utf-8").splitlines()[1:]
    judged = (tmp_path / "test.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert sum(row.endswith("rare") for row in learned) == 2
    assert not set(learned) & set(judged)
    assert len(judged) == 100 - len(learned)

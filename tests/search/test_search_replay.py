"""A run writes a spec, and the spec is replayed: the same trials, the same evidence, and what is not as it was."""

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.budget import Budget
from headstart.errors import OptionError, RunError, SourceError
from headstart.search import Ledger, Options, run
from headstart.search.replay import apart, replay
from headstart.search.spec import NAME, read
from headstart.strategy.adapt.classical import Classical
from headstart.strategy.adapt.scratch import Scratch
from headstart.target import load_target
from headstart.testing import positive
from headstart.trial import Spec

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of a folder of pictures on a time budget that cuts training from scratch short."""
    root = tmp_path_factory.mktemp("replay")
    planted = positive(140, 0)
    for i, (picture, label) in enumerate(zip(planted.pictures, planted.labels, strict=True)):
        path = root / "pictures" / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
        found = hs.fit(
            root / "pictures", budget=Budget(trials=4), source=["toy:detail"], strategy=["probe"], out=root / "run"
        )
    return types.SimpleNamespace(root=root, run=root / "run", evidence=found.evidence)


def trials(folder):
    return [result.spec for result in Ledger(folder).results.values()]


def test_a_replay_ends_in_the_same_evidence(whole, tmp_path):
    again = hs.replay(whole.run, out=tmp_path / "again")
    assert trials(tmp_path / "again") == trials(whole.run)
    assert apart(whole.evidence, again.evidence) == []
    assert again.evidence.warnings == whole.evidence.warnings
    # A replay is a run: it has a spec of its own, which says the same but for seconds.
    mine, theirs = read(tmp_path / "again"), read(whole.run)
    assert [t.spec() for t in mine.trials] == [t.spec() for t in theirs.trials]
    assert (mine.target, mine.known, mine.revisions) == (theirs.target, theirs.known, theirs.revisions)


def test_the_spec_says_everything_by_hand(whole):
    document = json.loads((whole.run / NAME).read_text(encoding="utf-8"))
    assert document["target"]["data"] == str(whole.root / "pictures")
    assert document["sources"] == ["toy:detail"]
    assert document["strategies"] == ["probe"]
    assert document["budget"] == {"seconds": None, "trials": 4}
    assert set(document["revisions"]) == {"toy:detail"}
    assert document["known"]["classes"] == ["minus", "plus"]
    assert Spec(**{k: v for k, v in document["trials"][0].items() if k not in ("steps", "seconds")}) in trials(
        whole.run
    )


def test_the_budget_of_a_replay_does_not_matter(whole, tmp_path):
    spec = read(whole.run)
    short = spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": None, "seconds": 0.001})})
    found = replay(short, short.read(), tmp_path / "short")
    assert trials(tmp_path / "short") == trials(whole.run)
    assert apart(whole.evidence, found.evidence) == ["budget"]


def test_what_time_cut_short_is_cut_as_short_again(tmp_path, monkeypatch):
    planted = positive(60, 40)

    class Late(Budget):
        """Time is up before anything has begun."""

        def left(self):
            return -1.0

    monkeypatch.setattr(Scratch, "grid", classmethod(lambda cls, card: [cls(epochs=2, size=32)]))
    monkeypatch.setattr(Classical, "grid", classmethod(lambda cls, card: [cls("pixels", 16, "ridge")]))
    options = Options(("toy:detail",), ("probe", "scratch"), Budget(trials=6))
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["headstart.search.run"], "Budget", Late)
        found = run(planted.target(), tmp_path / "run", options).evidence
    spec = read(tmp_path / "run")
    cut = {t.strategy: t.steps for t in spec.trials if t.phase == "search" and t.steps}
    assert cut == {"scratch": 1}, "a first epoch was ended after one batch"
    again = replay(spec, planted.target(), tmp_path / "again").evidence
    assert apart(found, again) == []
    notes = [row.note for row in again.leaderboard if row.strategy == "scratch"]
    assert notes == ["training was cut short by the budget after 1 epochs"]


def test_what_is_not_as_it_was_is_told_first_and_all_at_once(whole, tmp_path):
    spec = read(whole.run)
    spec.versions["torch"] = "0.4.0"
    spec.revisions["toy:detail"] = "other"
    shutil.copytree(whole.root / "pictures", tmp_path / "pictures")
    changed = next((tmp_path / "pictures" / "minus").iterdir())
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(changed)
    target = spec.read(tmp_path / "pictures")
    said = spec.differences(target)
    assert said[:2] == ["the data: as many examples, and other contents", "toy:detail: its weights are others"]
    assert said[2].startswith("torch ")
    assert said[2].endswith("where the run had 0.4.0")
    assert len(said) == 3
    found = replay(spec, target, tmp_path / "again").evidence
    assert sum("is not as it was" in warning for warning in found.warnings) == 3
    changed.unlink()
    assert spec.differences(spec.read(tmp_path / "pictures"))[0] == "the data: 139 examples where there were 140"
    assert spec.differences(spec.read())[0].startswith("toy:detail")


def test_data_of_another_split_cannot_be_replayed_on(whole, tmp_path):
    small = positive(40, 0)
    with pytest.raises(RunError, match=r"cut into r0f0"):
        hs.replay(whole.run, data=(small.pictures, list(small.labels)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_without_a_name_must_be_given_again(tmp_path):
    planted = positive(140, 0)
    data = (planted.pictures, list(planted.labels))
    run = hs.fit(data, budget=Budget(trials=2), source=["toy:detail"], strategy=["probe"], out=tmp_path / "run")
    with pytest.raises(RunError, match="given in Python"):
        hs.replay(tmp_path / "run")
    assert apart(run.evidence, hs.replay(tmp_path / "run", data=data).evidence) == []


def test_a_target_knows_how_it_was_read(whole):
    target = load_target(str(whole.root / "pictures"), test_fraction=0.3, seed=4, name="mine")
    assert target.origin == {
        "data": str(whole.root / "pictures"),
        "label": None,
        "input": None,
        "group": None,
        "test_fraction": 0.3,
        "seed": 4,
        "name": "mine",
    }
    assert load_target((positive(140, 0).pictures, list(positive(140, 0).labels))).origin is None
    said = target.described({"minus": "a dark one"})
    assert Path(said.origin["data"]).name == "pictures"


def test_a_spec_that_is_wrong_says_all_of_it(whole, tmp_path):
    with pytest.raises(RunError, match=r"no run spec(.|\n)*headstart fit"):
        read(tmp_path)
    (tmp_path / NAME).write_text("{")
    with pytest.raises(RunError, match="JSON as a run wrote it"):
        read(tmp_path)
    document = json.loads((whole.run / NAME).read_text())
    document["seed"], document["trials"][1]["phase"], document["colour"] = "many", "dream", 1
    (tmp_path / NAME).write_text(json.dumps(document))
    with pytest.raises(RunError) as caught:
        read(tmp_path / NAME)
    assert [p.found.split(": ")[1] for p in caught.value.problems] == ["seed", "trials.1.phase", "colour"]


def test_pins_are_told_all_at_once():
    with pytest.raises(OptionError) as caught:
        Options(("nobody", "run:nowhere"), ("prob", "fientune(last=1)"), precision="f8", engine="ray").check()
    found = [problem.found for problem in caught.value.problems]
    assert [f"{line} ".split("(")[0].split(":")[0].strip() for line in found] == [
        "unknown source 'nobody'",
        "run",
        "unknown precision 'f8'",
        "unknown engine 'ray'",
        "unknown strategy 'prob'",
        "unknown strategy 'fientune'",
    ]
    assert "expected: one of local" in str(caught.value)
    with pytest.raises(SourceError) as alone:
        Options(("nobody", "noone")).check()
    assert len(alone.value.problems) == 2

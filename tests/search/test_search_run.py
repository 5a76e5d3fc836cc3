"""Whole runs on planted targets: the verdict, the guard, the seal, resuming, and what goes wrong."""

import shutil
import subprocess
import sys
import types
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from headstart.api import Run as Opened
from headstart.budget import Budget
from headstart.errors import RunError
from headstart.predictor import load
from headstart.search import Ledger, Options, run
from headstart.strategy import STRATEGIES
from headstart.strategy.adapt.probe import Probe
from headstart.target import Seal, load_target
from headstart.target.assemble import assemble
from headstart.target.inputs import ArrayInputs
from headstart.target.raw import Raw
from headstart.target.view import TrainView
from headstart.testing import Failing, negative, null, positive

fast = pytest.mark.fast

LEFT_OUT = (
    "Baselines that train a network were not tried, because --strategy named only routes that train none; "
    "name scratch to try them."
)


class Killed(BaseException):
    """Ends a run at once and leaves what kill -9 leaves: whole lines in the ledger, and nothing else done."""


def killed_at(heard, event, number):
    def then(name, what):
        if name == event and len(listener.of(event)) == number:
            raise Killed

    listener = heard(then)
    return listener


@pytest.fixture(scope="module")
def whole(tmp_path_factory, heard, options_of):
    """A run that nothing interrupted: its folder, its evidence, and what was heard of it."""
    folder, listener = tmp_path_factory.mktemp("whole") / "run", heard()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
        found = run(positive().target(), folder, options_of(positive()), listener)
    return types.SimpleNamespace(folder=folder, evidence=found.evidence, listener=listener)


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of that run, in the place where `go` would put its own."""
    return shutil.copytree(whole.folder, tmp_path / "run")


# -- verdict and guard -------------------------------------------------------------------------------------------


@fast
def test_transfer_that_helps_is_shown_and_shipped(whole):
    folder, found, listener = whole.folder, whole.evidence, whole.listener
    assert found.verdict == "helped"
    assert 0.35 < found.gain.low < found.gain.estimate < found.gain.high < 0.65
    assert (found.shipped, found.transfer.source, found.transfer.strategy) == ("transfer", "toy:detail", "probe")
    assert found.transfer.score >= 0.97
    assert (found.seeds, found.n_test, found.partial) == (5, 160, False)
    assert found.method == "paired stratified bootstrap"
    assert len(listener.of("began")) == len(listener.of("ended")) == found.cost.trials == 8 + 10 + 18

    # The ledger tells who opened the seal: each finalist once.
    opened = Ledger(folder).all("opened")
    finals = {r.spec.setting for r in Ledger(folder).of("test", "final")}
    assert sorted(event["finalist"] for event in opened) == sorted(finals)
    assert len(opened) == 2

    # What is shipped predicts as well as it was said to, and knows where it comes from.
    model = load(folder)
    planted = positive()
    right = np.array(model.predict(planted.pictures[80:])) == np.array(planted.labels[80:])
    assert right.mean() == pytest.approx(found.transfer.metrics["accuracy"], abs=0.02)
    assert model.provenance["source"] == "toy:detail"
    assert model.provenance["verdict"] == "helped"
    assert not (folder / "finalists").exists()
    assert not (folder / "checkpoints").exists()

    # Baselines that train a network were left out on purpose: there was room for them, so they are not listed.
    assert all(row.status == "ok" for row in found.leaderboard)
    assert found.warnings == [LEFT_OUT]


@fast
def test_what_was_not_tried_is_told_and_why(go, heard):
    found = go(positive(), trials=4, strategies=("probe", "scratch")).evidence
    skipped = [(row.source, row.note) for row in found.leaderboard if row.status == "skipped"]
    assert skipped == [("scratch:small_cnn", "the 4 trials were spent on others")]
    assert found.warnings == []

    def interrupt(event, what):
        if event == "ended" and len(listener.of("ended")) == 2:
            raise KeyboardInterrupt

    listener = heard(interrupt)
    partial = go(positive(), strategies=("probe", "scratch"), listener=listener, folder="partial").evidence
    skipped = [(row.source, row.note) for row in partial.leaderboard if row.status == "skipped"]
    assert ("scratch:small_cnn", "the run was interrupted before it") in skipped
    assert {note for _, note in skipped} == {"the run was interrupted before it"}


@fast
def test_transfer_that_hurts_is_not_shipped(go, tmp_path):
    found = go(negative(test=100)).evidence
    assert found.verdict == "hurt"
    assert found.gain.high < -0.3
    assert found.shipped == "baseline"
    assert found.baseline.strategy == "classical"
    model, planted = load(tmp_path / "run"), negative(test=100)
    assert model.provenance["side"] == "baseline"
    assert (np.array(model.predict(planted.pictures[80:])) == np.array(planted.labels[80:])).mean() >= 0.95


@fast
def test_transfer_that_makes_no_difference_is_undetermined_and_the_baseline_is_shipped(go):
    found = go(null(test=100), trials=6).evidence
    assert found.verdict == "undetermined"
    assert found.gain.low <= 0 <= found.gain.high
    assert found.baseline.validation_score >= found.transfer.validation_score
    assert found.shipped == "baseline"
    assert "not shown to help" in found.shipped_reason


@fast
def test_forty_examples_are_cross_fitted_and_the_model_learns_from_all_of_them(go, tmp_path, monkeypatch):
    trained = spy_on(monkeypatch)
    found = go(positive(40, 0), trials=4, strategies=("spy",)).evidence
    assert (found.target.split, found.method) == ("cross-fit", "corrected resampled t-test")
    assert found.verdict == "helped"
    assert (found.seeds, found.n_test, found.label_curve) == (1, 40, None)
    assert any("judged anew in each fold" in warning for warning in found.warnings)
    assert max(len(view) for view in trained) == len(trained[-1]) == 40  # the last one, for shipping
    assert all(len(view) < 40 for view in trained[:-1])
    model, planted = load(tmp_path / "run"), positive(0, 200, seed=5)
    assert (np.array(model.predict(planted.pictures)) == np.array(planted.labels)).mean() >= 0.95
    # Every fold of every repeat opened its own seal, once for each finalist.
    opened = [(e["episode"], e["finalist"]) for e in Ledger(tmp_path / "run").all("opened")]
    assert len(opened) == len(set(opened)) == 2 * 10


# -- what a strategy may see -------------------------------------------------------------------------------------


def spy_on(monkeypatch):
    """A strategy called `spy`, a probe that writes down the views it was given."""
    seen = []

    @dataclass(frozen=True)
    class Spy(Probe):
        name: ClassVar[str] = "spy"

        @classmethod
        def grid(cls, card):
            return [cls()]

        def __call__(self, source, view, *, budget, seed, bench=None):
            seen.append(view)
            return super().__call__(source, view, budget=budget, seed=seed, bench=bench)

    monkeypatch.setitem(STRATEGIES, "spy", Spy)
    return seen


def reachable(root):
    """Everything that can be reached from an object through attributes, items, closures and array bases."""
    seen, queue = {}, [root]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, (type, types.ModuleType, str, bytes, int, float, type(None))):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, dict):
            queue += [*thing.keys(), *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset)):
            queue += thing
        elif isinstance(thing, np.ndarray):
            queue.append(thing.base)
        elif isinstance(thing, types.MethodType):
            queue += [thing.__self__, thing.__func__]
        elif isinstance(thing, types.FunctionType):
            queue += [cell.cell_contents for cell in thing.__closure__ or () if cell is not None]
        else:
            queue += vars(thing).values() if hasattr(thing, "__dict__") else []
            queue += [
                getattr(thing, name, None) for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())
            ]
    return list(seen.values())


def folder_of(planted, root):
    for i, (picture, label) in enumerate(zip(planted.pictures, planted.labels, strict=True)):
        path = root / ("train" if i < planted.train else "test") / label / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return root


@fast
@pytest.mark.parametrize("kind", ["arrays", "folder", "made split", "cross-fit"])
def test_no_test_label_can_be_reached_from_a_view(kind, tmp_path):
    planted = positive(60, 40) if kind != "cross-fit" else positive(40, 0)
    if kind == "folder":
        target = load_target(folder_of(planted, tmp_path / "photos"))
    elif kind == "made split":
        many = positive(160, 0)
        target = load_target((many.pictures, list(many.labels)))
        assert target.split == "made"
    else:
        target = planted.target()
    for episode in target.episodes:
        truth = []
        episode.seal.open("test", lambda finalist, labels: truth.append(labels))  # noqa: B023
        sealed = {episode.seal.inputs.name(i) for i in range(len(episode.seal))}
        found = reachable(episode.view)
        assert any(isinstance(thing, np.ndarray) and thing is episode.view.examples.labels for thing in found)
        assert not any(isinstance(thing, Seal) for thing in found)
        names = [name for thing in found if isinstance(thing, list) for name in thing if isinstance(name, str)]
        assert not sealed & set(names)
        for thing in found:
            if isinstance(thing, np.ndarray) and thing.ndim == 1:
                assert len(thing) == len(episode.view), "an array over more than the training examples"
        assert len(truth[0]) == len(episode.seal)


@fast
def test_strategies_are_given_views_without_the_test(go, monkeypatch):
    given = spy_on(monkeypatch)
    planted = positive()
    go(planted, strategies=("spy",))
    target = planted.target()
    sealed = {target.episodes[0].seal.inputs.digest(i) for i in range(160)}
    assert len(given) >= 5
    for view in given:
        assert isinstance(view, TrainView)
        assert not any(isinstance(thing, Seal) for thing in reachable(view))
        assert not sealed & {view.examples.inputs.digest(i) for i in range(len(view))}


@fast
def test_a_given_validation_split_is_never_trained_on(monkeypatch, tmp_path):
    given = spy_on(monkeypatch)
    planted = positive(90, 60)
    sides = ["train"] * 60 + ["validation"] * 30 + ["test"] * 60
    target = assemble(Raw("split", ArrayInputs(planted.pictures), planted.labels, sides), test_fraction=0.25, seed=0)
    found = run(target, tmp_path / "run", Options(("toy:detail",), ("spy",), Budget(trials=4)))
    training = {ArrayInputs(planted.pictures[:60]).digest(i) for i in range(60)}
    assert len(given) >= 6
    for view in given:
        assert {view.examples.inputs.digest(i) for i in range(len(view))} <= training
    results = Ledger(tmp_path / "run").of("test", "search")
    assert {len(r.labels) for r in results} == {30}
    assert {r.spec.seed for r in results} == {0}  # one fold: the same validation split for every setting
    assert found.evidence.verdict == "helped"


# -- resuming ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([("ended", 3), ("ended", 12)], marks=pytest.mark.fast),
        pytest.param([("began", 1), ("began", 9), ("ended", 36), ("judging", 1)], marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_and_ends_with_the_same_evidence(go, tmp_path, heard, essential, points, whole):
    expected = essential(whole.folder)
    for event, number in points:
        folder = f"{event}{number}"
        first = killed_at(heard, event, number)
        with pytest.raises(Killed):
            go(positive(), folder=folder, listener=first)
        done = [r.spec.key for r in Ledger(tmp_path / folder).results.values()]
        again = heard()
        go(positive(), folder=folder, listener=again)
        assert again.of("resumed") == ([len(done)] if done else [])
        assert not {spec.key for spec in again.of("began")} & set(done)
        assert len(done) + len(again.of("began")) == 36
        assert essential(tmp_path / folder) == expected
        assert len(Ledger(tmp_path / folder).all("opened")) == 2
        assert load(tmp_path / folder).provenance["verdict"] == "helped"


@fast
def test_a_finished_run_is_not_done_again(go, copied, heard):
    kept = [copied / name for name in ("ledger.jsonl", "model/predictor.json", "evidence.json")]
    before = [file.read_bytes() for file in kept]
    again = heard()
    go(positive(), listener=again)
    assert again.of("began") == []
    assert again.of("resumed") == [36]
    assert [file.read_bytes() for file in kept] == before


@fast
def test_a_model_that_was_lost_is_made_again(go, copied):
    shutil.rmtree(copied / "model")
    go(positive())
    model, planted = load(copied), positive()
    assert (np.array(model.predict(planted.pictures[80:])) == np.array(planted.labels[80:])).mean() >= 0.95


@fast
def test_the_ledger_alone_gives_the_evidence_back(whole, tmp_path):
    shutil.copy(whole.folder / "ledger.jsonl", tmp_path)
    page = Opened(tmp_path).rebuild()
    assert (tmp_path / "evidence.json").read_bytes() == (whole.folder / "evidence.json").read_bytes()
    assert page.is_file()


@fast
def test_an_interrupted_run_says_so_and_goes_on(go, tmp_path, heard, whole):
    def interrupt(event, what):
        if event == "ended" and len(listener.of("ended")) == 5:
            raise KeyboardInterrupt

    listener = heard(interrupt)
    partial = go(positive(), listener=listener)
    assert listener.of("interrupted") == [None]
    assert partial.evidence.partial
    assert partial.evidence.seeds == 1
    assert partial.evidence.verdict == "helped"
    assert any("Run the same command again" in warning for warning in partial.evidence.warnings)
    assert load(tmp_path / "run").provenance["verdict"] == "helped"

    again = heard()
    finished = go(positive(), listener=again)
    assert again.of("resumed") == [7]
    assert not finished.evidence.partial
    assert finished.evidence.seeds == 5
    assert finished.evidence.gain == whole.evidence.gain
    opened = [event["finalist"] for event in Ledger(tmp_path / "run").all("opened")]
    assert len(opened) == len(set(opened))


@fast
def test_interrupted_twice_or_before_there_was_anything_it_just_ends(go, tmp_path, heard):
    def always(event, what):
        if event == "ended" and len(listener.of("ended")) >= 5:
            raise KeyboardInterrupt

    listener = heard(always)
    with pytest.raises(KeyboardInterrupt):
        go(positive(), listener=listener)
    assert len(Ledger(tmp_path / "run").results) == 6
    assert not (tmp_path / "run" / "evidence.json").exists()
    assert go(positive()).evidence.verdict == "helped"

    def at_once(event, what):
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, RunError)):
        go(positive(), folder="empty", listener=heard(at_once))


# -- what goes wrong ---------------------------------------------------------------------------------------------


@fast
def test_a_trial_that_fails_is_recorded_and_the_run_goes_on(go, tmp_path, monkeypatch):
    monkeypatch.setitem(STRATEGIES, "failing", Failing)
    found = go(positive(), strategies=("failing", "probe")).evidence
    assert found.verdict == "helped"
    (row,) = [row for row in found.leaderboard if row.strategy == "failing"]
    assert (row.status, row.note, row.score, row.trials) == ("failed", "planted failure", None, 1)
    failed = [r for r in Ledger(tmp_path / "run").results.values() if r.status == "failed"]
    assert [(r.spec.strategy, r.error) for r in failed] == [("failing", "planted failure")]


@fast
def test_where_all_of_one_side_fails_it_says_why(go, monkeypatch, tmp_path):
    monkeypatch.setitem(STRATEGIES, "failing", Failing)
    with pytest.raises(RunError, match="because trials failed: failing on detail: planted failure"):
        go(positive(), strategies=("failing",), trials=4)
    assert not (tmp_path / "run" / "evidence.json").exists()


@fast
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trials": 6}, "budget"),
        ({"seed": 1}, "seed"),
        ({"strategies": ()}, "settings"),
        ({"sources": ("toy:pixels",)}, "settings"),
    ],
)
def test_a_folder_with_another_run_is_refused(go, heard, changes, named):
    with pytest.raises(Killed):
        go(positive(), listener=killed_at(heard, "ended", 1))
    with pytest.raises(RunError, match=f"holds another run: its {named} differs"):
        go(positive(), **changes)
    with pytest.raises(RunError, match="its target differs"):
        go(positive(seed=9))


@fast
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(go, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"run is not empty and holds no run: thesis\.txt\nexpected: "):
        go(positive(), trials=2)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    # What a kill before the ledger's first line leaves, and what file managers leave, is nobody's work.
    (folder / "thesis.txt").unlink()
    (folder / ".lock").touch()
    (folder / ".DS_Store").touch()
    assert go(positive(), trials=2).evidence.verdict == "helped"
    assert (folder / ".DS_Store").exists()


@fast
def test_a_folder_in_use_is_refused(go, tmp_path):
    pytest.importorskip("fcntl")
    code = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX);"
        " print('held', flush=True); sys.stdin.read()"
    )
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", code, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="is in use by another process"):
            go(positive())
        other.stdin.close()
    assert go(positive()).evidence.verdict == "helped"

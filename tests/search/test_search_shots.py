"""Few-shot runs on planted targets: one route over many draws, each judged on its own part of the test."""

import shutil

import numpy as np
import pytest

from headstart.api import Run as Opened
from headstart.errors import RunError
from headstart.predictor import load
from headstart.search import Ledger, run
from headstart.strategy import STRATEGIES
from headstart.strategy.adapt.probe import Probe
from headstart.target import drawn
from headstart.testing import negative, positive

pytestmark = pytest.mark.fast

SHOTS, DRAWS = 3, 6


class Killed(BaseException):
    """Ends a run at once, as kill -9 does."""


@pytest.fixture
def shoot(tmp_path, options_of):
    """Runs draws of a planted target in a folder of `tmp_path`."""

    def start(planted, *, shots=SHOTS, draws=DRAWS, folder="run", listener=None, **changes):
        return run(drawn(planted.target(), shots, draws), tmp_path / folder, options_of(planted, **changes), listener)

    return start


def test_one_route_is_judged_over_all_draws(shoot, tmp_path, heard, monkeypatch):
    planted, seen = positive(), []
    inner = Probe.__call__

    def spy(self, source, view, **how):
        seen.append(view)
        return inner(self, source, view, **how)

    monkeypatch.setattr(STRATEGIES["probe"], "__call__", spy)
    listener = heard()
    found = shoot(planted, listener=listener).evidence
    assert (found.verdict, found.method) == ("helped", "paired t-test over draws")
    assert 0.2 < found.gain.low < found.gain.estimate < found.gain.high < 0.5
    assert (found.n_test, found.seeds, found.partial, found.label_curve) == (160, 1, False, None)
    shots = found.shots
    assert (shots.labels, shots.asked, shots.shared, shots.shipped_draw) == (SHOTS, DRAWS, 0.0, 1)
    assert [d.number for d in shots.draws] == [1, 2, 3, 4, 5, 6]
    assert sum(d.n_test for d in shots.draws) == 160
    gains = [d.transfer - d.baseline for d in shots.draws]
    assert found.gain.estimate == pytest.approx(np.mean(gains))
    assert np.mean([d.transfer for d in shots.draws]) == pytest.approx(found.transfer.score)

    # Nothing but a draw's labels is learned from, in the search as at the end.
    assert {tuple(np.bincount(view.examples.labels)) for view in seen} == {(SHOTS, SHOTS)}
    assert all(view.validation is None for view in seen)
    # Both routes were trained once on every draw, and each draw's seal opened once for each.
    finals = [r.spec for r in Ledger(tmp_path / "run").results.values() if r.spec.phase == "final"]
    assert sorted((s.episode, s.seed) for s in finals) == sorted(2 * [(f"draw{i + 1}", i) for i in range(DRAWS)])
    assert len({s.setting for s in finals}) == 2
    opened = [(e["episode"], e["finalist"]) for e in Ledger(tmp_path / "run").all("opened")]
    assert len(opened) == len(set(opened)) == 2 * DRAWS
    # What is shipped is the model of the first draw, and it says so.
    assert "The model is that of draw 1, trained on 6 labels, 3 of each class" in found.shipped_reason
    assert "without --shots learns from all 80" in found.shipped_reason
    model = load(tmp_path / "run")
    assert (model.provenance["shots"], model.provenance["draw"]) == (SHOTS, 1)
    right = np.array(model.predict(planted.pictures[80:])) == np.array(planted.labels[80:])
    assert right.mean() > found.shots.draws[0].baseline
    # Draws are validated on the same labels, which are counted once.
    row = next(row for row in found.leaderboard if row.strategy == "classical")
    assert row.high - row.low > 0.1

    # A model that was lost is made again, from the labels of the same draw.
    before = model.predict_proba(planted.pictures[80:])
    shutil.rmtree(tmp_path / "run" / "model")
    again = heard()
    shoot(planted, listener=again)
    assert [spec.phase for spec in again.of("began")] == ["ship"]
    assert load(tmp_path / "run").predict_proba(planted.pictures[80:]) == pytest.approx(before, abs=1e-6)
    # The page shows every draw, and comes from the ledger alone.
    page = Opened(tmp_path / "run").rebuild().read_text(encoding="utf-8")
    assert "Draw by draw" in page
    assert page.count("<title>Draw ") == DRAWS


def test_one_label_of_each_class_and_transfer_that_hurts(shoot):
    found = shoot(negative(), shots=1, draws=8).evidence
    assert found.verdict in ("hurt", "undetermined")
    assert found.gain.estimate < 0
    assert found.shipped == "baseline"
    assert found.shots.choosing == 16
    assert found.baseline.validation_score > found.transfer.validation_score


def test_a_killed_run_goes_on_and_other_draws_are_another_run(shoot, tmp_path, heard, essential):
    expected = shoot(positive(), folder="whole", trials=4)

    def then(name, what):
        if name == "ended" and len(listener.of("ended")) == 9:
            raise Killed

    listener = heard(then)
    with pytest.raises(Killed):
        shoot(positive(), trials=4, listener=listener)
    again = heard()
    shoot(positive(), trials=4, listener=again)
    assert again.of("resumed") == [9]
    assert len(again.of("began")) == expected.evidence.cost.trials - 9
    assert essential(tmp_path / "run") == essential(tmp_path / "whole")
    with pytest.raises(RunError, match="shots differs"):
        shoot(positive(), shots=2, trials=4)


def test_interrupted_it_judges_some_draws_and_says_how_many(shoot, heard):
    def interrupt(event, what):
        if event == "ended" and len(listener.of("ended")) == 3:
            raise KeyboardInterrupt

    listener = heard(interrupt)
    found = shoot(positive(), listener=listener).evidence
    assert found.partial
    assert len(found.shots.draws) == 3
    assert any("Only 3 of 6 draws were judged" in warning for warning in found.warnings)


def test_a_draw_whose_trial_failed_is_left_out(shoot, tmp_path, monkeypatch):
    from headstart.errors import TrialError

    inner = Probe.__call__

    def failing(self, source, view, *, seed, **how):
        if seed == 0 and len(view) == 2 * SHOTS and how["bench"].checkpoint.stem in finals:
            raise TrialError("no luck")
        return inner(self, source, view, seed=seed, **how)

    finals = set()
    from headstart.search.run import Runner

    began = Runner._execute

    def execute(self, spec, *rest):
        finals.update([spec.key] if spec.phase == "final" and spec.seed == 0 else [])
        return began(self, spec, *rest)

    monkeypatch.setattr(Runner, "_execute", execute)
    monkeypatch.setattr(STRATEGIES["probe"], "__call__", failing)
    found = shoot(positive(), trials=4).evidence
    assert [d.number for d in found.shots.draws] == [2, 3, 4, 5, 6]
    assert found.shots.shipped_draw == 2
    assert load(tmp_path / "run").provenance["draw"] == 2

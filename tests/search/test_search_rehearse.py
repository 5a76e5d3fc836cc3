"""A rehearsal asks the plan of a run, and does nothing."""

import json
from dataclasses import replace

import pytest

from headstart.budget import Budget
from headstart.files import cache_directory
from headstart.search import Ledger, history
from headstart.search.rehearse import rehearse
from headstart.target.shots import drawn
from headstart.testing import null, positive
from headstart.trial import Result

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def test_it_keeps_to_the_budget_and_does_nothing(options_of, tmp_path):
    planted = positive()
    found = rehearse(planted.target(), options_of(planted, budget=Budget(60.0)))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".json", ".jsonl", ".npy")]
    assert found.seconds <= 60
    assert found.steps[0].after == 0
    ends = [step.after + step.seconds for step in found.steps]
    assert [step.after for step in found.steps[1:]] == pytest.approx(ends[:-1])
    stages = [step.stage for step in found.steps]
    assert set(stages) == {"explore", "confirm", "final", "label curve"}
    assert not {"explore", "confirm"} & set(stages[stages.index("final") :])
    assert (found.measured, found.last, found.limited) == (False, None, "")


def test_the_same_target_gives_the_same_plan_and_a_small_budget_says_what_does_not_fit(options_of):
    planted = null()
    how = options_of(planted, strategies=(), budget=Budget(30.0))
    found = rehearse(planted.target(), how)
    assert json.dumps(found.to_json()) == json.dumps(
        rehearse(planted.target(), replace(how, budget=Budget(30.0))).to_json()
    )
    unfit = [each for each in found.unfit if each.strategy == "scratch"]
    assert unfit
    assert "for a trial" in unfit[0].why
    longer = rehearse(planted.target(), replace(how, budget=Budget(3600.0)))
    assert len(longer.unfit) < len(found.unfit)


def test_cross_fitted_folds_and_draws_are_rehearsed_too(options_of):
    planted = positive(40, 0)
    crossed = rehearse(planted.target(), options_of(planted, budget=Budget(60.0)))
    assert {step.spec.episode for step in crossed.steps} == {e.name for e in planted.target().episodes}
    assert crossed.seconds <= 60
    planted = positive()
    shots = rehearse(drawn(planted.target(), 4, 6), options_of(planted, budget=Budget(60.0)))
    assert {s.spec.seed for s in shots.steps if s.stage == "final" and s.side == "transfer"} == set(range(6))


def test_a_run_writes_what_was_known_and_what_was_predicted_and_the_next_begins_with_it(go, options_of, tmp_path):
    planted = positive(40, 80)
    how = {"strategies": ("prototypes",), "budget": Budget(6.0)}
    rehearsed = rehearse(planted.target(), options_of(planted, **how))
    first = go(planted, **how)
    ledger = Ledger(tmp_path / "run")
    assert next(iter(ledger.results.values())).spec == rehearsed.steps[0].spec
    assert [event["event"] for event in ledger.events[:2]] == ["run", "history"]
    assert ledger.events[1]["rates"] == {}
    planned = [r for r in ledger.results.values() if r.spec.phase != "ship"]
    assert all(r.predicted is not None for r in planned)
    assert Result.from_json(planned[0].to_json()).predicted == planned[0].predicted
    assert first.evidence.predictions.trials == len(planned)

    found = rehearse(planted.target(), options_of(planted, **how))
    assert found.measured
    assert found.last["trials"] == len(planned)
    assert (cache_directory() / "seconds.json").is_file()
    # A run that is resumed after the machine has learned goes by what its own ledger says.
    before = Ledger(tmp_path / "run").first("history")
    again = go(planted, **how)
    assert Ledger(tmp_path / "run").first("history") == before
    assert again.evidence == first.evidence


def test_with_trials_counted_nothing_of_it_is_in_the_ledger(go, tmp_path):
    found = go(positive(), trials=4)
    ledger = Ledger(tmp_path / "run")
    assert ledger.first("history") is None
    assert all(r.predicted is None for r in ledger.results.values())
    assert found.evidence.predictions is None
    assert not history.path().exists()

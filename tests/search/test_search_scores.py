"""What a run writes down about scores: beside the outcome, after it, and never in its way."""

import json
import sys

import pytest

from headstart.budget import Budget
from headstart.judge.evidence import Evidence
from headstart.search import Ledger, Options, assemble, run
from headstart.search.leaderboard import probed
from headstart.testing import positive

pytestmark = pytest.mark.fast

BOTH = ("toy:pixels", "toy:detail")


def options(trials, sources=BOTH):
    return Options(sources=sources, strategies=("probe",), budget=Budget(trials=trials))


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)


def test_scores_stand_beside_the_outcome(tmp_path):
    planted = positive()
    finished = run(planted.target(), tmp_path / "run", options(16))
    scores = finished.evidence.scores
    assert scores is not None
    assert scores.examples == 80
    assert set(scores.outcome) == set(BOTH)
    assert scores.outcome["toy:detail"] > 0.9 > scores.outcome["toy:pixels"]
    by_name = {record.name: record for record in scores.records}
    assert {"linear", "logme", "knn"} <= set(by_name)
    assert "h_score" not in by_name  # 256 features of 80 examples: it says nothing of toy:pixels
    right, wrong = by_name["linear"], by_name["transrate"]
    assert (right.first, right.tau, right.lost) == ("toy:detail", 1.0, 0.0)
    # TransRate prefers features for being many.
    assert (wrong.first, wrong.tau) == ("toy:pixels", -1.0)
    assert wrong.lost == pytest.approx(scores.outcome["toy:detail"] - scores.outcome["toy:pixels"])
    text = (tmp_path / "run" / "evidence.json").read_text(encoding="utf-8")
    assert Evidence.model_validate_json(text).scores == scores
    # The ledger alone is enough, and a finished run that is resumed writes no more.
    assert assemble(Ledger(tmp_path / "run")).to_text() == text
    run(planted.target(), tmp_path / "run", options(16))
    assert len(Ledger(tmp_path / "run").all("scores")) == 1


def test_one_source_is_compared_with_nothing(tmp_path):
    planted = positive()
    finished = run(planted.target(), tmp_path / "run", options(8, (planted.source,)))
    assert finished.evidence.scores is None
    assert json.loads((tmp_path / "run" / "evidence.json").read_text(encoding="utf-8"))["scores"] is None


def test_a_score_that_fails_loses_no_run(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("features that are not finite")

    monkeypatch.setattr(sys.modules["headstart.search.run"], "scored", fail)
    planted = positive()
    finished = run(planted.target(), tmp_path / "run", options(12))
    assert finished.evidence.verdict == "helped"
    assert finished.evidence.scores is None


def test_the_outcome_compares_sources_on_the_folds_they_share(tmp_path):
    planted = positive()
    run(planted.target(), tmp_path / "run", options(16))
    ledger = Ledger(tmp_path / "run")
    found = probed(ledger, "test", "accuracy")
    first = {
        source: max(
            (r.log_probabilities.argmax(axis=1) == r.labels).mean()
            for r in ledger.of("test", "search")
            if r.spec.source == source and r.spec.strategy == "probe" and r.spec.seed == 0
        )
        for source in BOTH
    }
    assert found["toy:detail"] == pytest.approx(first["toy:detail"], abs=0.2)
    assert probed(ledger, "no such episode", "accuracy") == {}

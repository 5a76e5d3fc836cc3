"""bf16 only where the target's own training examples show that it costs no accuracy, and on the record."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from headstart.errors import OptionError, TrialError
from headstart.predictor import load
from headstart.report.page import markdown
from headstart.search import Ledger, Options, precision
from headstart.search.precision import SAMPLE, WORTH_FROM, choose, in_ledger
from headstart.strategy import Bench
from headstart.target.inputs import ArrayInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import positive

pytestmark = pytest.mark.fast

SOURCE = "toy:detail"


@pytest.fixture(autouse=True)
def able(monkeypatch):
    """A processor that has the arithmetic, whatever the tests run on."""
    monkeypatch.setattr("headstart.search.precision.has_bf16", lambda: True)
    monkeypatch.setattr("headstart.features.network.has_bf16", lambda: True)


def view_of(n):
    labels = (np.arange(n) % 2).astype(np.int64)
    numbers = (np.arange(n)[:, None, None, None] // 256 ** np.arange(3)) % 256  # every picture is another
    return TrainView(Examples(ArrayInputs(numbers.astype(np.uint8)), labels), ("a", "b"), "accuracy")


def features(view, wrong):
    """(N, 4) by which a linear probe gets all but `wrong` examples right: those look like the other class."""
    y = 2.0 * view.examples.labels - 1
    y[:wrong] *= -1
    noise = np.random.default_rng(0).normal(0, 0.05, (len(y), 4))
    return (noise + np.outer(y, [1, 0, 0, 0])).astype(np.float32)


def asked_of(monkeypatch, wrong_in_bf16, n=SAMPLE, count=WORTH_FROM, compiles=True, **how):
    """What is settled where the probe is right on all in f32, and wrong on so many in bf16; and what was computed."""
    view, computed = view_of(n), []

    def body_of(source, device, precision):
        return SimpleNamespace(
            precision=precision, computes_in=precision if compiles else "f32", prepare=lambda count: None
        )

    class Working(Bench):
        def features(self, body, inputs, words):
            computed.append(body.precision)
            return features(view, wrong_in_bf16 if body.precision == "bf16" else 0)

    monkeypatch.setattr(precision, "body_of", body_of)
    device = how.pop("device", "cpu")
    options = {"asked": "auto", "metric": "accuracy", "seed": 0, **how}
    return choose(SOURCE, view, count, bench=Working(device=device), **options), computed


def test_bf16_is_used_where_it_loses_nothing_and_the_record_says_what_was_seen(monkeypatch):
    event, computed = asked_of(monkeypatch, wrong_in_bf16=0)
    assert (event["precision"], event["examples"], event["f32"], event["bf16"]) == ("bf16", SAMPLE, 1.0, 1.0)
    assert event["low"] > -precision.TOLERANCE
    assert event["gain"] == 0
    assert computed == ["f32", "bf16"]


def test_bf16_is_refused_where_it_loses_a_point(monkeypatch):
    event, _ = asked_of(monkeypatch, wrong_in_bf16=10)
    assert (event["precision"], event["f32"], event["bf16"]) == ("f32", 1.0, 0.99)
    assert event["low"] < -0.01 < event["high"]


def test_what_may_be_a_loss_is_taken_for_one(monkeypatch):
    """Three more errors of 1,000 are less than is allowed, but could be more in truth."""
    event, _ = asked_of(monkeypatch, wrong_in_bf16=3)
    assert (event["precision"], event["bf16"]) == ("f32", 0.997)


@pytest.mark.parametrize(
    ("changes", "settled", "why"),
    [
        ({"n": SAMPLE - 1}, "f32", "a check would take what bf16 saves"),
        ({"count": WORTH_FROM - 1}, "f32", "a check would take what bf16 saves"),
        ({"asked": "f32"}, "f32", "asked for"),
        ({"device": "cuda"}, "f32", "cuda has a precision of its own"),
        ({"asked": "bf16", "n": 40, "count": 60}, "bf16", "asked for, and not checked"),
    ],
)
def test_nothing_is_computed_where_the_answer_is_known(monkeypatch, changes, settled, why):
    event, computed = asked_of(monkeypatch, 0, **changes)
    assert event["precision"] == settled
    assert why in event["why"]
    assert computed == []
    assert "examples" not in event


def test_a_processor_without_the_arithmetic_stays_in_f32_even_when_asked(monkeypatch):
    monkeypatch.setattr("headstart.search.precision.has_bf16", lambda: False)
    for asked in ("auto", "bf16"):
        event, computed = asked_of(monkeypatch, 0, asked=asked)
        assert (event["precision"], event["why"], computed) == ("f32", "this processor has no bf16 arithmetic", [])


def test_a_network_that_cannot_be_compiled_stays_in_f32(monkeypatch):
    event, _ = asked_of(monkeypatch, 0, compiles=False)
    assert (event["precision"], event["why"]) == ("f32", "its network could not be compiled")


def test_a_check_that_fails_is_no_end_of_the_run(monkeypatch):
    def refuse(*_, **__):
        raise TrialError("offline")

    monkeypatch.setattr(precision, "body_of", refuse)
    event = choose(SOURCE, view_of(SAMPLE), WORTH_FROM, asked="auto", metric="accuracy", seed=0, bench=Bench())
    assert (event["precision"], event["why"]) == ("f32", "it could not be checked: offline")


def test_an_unknown_precision_is_said_before_the_data_is_read():
    with pytest.raises(OptionError, match="unknown precision 'bf61'"):
        Options(precision="bf61").check()


def test_the_whole_run_is_in_the_precision_that_was_settled(go, tmp_path, monkeypatch, essential):
    """Checked once, resumed without another check; the ledger, the evidence, the report and the saved model say so."""
    monkeypatch.setattr(precision, "WORTH_FROM", 200)
    monkeypatch.setattr(precision, "SAMPLE", 80)
    monkeypatch.setattr(precision, "TOLERANCE", 0.2)  # of 80 examples nothing less can be shown
    # Torch stands in for the compiled network; tests/features looks at real bf16.
    monkeypatch.setattr("headstart.features.compiled.convert", lambda *_: True)
    checks = []
    real = precision.paired_interval
    monkeypatch.setattr(precision, "paired_interval", lambda *a, **k: checks.append(1) or real(*a, **k))
    found = go(positive(), trials=2).evidence
    folder = tmp_path / "run"
    assert in_ledger(Ledger(folder)) == {SOURCE: "bf16"}
    assert {r.precision for r in Ledger(folder).results.values() if r.spec.source == SOURCE} == {"bf16"}
    [check] = found.precisions
    assert (check.source, check.precision, check.examples) == (SOURCE, "bf16", 80)
    assert (found.transfer.precision, found.baseline.precision, found.verdict) == ("bf16", "f32", "helped")
    assert "on 80 training examples a linear probe got" in markdown(found)
    assert json.loads((folder / "model" / "predictor.json").read_text(encoding="utf-8"))["body"]["precision"] == "bf16"
    assert load(folder).body.precision == "bf16"
    before = essential(folder)
    go(positive(), trials=2)  # resumed: it had ended
    assert len(checks) == 1
    assert essential(folder) == before

"""Settings that train for long are tried on a quarter of the labels first, and only what may still lead goes on."""

import math

import pytest

from headstart.search import halving
from headstart.search.plan import Plan
from headstart.search.setting import Setting, Standing
from headstart.source import SourceCard
from headstart.strategy import Needs

pytestmark = pytest.mark.fast

CARD = SourceCard("on:t", "image", "", "x", "", "", None, 0, 0, 0.0)


class Numbered:
    """A strategy's setting, by its rank."""

    def __init__(self, rank):
        self.rank = rank


def standing(rank, rung=None, full=None, failed=0):
    return Standing(Numbered(rank), {} if full is None else {0: full}, rung, failed)


def test_a_quarter_of_few_labels_says_nothing():
    assert halving.labels(400, 10) == 100
    assert halving.labels(300, 10) is None


def test_the_first_setting_tells_the_gain_and_the_others_follow():
    first, second, third = standing(0, full=0.8), standing(1), standing(2)
    family = [first, second, third]
    assert halving.step(second, family, 0.75) == (first, "rung")
    first.rung = 0.6  # three quarters of the labels gave it 20 points
    assert halving.step(second, family, 0.75) == (second, "rung")
    second.rung, third.rung = 0.56, 0.54
    assert halving.step(second, family, 0.75) == (second, "search"), "extrapolated to 76 %"
    assert halving.step(third, family, 0.75) is None, "extrapolated to 74 %"
    # Half of two go on: with one of them tried on all labels, the other is out however low the bar.
    assert halving.step(third, family, 0.0) is None
    second.scores[0] = 0.9  # a gain of 34 points, of 27 on average
    fourth = standing(3, rung=0.5)
    family.append(fourth)
    assert halving.step(third, family, 0.80) == (third, "search"), "half of three is two"
    assert halving.step(third, family, 0.82) is None
    assert halving.step(fourth, family, 0.0) is None, "behind two"


def test_where_the_rung_of_the_first_failed_nothing_is_halved():
    first, second = standing(0, full=0.8, failed=1), standing(1)
    assert halving.step(second, [first, second], 0.9) == (second, "search")


class Trained:
    """A strategy that trains a network: a second for four labels."""

    def __init__(self, name, side, cost, number, gradients):
        self.name, self.side, self.cost, self.number = name, side, cost, number
        self.needs = Needs(gradients=gradients)

    def seconds(self, card, examples, classes, rate):
        return self.cost * examples / 320

    def frozen(self, card):
        return 0.0


def plan(costs, monkeypatch, **changes):
    monkeypatch.setattr("headstart.search.setting.parameters", lambda strategy: {"number": strategy.number})
    rows = [Setting(CARD, Trained("tuned", "transfer", cost, n, True), n) for n, cost in enumerate(costs)]
    rows += [Setting(CARD, Trained("plain", "baseline", 0.1, 0, False), 0)]
    sizes = {"examples": 400, "training": 400, "sealed": 50, "classes": 2, "label_curve": False}
    return Plan(["test"], rows, **sizes | changes)


def played(plan, worth, budget=math.inf):
    """The search trials that the plan asks for: strategy's number, phase, fold; `worth` by number and labels."""
    from headstart.trial import Result

    results, scores, asked = [], {}, []
    costs = {setting.key: setting.strategy.cost for setting in plan.settings}
    spent = 0.0
    while found := plan.ask(results, scores, budget - spent):
        spec, _ = found
        if not spec.validates:
            return asked
        wall = costs[spec.setting] * (spec.labels or 320) / 320
        side = "baseline" if spec.strategy == "plain" else "transfer"
        results.append(Result(spec, side, "ok", wall=wall))
        spent += wall
        scores[spec.key] = 0.5 if side == "baseline" else worth[spec.parameters["number"]][spec.labels is None]
        if side == "transfer":
            asked.append((spec.parameters["number"], spec.phase, spec.seed))
    return asked


WORTH = {0: (0.6, 0.8), 1: (0.65, 0.85), 2: (0.2, 0.3), 3: (0.3, 0.4)}
"""Of each setting, with a quarter of the labels and with all of them."""


def test_what_a_quarter_shows_to_be_hopeless_is_not_trained_on_all(monkeypatch):
    asked = played(plan([40.0] * 4, monkeypatch), WORTH)
    assert asked[:6] == [
        (0, "search", 0),
        (0, "rung", 0),
        (1, "rung", 0),
        (2, "rung", 0),
        (3, "rung", 0),
        (1, "search", 0),
    ]
    assert {number for number, phase, _ in asked if phase == "search"} == {0, 1}
    # The best is validated on all folds, and the rungs are no folds.
    assert [fold for number, phase, fold in asked if (number, phase) == (1, "search")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "changes", [{"trials": 60}, {"examples": 60, "training": 60}, {"episodes": 2}], ids=["counted", "few", "draws"]
)
def test_without_a_clock_with_few_labels_and_in_draws_there_are_no_rungs(changes, monkeypatch):
    episodes = changes.pop("episodes", 1)
    made = plan([40.0] * 4, monkeypatch, **changes)
    if episodes > 1:
        made = Plan(
            ["draw1", "draw2"], made.settings, examples=400, training=320, sealed=50, classes=2, seeds=2, folds=2
        )
    assert "rung" not in {phase for _, phase, _ in played(made, WORTH)}


def test_quick_settings_are_not_halved(monkeypatch):
    asked = played(plan([2.0] * 4, monkeypatch), WORTH)
    assert {number for number, phase, _ in asked if phase == "search"} == {0, 1, 2, 3}
    assert "rung" not in {phase for _, phase, _ in asked}


def test_there_is_no_rung_without_room_to_go_on(monkeypatch):
    """A first trial takes 40 s, its finals 150 s; a rung takes 10 s, and what it is for 40 s more."""
    for budget, rung in ((240.0, False), (300.0, True)):
        asked = played(plan([40.0] * 4, monkeypatch), WORTH, budget)
        assert ("rung" in {phase for _, phase, _ in asked}) == rung

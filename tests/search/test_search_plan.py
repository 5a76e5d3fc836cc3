"""The plan asks for the right trial: pure, fair to both sides, within the budget. Strategies here are made up."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from statistics import mean
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.search.plan import FREE, OVERHEAD, SEEDS, UNEVEN, Plan
from headstart.search.seconds import FIRST, ONCE
from headstart.search.setting import Setting
from headstart.source import SourceCard
from headstart.strategy import Needs
from headstart.target.view import FOLDS
from headstart.trial import Result

pytestmark = pytest.mark.fast


@dataclass(frozen=True)
class Made:
    """A strategy that costs what it says."""

    name: ClassVar[str] = "made"
    side: ClassVar[str] = "transfer"
    needs: ClassVar[Needs] = Needs()
    cost: float = 1.0
    number: int = 0

    def seconds(self, card, examples, classes, rate):
        return self.cost * examples / 80  # a fold trains on 80 of 100

    def frozen(self, card):
        return 0.0


def kind(name, side, gradients=False):
    return type(name, (Made,), {"name": name, "side": side, "needs": Needs(gradients=gradients)})


def card(name):
    return SourceCard(name, "image", "", "x", "", "", None, 0, 0, 0.0)


def make(costs, *, gradients=False, **changes):
    """A plan over {(side, family): [cost of each setting]}."""
    rows = []
    for (side, family), grid in costs.items():
        strategy = kind(family, side, gradients)
        rows += [Setting(card(f"on:{family}"), strategy(c, n), n) for n, c in enumerate(grid)]
    options = {"examples": 100, "training": 100, "sealed": 50, "classes": 2, "label_curve": True, **changes}
    return Plan(options.pop("episodes", ["test"]), rows, **options)


def result(spec, side, wall, *, failed=False):
    if failed:
        return Result(spec, side, "failed", wall=wall, error="planted")
    y = np.arange(25) % 2
    return Result(spec, side, "ok", np.zeros((25, 2), np.float32), y if spec.validates else None, wall=wall)


def play(plan, budget=math.inf, score=lambda spec: 0.5, wall=None, fails=lambda spec: False):
    """Ask and answer until the plan is done; the results, and the seconds they took."""
    sides = {setting.key: setting.side for setting in plan.settings}
    costs = {setting.key: setting.strategy.cost for setting in plan.settings}
    results, scores, spent = [], {}, 0.0
    closed = False
    for turn in range(500):
        asked = plan.ask(results, scores, budget - spent, closed=closed)
        if turn % 7 == 0:  # pure: the same question, the same answer
            assert asked == plan.ask(list(results), dict(scores), budget - spent, closed=closed)
        if asked is None:
            return results, spent
        spec, predicted = asked
        assert predicted >= 0
        closed = closed or not spec.validates
        took = costs[spec.setting] * (spec.labels or 100) / 100 if wall is None else wall(spec)
        results.append(result(spec, sides[spec.setting], took, failed=fails(spec)))
        if spec.validates and results[-1].status == "ok":
            scores[spec.key] = score(spec)
        spent += took
    raise AssertionError("the plan does not end")


def search(results):
    return [r for r in results if r.spec.validates]


costs = st.lists(st.floats(0.2, 20), min_size=1, max_size=4)
families = st.dictionaries(st.sampled_from(["a", "b", "c"]), costs, min_size=1, max_size=3)


@st.composite
def plans(draw):
    rows = {("transfer", f"t{name}"): grid for name, grid in draw(families).items()}
    rows |= {("baseline", f"b{name}"): grid for name, grid in draw(families).items()}
    return rows


@settings(max_examples=25, deadline=None)
@given(plans(), st.integers(0, 2**20), st.floats(0, 0.4))
def test_neither_side_is_ahead_and_no_trial_is_run_twice(rows, seed, failing):
    def drawn(spec):
        return np.random.default_rng([seed, int(spec.key, 16)]).random()

    results, _ = play(make(rows), score=drawn, fails=lambda spec: drawn(spec) < failing and spec.phase == "search")
    assert len({r.spec.key for r in results}) == len(results)
    order = search(results)
    for n, r in enumerate(order):
        spent = {side: sum(q.wall for q in order[:n] if q.side == side) for side in ("transfer", "baseline")}
        other = "baseline" if r.side == "transfer" else "transfer"
        if spent[r.side] > spent[other]:  # only where the other has nothing left to try
            assert other not in [q.side for q in order[n:]]
    for r in results:
        seeds = [q.spec.seed for q in results if q.spec.setting == r.spec.setting and q.spec.phase == r.spec.phase]
        assert len(seeds) <= (FOLDS if r.spec.phase == "search" else SEEDS if r.spec.phase == "final" else 9)
    phases = [r.spec.phase for r in results]
    assert phases == sorted(phases, key=["search", "final", "label curve"].index)
    finals = [r for r in results if r.spec.phase == "final"]
    both = all(any(r.side == side and r.status == "ok" for r in search(results)) for side in ("transfer", "baseline"))
    assert len(finals) == (2 * SEEDS if both else 0)


@settings(max_examples=15, deadline=None)
@given(plans(), st.integers(0, 2**20))
def test_with_trials_counted_the_sides_take_turns(rows, seed):
    results, _ = play(
        make(rows, trials=1_000), score=lambda spec: np.random.default_rng([seed, int(spec.key, 16)]).random()
    )
    order = [r.side for r in search(results)]
    for n in range(len(order)):
        ahead = order[: n + 1].count("transfer") - order[: n + 1].count("baseline")
        if abs(ahead) > 1:
            assert ("baseline" if ahead > 0 else "transfer") not in order[n + 1 :]


def test_cheap_trials_of_one_side_oblige_the_other_to_nothing():
    """The dear setting of the cheap side has its turn before the dear side was tuned to the end."""
    rows = {("transfer", "cheap"): [0.01] * 8, ("transfer", "dear"): [10.0], ("baseline", "b"): [10.0] * 3}
    results, _ = play(make(rows), 150)
    order = [(r.spec.strategy, r.side) for r in search(results)]
    assert [name for name, _ in order[: order.index(("dear", "transfer"))]].count("b") <= 2


@settings(max_examples=15, deadline=None)
@given(plans(), st.floats(20, 150))
def test_what_the_finals_need_is_kept(rows, budget):
    """Where trials take what is predicted, a run ends within its budget, with a final trial of each leader."""
    plan = make(rows, gradients=True)
    results, spent = play(plan, budget)
    first = {side: next(r.wall for r in results if r.side == side) for side in ("transfer", "baseline")}
    if 2 * sum(first.values()) + 2 * OVERHEAD <= budget:  # else the first trials, which are always run, took it
        tuned = {side: sum(r.wall for r in search(results) if r.side == side) for side in first}
        assert spent <= budget + SEEDS * FREE + UNEVEN * max(tuned.values())  # what takes next to no time is done
    finals = [r for r in results if r.spec.phase == "final"]
    assert {r.side for r in finals if r.spec.seed == 0} == {"transfer", "baseline"}


def test_three_seeds_of_each_leader_are_kept():
    rows = {("transfer", "t"): [2.0] * 4, ("baseline", "b"): [2.0] * 4}
    for budget in (30, 40, 50):
        results, spent = play(make(rows), budget)
        finals = [r.side for r in results if r.spec.phase == "final"]
        assert min(finals.count("transfer"), finals.count("baseline")) >= 3
        assert 0.6 * budget <= spent <= budget


def test_of_what_is_dear_a_pair_that_was_never_tried_comes_before_other_settings():
    rows = {("transfer", "p"): [0.1], ("transfer", "a"): [5.0, 6.0, 7.0], ("transfer", "b"): [9.0, 9.0]}
    results, _ = play(make(rows | {("baseline", "n"): [1.0]}), 1_000, score=lambda s: 0.3 if s.strategy == "b" else 0.5)
    tried = [r.spec.strategy for r in search(results) if r.spec.seed == 0 and r.spec.strategy in "ab"]
    assert tried[:4] == ["a", "b", "a", "a"]


def test_classical_baselines_are_tried_whatever_they_cost():
    rows = {("transfer", "t"): [1.0], ("baseline", "majority"): [0.1], ("baseline", "classical"): [30.0, 30.0]}
    tried = [(r.spec.strategy, r.spec.seed) for r in search(play(make(rows), 10)[0])]
    assert ("classical", 0) in tried
    assert tried.count(("classical", 0)) == 1
    assert ("classical", 0) not in [
        (r.spec.strategy, r.spec.seed) for r in search(play(make(rows, gradients=True), 10)[0])
    ]


def test_a_side_that_has_spent_next_to_nothing_is_not_cut_off_by_what_the_other_needs():
    rows = {
        ("transfer", "zero-shot"): [0.1],
        ("transfer", "probe"): [1.0, 1.0, 1.0, 1.0, 1.0],
        ("transfer", "dear"): [5.0],
        ("baseline", "classical"): [30.0],
    }
    tried = [r.spec.strategy for r in search(play(make(rows), 40)[0])]
    assert tried[:2] == ["classical", "zero-shot"]
    assert tried.count("probe") == 2, "up to a tenth of the thirty seconds that the baseline took"
    assert "dear" not in tried


def test_cheapest_first():
    rows = {("transfer", "dear"): [50.0], ("transfer", "cheap"): [2.0], ("baseline", "b"): [1.0]}
    results, _ = play(make(rows))
    assert [r.spec.strategy for r in search(results) if r.side == "transfer"][:2] == ["cheap", "dear"]


def test_the_first_features_come_before_a_network_is_trained():
    rows = {("transfer", "trained"): [1.0], ("transfer", "frozen"): [5.0], ("baseline", "b"): [1.0]}
    plan = make(rows)
    trained = plan.settings[0]
    plan.settings[0] = Setting(trained.card, kind("trained", "transfer", gradients=True)(1.0, 0), 0)
    results, _ = play(plan)
    assert [r.spec.strategy for r in search(results) if r.side == "transfer"][:2] == ["frozen", "trained"]


def test_other_settings_are_tried_of_the_two_best_pairs_only():
    rows = {("transfer", name): [1.0, 1.0, 1.0] for name in ("good", "fair", "poor")} | {("baseline", "b"): [1.0]}
    worth = {"good": 0.9, "fair": 0.8, "poor": 0.3, "b": 0.5}
    results, _ = play(make(rows), score=lambda spec: worth[spec.strategy])
    tried = {(r.spec.strategy, r.spec.parameters["number"]) for r in search(results)}
    assert {n for name, n in tried if name == "good"} == {n for name, n in tried if name == "fair"} == {0, 1, 2}
    assert {n for name, n in tried if name == "poor"} == {0}


@pytest.mark.parametrize("trials", [2, 3, 7, 12])
def test_trials_are_counted(trials):
    rows = {("transfer", "t"): [1.0, 1.0, 1.0], ("baseline", "b"): [1.0, 1.0, 1.0]}
    results, _ = play(make(rows, trials=trials))
    assert len(search(results)) == trials
    assert len([r for r in results if r.spec.phase == "final"]) == 2 * SEEDS


def test_with_trials_counted_the_clock_decides_nothing():
    rows = {("transfer", "t"): [1.0, 2.0, 3.0], ("baseline", "b"): [3.0, 1.0, 2.0], ("baseline", "c"): [1.0]}
    walls = iter(np.random.default_rng(0).uniform(0.01, 9, 1000))
    played = [play(make(rows, trials=9), wall=wall)[0] for wall in (lambda spec: next(walls), lambda spec: 1.0)]
    assert [r.spec for r in played[0]] == [r.spec for r in played[1]]


def test_the_leader_was_validated_on_as_many_folds_as_any():
    rows = {("transfer", "t"): [1.0, 1.0], ("baseline", "b"): [1.0]}
    # The second setting was lucky on the first fold; on all five the first is better.
    lucky = {0: 0.99, 1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}
    results, _ = play(make(rows), score=lambda s: lucky[s.seed] if s.parameters["number"] else 0.8)
    final = next(r for r in results if r.spec.phase == "final" and r.side == "transfer")
    assert final.spec.parameters["number"] == 0


def test_a_dear_setting_leads_after_one_fold_when_it_is_clearly_ahead_there():
    rows = {("transfer", "t"): [1.0], ("baseline", "cheap"): [0.1], ("baseline", "dear"): [10.0]}
    for ahead, leads in ((0.9, "dear"), (0.55, "cheap")):
        score = {"t": 0.9, "cheap": 0.5, "dear": ahead}
        results, _ = play(make(rows), budget=60.0, score=lambda s, score=score: score[s.strategy])
        assert sum(r.spec.strategy == "dear" for r in search(results)) < FOLDS
        assert {r.spec.strategy for r in results if r.spec.phase == "final"} == {"t", leads}


def test_of_two_folds_in_common_the_better_leads():
    plan = make({("transfer", "t"): [1.0], ("baseline", "b"): [1.0, 1.0]})
    first, second = plan.settings[1], plan.settings[2]
    scores = {first.key: [0.5, 0.5, 0.9], second.key: [0.51, 0.51]}
    results, found = [], {}
    for setting in (first, second):
        for fold, score in enumerate(scores[setting.key]):
            results.append(result(setting.spec("test", "search", fold), "baseline", 1.0))
            found[results[-1].spec.key] = score
    assert plan.leader(plan.standings(results, found), "baseline") == second


def test_final_trials_train_on_more_than_those_that_predict_them():
    """A fold trains on four fifths, so three finals of a setting that took 8 s take 30 s."""
    plan = make({("transfer", "t"): [0.1], ("baseline", "b"): [8.0]}, gradients=True)
    asked = [plan.ask([], {}, 1e3)]
    assert asked[0][1] == pytest.approx(10.0 * 0.8 + ONCE + FIRST)
    tried = result(asked[0][0], "baseline", 8.0)
    standings = plan.standings([tried], {tried.spec.key: 0.5})
    assert plan._reserve("baseline", standings, plan.seconds([tried])) == pytest.approx(30.0)


def test_a_finalist_that_takes_no_time_has_all_its_seeds():
    """Three finals of the dear baseline leave nothing, and transfer's take a hundredth of a second each."""
    plan = make({("transfer", "t"): [0.01], ("baseline", "b"): [10.0]}, gradients=True)
    results, _ = play(
        plan, 44.0, wall=lambda spec: 0.01 if spec.strategy == "t" else 13.0 if spec.phase == "final" else 10.0
    )
    finals = [r.side for r in results if r.spec.phase == "final"]
    assert finals.count("transfer") == SEEDS > finals.count("baseline")


def test_a_setting_that_failed_is_not_tried_again_and_the_others_are():
    rows = {("transfer", "bad"): [0.5], ("transfer", "good"): [1.0], ("baseline", "b"): [1.0]}
    results, _ = play(make(rows), fails=lambda spec: spec.strategy == "bad")
    assert [r.spec.strategy for r in search(results)].count("bad") == 1
    assert {r.spec.strategy for r in results if r.spec.phase == "final"} == {"good", "b"}


def test_where_the_first_setting_fails_the_next_is_tried_and_must_be():
    """The majority class alone would make any transfer look good."""
    rows = {("transfer", "t"): [1.0], ("baseline", "majority"): [0.1], ("baseline", "classical"): [30.0, 30.0, 30.0]}
    results, _ = play(make(rows), 10, fails=lambda s: s.strategy == "classical" and s.parameters["number"] == 0)
    tried = [r.spec.parameters["number"] for r in search(results) if r.spec.strategy == "classical"]
    assert tried == [0, 1]


def test_without_one_side_nothing_is_compared():
    rows = {("transfer", "bad"): [0.5, 1.0], ("baseline", "b"): [1.0]}
    results, _ = play(make(rows), fails=lambda spec: spec.strategy == "bad")
    assert all(r.spec.phase == "search" for r in results)


def test_a_given_validation_split_is_one_fold():
    rows = {("transfer", "t"): [1.0], ("baseline", "b"): [1.0]}
    results, _ = play(make(rows, folds=1))
    assert [r.spec.seed for r in search(results)] == [0, 0]


def test_once_finals_have_begun_nothing_is_searched():
    rows = {("transfer", "t"): [5.0, 5.0], ("baseline", "b"): [5.0]}
    plan = make(rows, trials=2)
    results, _ = play(plan)
    scores = {r.spec.key: 0.5 for r in search(results)}
    more = make(rows)  # a plan that would go on searching
    assert more.ask(results, scores, math.inf)[0].phase == "search"
    assert more.ask(results, scores, math.inf, closed=True) is None


def test_what_was_not_tried_is_told():
    rows = {("transfer", "cheap"): [1.0], ("transfer", "dear"): [500.0], ("baseline", "b"): [1.0]}
    plan = make(rows)
    results, _ = play(plan, budget=60)
    scores = {r.spec.key: 0.5 for r in search(results)}
    ((setting, predicted),) = plan.untried(results, scores)
    assert setting.family == ("on:dear", "dear")
    assert predicted > 400


def test_draws_are_searched_one_by_one_and_each_has_its_finals():
    draws = [f"draw{i + 1}" for i in range(8)]
    few = {"examples": 60, "training": 10, "episodes": draws, "seeds": 8, "label_curve": False}
    results, _ = play(make({("baseline", "b"): [1.0], ("transfer", "t"): [1.0]}, **few), wall=lambda spec: 1.0)
    assert all(r.spec.episode == f"draw{r.spec.seed + 1}" for r in results)
    assert {r.spec.seed for r in search(results)} == set(range(5))
    finals = [(r.side, r.spec.seed) for r in results if r.spec.phase == "final"]
    assert sorted(finals) == sorted((side, seed) for side in ("baseline", "transfer") for seed in range(8))
    # A route is only tried if there is time for it on all draws: 9 x 1.5 s, 4 s for the report, and the baseline's.
    for left, tried in ((16.0, False), (30.0, True)):
        rows = {("baseline", "b"): [0.1], ("transfer", "quick"): [0.1], ("transfer", "slow"): [15.0]}
        found, _ = play(make(rows, gradients=True, **few), left, wall=lambda spec: 0.1)
        assert any("slow" in r.spec.strategy for r in search(found)) == tried
    # Where time is short after all, five draws are judged, whatever that takes.
    late, _ = play(make({("baseline", "b"): [0.1], ("transfer", "t"): [0.1]}, **few), 12, wall=lambda spec: 5.0)
    assert {r.spec.seed for r in late if r.spec.phase == "final" and r.side == "transfer"} == set(range(5))


def test_the_label_curve_has_an_eighth_a_quarter_and_a_half_of_the_labels():
    def asked(cost, **changes):
        results, _ = play(make({("transfer", "t"): [cost], ("baseline", "b"): [1.0]}, **changes))
        return Counter((r.side, r.spec.labels) for r in results if r.spec.phase == "label curve")

    # What takes no time is drawn three times, the rest twice: half of a trial of 1 s takes 0.5 s, one of 4 s does not.
    assert asked(4.0, training=80) == {
        **{("transfer", n): 2 for n in (20, 40)},
        ("transfer", 10): 3,
        **{("baseline", n): 3 for n in (10, 20, 40)},
    }
    assert not asked(1.0, training=4)
    assert set(asked(1.0, training=8)) == {(side, 4) for side in ("transfer", "baseline")}  # two of each class


def test_the_label_curve_keeps_to_the_budget():
    rows = {("transfer", "t"): [9.0], ("baseline", "b"): [9.0]}
    results, spent = play(make(rows, training=80), budget=110)
    assert [r for r in results if r.spec.phase == "final"]
    assert spent <= 110
    assert not [r for r in results if r.spec.phase == "label curve" and r.spec.labels == 40 and r.spec.seed > 0]


def test_results_come_back_from_json():
    rows = {("transfer", "t"): [1.0], ("baseline", "b"): [1.0]}
    results, _ = play(make(rows))
    again = [Result.from_json(json.loads(json.dumps(r.to_json()))) for r in results]
    plan = make(rows)
    scores = {r.spec.key: 0.5 for r in search(results)}
    for n in range(len(results)):
        assert plan.ask(results[:n], scores, 50.0) == plan.ask(again[:n], scores, 50.0)


def test_a_leader_that_leaves_nothing_to_gain_ends_the_search_of_its_side():
    """Every baseline is still tried once, and others as long as that side is behind in seconds."""
    rows = {("transfer", "t"): [3.0, 3.0, 3.0], ("transfer", "u"): [50.0]}
    rows |= {("baseline", "b"): [1.0] * 9, ("baseline", "c"): [40.0]}
    plan = make(rows, gradients=True)
    worth = {"t": 0.995, "u": 1.0, "b": 0.6, "c": 0.7}
    results, _ = play(plan, 1e4, score=lambda s: worth[s.strategy])
    tried = Counter((r.side, r.spec.strategy) for r in search(results))
    assert tried["transfer", "u"] == 0
    assert tried["transfer", "t"] >= FOLDS
    assert tried["baseline", "c"] == 1
    spent = {side: sum(r.wall for r in search(results) if r.side == side) for side in ("transfer", "baseline")}
    assert spent["baseline"] >= spent["transfer"]
    scores = {r.spec.key: worth[r.spec.strategy] for r in search(results)}
    assert (
        plan.ended(results, scores)
        == "t on t makes next to no mistake in validation: no more than 0.5 points were left to gain"
    )
    assert plan.ended(results, dict.fromkeys(scores, 0.98)) == ""


def test_a_setting_that_is_far_behind_has_no_more_folds():
    rows = {("transfer", "t"): [1.0, 1.0], ("baseline", "b"): [1.0]}
    for second, folds in ((0.2, 1), (0.6, FOLDS)):
        results, _ = play(make(rows), score=lambda s, second=second: second if s.parameters["number"] else 0.8)
        assert [r.spec.parameters["number"] for r in search(results) if r.side == "transfer"].count(1) == folds


def test_what_takes_no_time_is_validated_on_all_folds_before_anything_dear_is_tried():
    """All are as good on the first fold, and one of the cheap ones is better on the others."""
    plan = make({("transfer", "cheap"): [0.01] * 6, ("transfer", "dear"): [10.0, 10.0], ("baseline", "b"): [30.0]})
    lucky = {s.key for s in plan.settings if s.strategy.cost == 0.01 and s.strategy.number != 5}
    results, _ = play(plan, score=lambda spec: 0.7 if spec.setting in lucky and spec.seed else 0.8, budget=300)
    tried = [r.spec for r in search(results) if r.side == "transfer"]
    dear = next(i for i, spec in enumerate(tried) if spec.strategy == "dear")
    assert Counter(spec.setting for spec in tried[:dear]) == {
        s.key: FOLDS for s in plan.settings if s.strategy.name == "cheap"
    }
    leader = next(s for s in plan.settings if s.strategy.name == "cheap" and s.strategy.number == 5)
    assert {r.spec.setting for r in results if r.spec.phase == "final" and r.side == "transfer"} == {leader.key}


@pytest.mark.parametrize(
    ("first", "order"),
    [(worth, ["a", "a", "a", "a", "a", "b"]) for worth in (0.9, 0.7, 0.65)] + [(0.5, ["a", "b"])],
)
def test_what_is_dear_and_not_behind_is_validated_on_before_others_are_tried(first, order):
    """A cheap probe was validated on all folds; the first of two dear ones is better, level or behind."""
    costs = {"cheap": 0.01, "a": 10.0, "b": 12.0}
    rows = {("baseline", "n"): [1.0]} | {("transfer", name): [cost] for name, cost in costs.items()}
    worth = {"cheap": 0.7, "a": first, "b": 0.7, "n": 0.5}
    results, _ = play(make(rows), 1_000, score=lambda spec: worth[spec.strategy])
    tried = [r.spec.strategy for r in search(results) if r.spec.strategy in ("a", "b")]
    assert tried[: len(order)] == order


def test_every_strategy_that_trains_a_network_is_tried_once_before_one_is_validated_on():
    plan = make({("transfer", "cheap"): [0.01], ("baseline", "n"): [1.0]})
    plan.settings += make({("transfer", "a"): [10.0, 10.0], ("transfer", "b"): [15.0]}, gradients=True).settings
    worth = {"cheap": 0.7, "a": 0.8, "b": 0.9, "n": 0.5}
    results, _ = play(plan, 1_000, score=lambda spec: worth[spec.strategy])
    tried = [(r.spec.strategy, r.spec.parameters["number"]) for r in search(results) if r.spec.strategy in ("a", "b")]
    assert tried[:6] == [("a", 0), ("b", 0), ("b", 0), ("b", 0), ("b", 0), ("b", 0)]


def standing_of(plan, scores):
    """Standings with given scores by setting key."""
    table = plan.standings([], {})
    for key, found in scores.items():
        table[key].scores.update(dict(enumerate(found)))
        table[key].seconds.append(1.0)
    return table


@pytest.mark.parametrize(("worth", "leads"), [(0.71, "dear"), (0.69, "cheap")])
def test_the_best_of_many_is_judged_on_each_fold_by_what_the_other_folds_choose(worth, leads):
    """Six cheap settings, each lucky on other folds: the best mean is 0.79, and what other folds choose has 0.70."""
    plan = make({("transfer", "cheap"): [0.01] * 6, ("baseline", "b"): [0.01]})
    plan.settings += make({("transfer", "dear"): [10.0]}, gradients=True).settings
    cheap = [s.key for s in plan.settings if s.strategy.name == "cheap"]
    dear = next(s.key for s in plan.settings if s.strategy.name == "dear")
    lucky = [[0.85 if (fold + number) % 5 < 2 else 0.65 for fold in range(5)] for number in range(5)]
    rows = dict(zip(cheap, [*lucky, [0.95, 0.95, 0.75, 0.65, 0.65]], strict=True))
    table = standing_of(plan, rows | {dear: [worth] * 5})
    assert max(mean(row) for row in rows.values()) > worth
    assert plan.leader(table, "transfer").strategy.name == leads


def test_a_setting_that_is_best_whatever_fold_is_left_out_leads_by_its_own_scores():
    plan = make({("transfer", "cheap"): [0.01] * 3, ("baseline", "b"): [0.01]})
    plan.settings += make({("transfer", "dear"): [10.0]}, gradients=True).settings
    cheap = [s.key for s in plan.settings if s.strategy.name == "cheap"]
    dear = next(s.key for s in plan.settings if s.strategy.name == "dear")
    rows = {cheap[0]: [0.8] * 5, cheap[1]: [0.7] * 5, cheap[2]: [0.6] * 5}
    for worth, leads in ((0.79, "cheap"), (0.81, "dear")):
        assert plan.leader(standing_of(plan, rows | {dear: [worth] * 2}), "transfer").strategy.name == leads

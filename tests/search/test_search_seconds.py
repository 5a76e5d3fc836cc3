"""Seconds are predicted from what was measured, part by part, in this run and in earlier ones on the same machine."""

import json
import multiprocessing
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from headstart import files, machine
from headstart.search import history
from headstart.search.plan import Plan
from headstart.search.seconds import (
    EAGER,
    FIRST,
    ONCE,
    PREPARED,
    PREPARING,
    STORED,
    USUAL,
    USUAL_OF_TEXTS,
    Known,
    Seconds,
    Sizes,
    accuracy,
    within,
)
from headstart.search.setting import Setting
from headstart.source import SourceCard
from headstart.strategy import Needs
from headstart.trial import CUT_SHORT, Result, Spec

pytestmark = pytest.mark.fast

OPERATIONS = 1e9  # of one input's pass
SIZES = {"examples": 100, "training": 100, "sealed": 400, "classes": 2}


@dataclass(frozen=True)
class Probing:
    """Takes features, and then two milliseconds for each example."""

    name: ClassVar[str] = "probing"
    side: ClassVar[str] = "transfer"
    needs: ClassVar[Needs] = Needs()
    number: int = 0

    def seconds(self, card, examples, classes, rate):
        return 0.002 * examples

    def frozen(self, card):
        return card.flops


@dataclass(frozen=True)
class Training(Probing):
    """Trains a network: no features."""

    name: ClassVar[str] = "training"
    side: ClassVar[str] = "baseline"
    needs: ClassVar[Needs] = Needs(gradients=True)

    def seconds(self, card, examples, classes, rate):
        return 0.1 * examples

    def frozen(self, card):
        return 0.0


def card(name, flops=OPERATIONS):
    return SourceCard(name, "image", "", "x", "", "", None, 0, 0, flops)


SETTINGS = [
    *(Setting(card(f"bundled:{name}"), Probing(n), n) for name in ("one", "two") for n in range(3)),
    *(Setting(card("scratch:net", 1e7), Training(n), n) for n in range(2)),
]


class Machine:
    """A machine unlike the usual one: fits, passes, preparing and imports all take what it says."""

    def __init__(self, *, slower=4.0, an_input=0.05, preparing=2.5, imports=1.5):
        self.slower, self.an_input, self.preparing, self.imports = slower, an_input, preparing, imports
        self.done, self.kinds = set(), set()

    def run(self, setting, spec):
        """What a trial really takes."""
        own = self.slower * setting.strategy.seconds(
            setting.card, spec.labels or (100, 80)[spec.phase == "search"], 2, 0
        )
        if setting.strategy.name not in self.kinds:
            self.kinds.add(setting.strategy.name)
            own += self.imports
        computed, prepared = 0, 0.0
        if setting.side == "transfer":
            if setting.card.name not in {name for name, _ in self.done}:
                prepared = self.preparing
            for part, count in (("view", 100), *((("sealed", 400),) if spec.phase != "search" else ())):
                if (setting.card.name, part) not in self.done:
                    self.done.add((setting.card.name, part))
                    computed += count
        own += STORED * computed
        wall = own + computed * self.an_input + prepared
        number = 20 if spec.phase == "search" else 400
        y = np.arange(number) % 2
        return Result(
            spec,
            setting.side,
            "ok",
            np.zeros((number, 2), np.float32),
            y if spec.phase == "search" else None,
            wall=wall,
            computed=computed,
            compute_seconds=computed * self.an_input,
            prepare_seconds=prepared,
        )


def play(machine, known, budget=300.0):
    """A run of the plan on a machine: the results with their predictions, and the plan."""
    plan = Plan(["test"], SETTINGS, **SIZES, known=known)
    by_key = {setting.key: setting for setting in SETTINGS}
    results, scores = [], {}
    while asked := plan.ask(results, scores, budget - sum(r.wall for r in results), closed=closed(results)):
        spec, predicted = asked
        done = machine.run(by_key[spec.setting], spec)
        results.append(Result(**{**vars(done), "predicted": predicted}))
        if spec.validates:
            scores[spec.key] = 0.5 + int(spec.key, 16) % 100 / 1000
    return plan, results


def closed(results):
    return any(not r.spec.validates for r in results)


def far(results):
    return [(r.spec.strategy, r.spec.seed) for r in results if not within(r.wall / r.predicted)]


def test_a_second_run_begins_with_what_the_first_measured():
    plan, first = play(Machine(), Known())
    assert len(far(first)) >= 3, "four times slower than usual, and nobody knew"
    measured = plan.seconds(first).measured()
    _, second = play(Machine(), Known(measured))
    assert far(second) == []
    assert accuracy(second)["within"] == 1.0
    # The first trial of all: imports, network, features of a hundred examples, and the fit.
    truth = 1.5 + 2.5 + 100 * (0.05 + STORED) + 4 * 0.002 * 80
    predicted = next(r.predicted for r in second if r.spec.strategy == "probing")
    assert predicted == pytest.approx(truth, rel=0.02)


def test_within_a_run_only_firsts_are_far_off():
    _, results = play(Machine(slower=1.0, imports=0.0, preparing=PREPARING + FIRST), Known())
    assert all(seed == 0 for _, seed in far(results))
    later = [r for r in results if r.spec.seed > 0 or not r.spec.validates]
    assert all(within(r.wall / r.predicted) for r in later)


def test_the_plan_is_the_same_whatever_was_learned_after_the_run_began():
    """A resumed run asks with what its ledger says was known, and gets the same answers."""
    plan, results = play(Machine(), Known({"probing bundled": 4.0}))
    again = Plan(["test"], SETTINGS, **SIZES, known=Known(**json.loads(json.dumps(plan.known.to_json()))))
    scores = {r.spec.key: 0.5 + int(r.spec.key, 16) % 100 / 1000 for r in results if r.spec.validates}
    for n in (0, 3, 9, len(results) - 1):
        spec, predicted = again.ask(
            results[:n], scores, 300.0 - sum(r.wall for r in results[:n]), closed=closed(results[:n])
        )
        assert (spec, predicted) == (results[n].spec, results[n].predicted)


def test_where_trials_are_counted_nothing_measured_is_looked_at():
    known = Known({"probing bundled": 50.0, "pass bundled:one": 0.01})
    asked = [Plan(["test"], SETTINGS, **SIZES, trials=8).ask([], {}, float("inf"))]
    assert asked == [Plan(["test"], SETTINGS, **SIZES, trials=8, known=Known()).ask([], {}, float("inf"))]
    _, results = play(Machine(), known)
    counted = Plan(["test"], SETTINGS, **SIZES, trials=99)
    seconds = counted.seconds(results)
    assert seconds.own(SETTINGS[0], 80) == pytest.approx(0.16)


def seconds(results=(), known=None, **changes):
    from headstart.search.seconds import Sizes

    sizes = {"examples": 100, "fitted": 80, "training": 100, "sealed": 400, "classes": 2, **changes}
    return Seconds(results, SETTINGS, Sizes(**sizes), known=known or Known())


def searched(setting, seed=0, wall=1.0, **more):
    spec = setting.spec(more.pop("episode", "test"), "search", seed)
    y = np.arange(20) % 2
    return Result(spec, setting.side, "ok", np.zeros((20, 2), np.float32), y, wall=wall, **more)


def test_features_that_the_store_has_are_not_counted():
    one, per_input = SETTINGS[0], OPERATIONS / (USUAL * machine.cores()) + STORED
    own = 0.16 + ONCE
    assert seconds().search(one, "test") == pytest.approx(own + PREPARING + FIRST + 100 * per_input)
    compiled = Known(compiled=("bundled:one",))
    assert seconds(known=compiled).search(one, "test") == pytest.approx(own + PREPARED + FIRST + 100 * per_input)
    half = Known(held={"bundled:one": (0.5, 0.0)}, compiled=("bundled:one",))
    assert seconds(known=half).search(one, "test") == pytest.approx(own + PREPARED + FIRST + 50 * per_input)
    whole = Known(held={"bundled:one": (1.0, 1.0)})
    assert seconds(known=whole).search(one, "test") == pytest.approx(own)
    assert seconds(known=whole).sealed(one, "test") == 0.0


def test_each_draw_has_features_of_its_own_and_each_test_fold_is_in_other_views():
    one = SETTINGS[0]
    before = [searched(one, computed=100, compute_seconds=5.0, wall=5.2)]
    drawn = seconds(before, drawn=True, training=10)
    assert drawn._view(one, "another") == pytest.approx(10 * (0.05 + STORED))
    assert drawn._view(one, "test") == 0.0
    crossed = seconds(before, sealed=25)
    assert crossed._view(one, "another") == pytest.approx(25 * (0.05 + STORED))
    assert crossed.sealed(one, "another") == 0.0


def test_a_training_that_was_cut_short_is_only_a_lower_bound():
    net = SETTINGS[-1]
    cut = searched(net, wall=30.0, note=f"{CUT_SHORT} after 3 epochs")
    assert seconds([cut]).own(net, 80) == 30.0
    assert seconds([searched(net, wall=2.0, note=f"{CUT_SHORT} after 3 epochs")]).own(net, 80) == pytest.approx(8.0)


def test_what_a_trained_network_takes_to_predict_is_counted_and_remembered():
    net, other = SETTINGS[-2:]
    usual = net.card.flops / (USUAL * machine.cores())
    assert seconds()._trained(net, 400, "final") == pytest.approx(400 * EAGER * usual)
    slow = searched(net, wall=9.0, compute_seconds=1.0, predict_seconds=1.0)  # of 20 inputs
    assert seconds([slow])._trained(net, 400, "final") == pytest.approx(400 * 1.0 / 20)
    assert seconds([slow])._trained(other, 400, "final") == pytest.approx(400 * 1.0 / 20)
    assert seconds([slow])._trained(net, 20, "search") == 1.0
    known = Known(seconds([slow]).measured())
    assert seconds(known=known)._trained(net, 400, "final") == pytest.approx(400 * 1.0 / 20)


def test_how_far_off_predictions_were():
    def took(wall, predicted):
        return Result(
            Spec("test", "search", "scratch", "majority", {}), "baseline", "ok", wall=wall, predicted=predicted
        )

    found = accuracy([took(1.0, 1.0), took(2.0, 1.0), took(5.0, 1.0), took(0.2, 1.0), took(1.0, None)])
    assert (found["trials"], found["within"], found["ratio"]) == (4, 0.5, 1.5)
    assert [far["seconds"] for far in found["worst"]] == [5.0, 0.2]
    assert accuracy([took(1.0, None)]) is None


# -- what is kept between runs ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


class Nothing:
    """No inputs."""

    def digests(self):
        return []


def known():
    return history.known(SETTINGS, Nothing(), Nothing())


def test_what_was_learned_comes_back_as_the_median_of_the_last_runs():
    plan, results = play(Machine(), Known())
    for _ in range(3):
        history.learn([(plan, results)])
    found = known()
    assert found.rates["probing bundled"] == pytest.approx(4.0, rel=0.01)
    assert found.rates["once probing bundled"] == pytest.approx(1.5, rel=0.02)
    assert found.last == {key: accuracy(results)[key] for key in ("trials", "within", "ratio")}
    document = json.loads(history.path().read_text(encoding="utf-8"))
    (mine,) = document["machines"].values()
    assert {len(values) for values in mine["rates"].values()} == {3}
    for _ in range(4):
        history.learn([(plan, results)])
    (mine,) = json.loads(history.path().read_text(encoding="utf-8"))["machines"].values()
    assert {len(values) for values in mine["rates"].values()} == {history.KEPT}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 99}',
        '{"format": 1, "machines": {"HERE": {"rates": 3}}}',
        '{"format": 1, "machines": [1]}',
        '{"format": 1, "machines": {"HERE": {"rates": {}, "last": {"trials": 1, "within": NaN, "ratio": 1}}}}',
    ],
)
def test_a_file_that_is_damaged_is_as_good_as_none(text):
    history.path().parent.mkdir(parents=True, exist_ok=True)
    history.path().write_text(text.replace("HERE", history._machine("cpu")), encoding="utf-8")
    assert known() == Known()
    plan, results = play(Machine(), Known())
    history.learn([(plan, results)])
    assert known().rates


def test_a_cache_that_cannot_be_written_loses_nothing(monkeypatch):
    plan, results = play(Machine(), Known())

    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    history.learn([(plan, results)])
    assert known() == Known()


def test_another_machine_has_rates_of_its_own(monkeypatch):
    plan, results = play(Machine(), Known())
    history.learn([(plan, results)])
    monkeypatch.setattr(history, "_machine", lambda device: "another")
    assert known() == Known()
    history.learn([(plan, results)])
    assert len(json.loads(history.path().read_text(encoding="utf-8"))["machines"]) == 2


def _learn_in_a_process(number, ready):
    plan, results = play(Machine(slower=1.0 + number), Known())
    ready.wait()
    history.learn([(plan, results)])


def test_two_processes_that_end_together_both_have_their_say():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    workers = [context.Process(target=_learn_in_a_process, args=(n, ready)) for n in range(4)]
    for worker in workers:
        worker.start()
    ready.set()
    for worker in workers:
        worker.join(60)
    (mine,) = json.loads(history.path().read_text(encoding="utf-8"))["machines"].values()
    assert sorted(np.round(mine["rates"]["training scratch"])) == [1, 2, 3, 4]


def test_short_texts_make_the_passes_of_a_training_cheaper_and_not_its_steps():
    @dataclass(frozen=True)
    class Reading(Training):
        name: ClassVar[str] = "reading"

        def seconds(self, card, examples, classes, rate):
            return examples * (card.flops / 1e9 + 0.05)

    setting = Setting(card("scratch:texts", 1e8), Reading(), 0)
    sizes = Sizes(100, 100, 100, 400, 2)
    usual = USUAL_OF_TEXTS * machine.cores()
    expected = [Seconds((), [setting], sizes, rate=usual / longer).own(setting, 100) for longer in (1.0, 0.25)]
    assert expected == pytest.approx([100 * (0.1 + 0.05), 100 * (0.025 + 0.05)])

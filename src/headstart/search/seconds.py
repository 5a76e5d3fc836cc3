"""How long a trial will take: from what this run measured, else from what this machine was seen to do, else from cards.

The wall seconds of a trial are those of four things, and each is learned by itself:

- *frozen passes* over inputs whose features nobody has computed yet, at the pass's own seconds for an input;
- *preparing* a network that was not used before: loading it, and converting it once for each machine;
- what the strategy does itself: as its own estimate says, times how far that was off for the same setting, for the
  same hyper-parameters on another source, or for the strategy;
- *once*: imports and the like in the first trial of a strategy, which say nothing of how the next will do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, median_low
from typing import Any

from headstart import machine
from headstart.search.setting import Setting
from headstart.trial import CUT_SHORT, Result

USUAL = 4e10  # operations per second and core, before anything was measured
USUAL_OF_TEXTS = 8e10  # the dense layers of encoders run twice as fast as depthwise ones
PREPARING = 4.0  # seconds to load a network and compile it
PREPARED = 0.3  # the same where it was compiled before
FIRST = 4.0  # more for the first network of a run: the libraries that load and compile it
ONCE = 0.03  # seconds of imports in the first trial of a strategy
MOST_ONCE = 3.0  # likewise, where a first trial took longer than expected and nobody knows why
NAMING = 5.0  # seconds for the names of the thousand classes that networks of pictures know, which are kept
STORED = 3e-4  # seconds to keep the features of one input
SHORTEST = 1e-3  # seconds; what is measured below is the clock
EAGER = 2.0  # times slower a network predicts that was trained here and is not compiled
RECALLED = 2e-5  # seconds to read the features of one input from the store
STATES = ("new", "compiled")  # of a network on this machine
WORST = 3  # trials that are named, of those that were predicted badly
ENOUGH = 16  # inputs in a pass that say how fast it is


@dataclass(frozen=True)
class Sizes:
    """How many there are of what a trial's seconds depend on.

    Args:
        examples: labelled, in the view: what a first search trial needs features of.
        fitted: of those, what a search trial trains on; it predicts the others.
        training: of those, what a final trial trains on.
        sealed: inputs that a final trial predicts.
        classes: number of classes.
        drawn: whether the episodes are few-shot draws, whose labels and sealed inputs are their own.
        intermediate: inputs of domains between a source domain and the target.
    """

    examples: int
    fitted: int
    training: int
    sealed: int
    classes: int
    drawn: bool = False
    intermediate: int = 0

    def learned(self, result: Result) -> int:
        """Examples that a trial was trained on."""
        return result.spec.labels or (self.fitted if result.spec.validates else self.training)


@dataclass(frozen=True)
class Known:
    """What was known of this machine before the run; see :mod:`headstart.search.history`.

    Args:
        rates: what was measured in earlier runs, by the names that :func:`measured` gives.
        held: source -> share of the inputs whose features the store has: of the view, and of the sealed inputs.
        compiled: sources whose networks were converted before.
        last: how far off the predictions of the run before were, as :func:`accuracy` says; None: there was none.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, Sequence[float]] = field(default_factory=dict)
    compiled: Sequence[str] = ()
    last: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `Known(**document)` gives it back."""
        return {
            "rates": dict(self.rates),
            "held": {name: list(shares) for name, shares in self.held.items()},
            "compiled": list(self.compiled),
            "last": None if self.last is None else dict(self.last),
        }

    def state(self, source: str) -> str:
        """Whether its network must be converted first, in a word."""
        return STATES[source in self.compiled]


NOTHING = Known()


class Seconds:
    """What a trial of a setting will take, after some results.

    Args:
        results: of this episode, or of these draws, in the order they came.
        settings: by which the results are understood.
        sizes: of this episode.
        rate: operations per second to count with before any were measured; None: those of a picture network.
        known: of this machine.
        others: results of other episodes of the run, which share features and imports.
        timed: whether to look at what results took; else only at what was done.
    """

    def __init__(
        self,
        results: Sequence[Result],
        settings: Sequence[Setting],
        sizes: Sizes,
        rate: float | None = None,
        known: Known = NOTHING,
        others: Sequence[Result] = (),
        timed: bool = True,
    ) -> None:
        self.sizes, self.known, self._timed = sizes, known, timed
        self._settings = {setting.key: setting for setting in settings}
        # Before anything was measured: what a laptop core does in a compiled depthwise network, decoding included.
        self.usual = rate or USUAL * machine.cores()
        self.longer = 1.0 if rate is None else USUAL_OF_TEXTS * machine.cores() / rate  # texts than cards count with
        self._viewed: dict[str, set[str]] = defaultdict(set)  # pass -> episodes whose views went through it
        self._sealed: dict[str, set[str]] = defaultdict(set)
        self._between: set[str] = set()  # passes that intermediate domains went through
        self._spent: dict[str, list[float]] = {}  # pass -> seconds, inputs, operations
        self.prepared: dict[str, float] = {}  # source -> seconds it took
        self._own: dict[str, list[tuple[Result, bool]]] = defaultdict(list)  # setting -> with whether it was a first
        self._ratios: dict[str, list[float]] = defaultdict(list)
        # How much slower than a frozen network a trained one predicts, by the kind of strategy.
        self._answers: dict[str, list[float]] = defaultdict(list)
        self.strategies: set[str] = set()
        self._first: dict[str, Result] = {}
        self._trained_before = False
        for result in (*others, *results):
            if (setting := self._settings.get(result.spec.setting)) is not None:
                self._take(result, setting)
        self.rate = self._overall()

    # -- what was measured ----------------------------------------------------------------------------------------

    def _take(self, result: Result, setting: Setting) -> None:
        # What was a first, or had features to compute and to keep, says little of the next trial of its kind.
        first = setting.strategy.name not in self.strategies or result.computed > 0
        self.strategies.add(setting.strategy.name)
        self._trained_before |= trains(setting)
        self._first.setdefault(setting.strategy.name, result)
        passes = setting.passes
        new = [name for name in passes if result.spec.episode not in self._viewed[name]]
        parts = [part.name for part in setting.card.parts or (setting.card,)]
        if passes and (fresh := [name for name in parts if name not in self.prepared]):
            self.prepared |= dict.fromkeys(fresh, result.prepare_seconds / len(fresh))
        for name in passes:
            self._viewed[name].add(result.spec.episode)
            if not result.spec.validates:
                self._sealed[name].add(result.spec.episode)
            if setting.strategy.needs.intermediate:
                self._between.add(name)
        if result.status != "ok" or not self._timed:
            return
        paid = new if new else list(passes)
        if len(paid) == 1 and result.computed >= ENOUGH and result.compute_seconds > 0:
            spent = self._spent.setdefault(paid[0], [0.0, 0.0, passes[paid[0]]])
            spent[0] += result.compute_seconds
            spent[1] += result.computed
        self._own[setting.key].append((result, first))
        if trains(setting) and setting.card.flops and result.log_probabilities is not None:
            each = result.predict_seconds / len(result.log_probabilities)
            self._answers[f"answer {setting.kinds[-1]}"].append(each * self.usual / setting.card.flops)
        if not first and not cut_short(result):
            ratio = max(SHORTEST, result.own_seconds) / self._expected(setting, self.sizes.learned(result))
            for name in setting.kinds:
                self._ratios[name].append(ratio)

    def _overall(self) -> float:
        """Operations per second in all passes of networks so far; as usual where there were none."""
        spent = [each for name, each in self._spent.items() if not name.startswith("scratch")]
        seconds = sum(each[0] for each in spent)
        return sum(each[1] * each[2] for each in spent) / seconds if seconds > 0 else self.usual

    def _expected(self, setting: Setting, examples: int) -> float:
        """What the strategy itself says."""
        card = setting.card
        if self.longer != 1.0 and trains(setting):
            # Longer texts are more operations; steps of an optimiser and what a trial begins with stay as they are.
            card = replace(card, flops=self.longer * card.flops)
        return max(SHORTEST, setting.strategy.seconds(card, examples, self.sizes.classes, self.usual))

    # -- what follows ---------------------------------------------------------------------------------------------

    def search(self, setting: Setting, episode: str, labels: int | None = None) -> float:
        """Wall seconds of one search trial on `labels` (None: on all), with the features it is the first to need."""
        own = self.own(setting, self.sizes.fitted if labels is None else labels) + self._once(setting)
        held = self.sizes.examples - self.sizes.fitted
        return own + self._view(setting, episode) + (self._trained(setting, held, True) if trains(setting) else 0.0)

    def whole(self, setting: Setting) -> float:
        """Wall seconds of a search trial that finds no features, by what is known before a run."""
        operations = sum(setting.passes.values())
        return self._expected(setting, self.sizes.fitted) + self.sizes.examples * operations / self.usual

    def final(self, setting: Setting, episode: str, labels: int | None = None) -> float:
        """Wall seconds of a trial that predicts the sealed inputs, trained on `labels` (None: on all)."""
        trained = self.own(setting, self.sizes.training if labels is None else labels, sealed=True)
        return trained + self._view(setting, episode) + self.sealed(setting, episode) + self._once(setting)

    def own(self, setting: Setting, examples: int, *, sealed: bool = False) -> float:
        """Seconds without features: as it took before, else as its strategy predicts, corrected by what is known."""
        expected, factor = self._expected(setting, examples), self.factor(setting)
        found = [(result, first) for result, first in self._own[setting.key] if not cut_short(result)]
        recalled = RECALLED * self.sizes.sealed * len(setting.passes) if sealed else 0.0
        if not found:
            at_least = max((result.own_seconds for result, _ in self._own[setting.key]), default=0.0)
            return max(expected * factor, at_least) + recalled
        if seasoned := [result for result, first in found if not first]:
            return self._scaled(seasoned, expected, setting, examples, recalled)
        (result, _) = found[0]
        before = self._expected(setting, self.sizes.learned(result))
        took = max(SHORTEST, result.own_seconds)
        once = self.known.rates.get(self._once_name(setting), MOST_ONCE)
        took = max(took - once, min(took, before * factor))
        return took * expected / before + recalled

    def _scaled(
        self, seasoned: Sequence[Result], expected: float, setting: Setting, examples: int, recalled: float
    ) -> float:
        """From the trials of the same setting that are most like it."""

        def far(result: Result) -> tuple[bool, float]:
            unlike = result.spec.validates == (recalled > 0)
            return unlike, abs(math.log(self.sizes.learned(result) / examples))

        nearest = min(map(far, seasoned))
        like = [result for result in seasoned if far(result) == nearest]
        before = self._expected(setting, self.sizes.learned(like[0]))
        took = median_low([max(SHORTEST, result.own_seconds) for result in like])
        # What a trial takes whatever it learns from does not grow with the examples.
        grown = took + (expected - before) * self.factor(setting)
        least, most = sorted((took, took * expected / before))
        return min(most, max(least, grown)) + (recalled if nearest[0] else 0.0)

    def factor(self, setting: Setting) -> float:
        """Actual over expected seconds of what is most like a setting: in this run, else on this machine before."""
        for name in setting.kinds:
            if name in self._ratios:
                return median(self._ratios[name])
            if name in self.known.rates:
                return self.known.rates[name]
        return 1.0

    def _once_name(self, setting: Setting) -> str:
        """Under which it is remembered how much longer a first trial takes; some load a network beside the source's."""
        helper = getattr(setting.strategy, "encoder", None)
        return f"once {setting.kinds[-1]}" + (f" {self.known.state(helper)}" if helper else "")

    def _once(self, setting: Setting) -> float:
        if setting.strategy.name in self.strategies:
            return 0.0
        helper = getattr(setting.strategy, "encoder", None)
        usual = ONCE if setting.passes or self._expected(setting, self.sizes.fitted) > ONCE / 2 else 0.0
        if trains(setting) and not self.prepared and not self._trained_before:
            usual += FIRST
        if helper and setting.card.modality == "image" and not setting.card.reads:
            usual += NAMING + (PREPARED if helper in self.known.compiled else PREPARING)
        return self.known.rates.get(self._once_name(setting), usual)

    def _view(self, setting: Setting, episode: str) -> float:
        """Seconds for the features of labelled examples and of domains between, and for the networks that compute them.

        Labelled are the source's where there are two domains.
        """
        between = self.sizes.intermediate if setting.strategy.needs.intermediate else 0
        return sum(
            self._pass(name, ops, self._unseen(name, episode) + (0 if name in self._between else between))
            for name, ops in setting.passes.items()
        )

    def sealed(self, setting: Setting, episode: str) -> float:
        """Seconds to predict the sealed inputs, without what the store has."""
        if setting.passes and not trains(setting):
            return sum(self._pass(name, ops, self._unsealed(name, episode)) for name, ops in setting.passes.items())
        return self._trained(setting, self.sizes.sealed, False)

    def _trained(self, setting: Setting, inputs: int, validates: bool) -> float:
        """Seconds to predict inputs with what was trained, of which the store has nothing."""
        found = [result for result, _ in self._own[setting.key]]
        if same := [r.compute_seconds for r in found if r.spec.validates == validates]:
            return min(same)
        each = [r.predict_seconds / len(r.log_probabilities) for r in found if r.log_probabilities is not None]
        if each:
            return inputs * median(each)
        name = f"answer {setting.kinds[-1]}"
        factor = median(self._answers[name]) if name in self._answers else self.known.rates.get(name, EAGER)
        return inputs * factor * setting.card.flops / self.usual

    def _unseen(self, name: str, episode: str) -> float:
        """Labelled examples that a pass has not computed."""
        seen, sizes = self._viewed[name], self.sizes
        if episode in seen:
            return 0.0
        if not seen:
            return sizes.examples * (1 - self._held(name)[0])
        if sizes.drawn:
            return sizes.training
        # Cross-fitting: a fold's test examples are in the other folds' views.
        return sizes.sealed if len(seen) == 1 and not self._sealed[name] else 0.0

    def _unsealed(self, name: str, episode: str) -> float:
        """Sealed inputs that a pass has not computed."""
        if episode in self._sealed[name] or (not self.sizes.drawn and self._viewed[name] - {episode}):
            return 0.0
        return self.sizes.sealed * (1 - self._held(name)[1])

    def _held(self, name: str) -> Sequence[float]:
        return self.known.held.get(name, (0.0, 0.0))

    def _pass(self, name: str, operations: float, inputs: float) -> float:
        """Seconds of a frozen pass over some inputs, with those for what it has to load first."""
        if inputs <= 0:
            return 0.0
        source = name.partition(" ")[0]
        prepare = 0.0
        if source not in self.prepared and not name.startswith("scratch"):
            compiled = source in self.known.compiled
            usual = (PREPARED if compiled else PREPARING) + (0.0 if self.prepared else FIRST)
            prepare = self.known.rates.get(f"prepare {source} {self.known.state(source)}", usual)
        if name in self._spent:
            seconds, count, _ = self._spent[name]
            return prepare + inputs * (STORED + seconds / count)
        return prepare + inputs * (STORED + operations / self._speed(name))

    def _speed(self, name: str) -> float:
        """Operations per second in a pass: as measured, else as it was on this machine, else as others are."""
        if name in self._spent:
            seconds, count, operations = self._spent[name]
            return count * operations / seconds
        known = self.known.rates
        if f"pass {name}" not in known:
            return self.usual if name.startswith("scratch") else self.rate
        # How this run's inputs, such as large photos, do beside those of earlier runs.
        both = [
            self._speed(other) / self.usual / known[f"pass {other}"]
            for other in self._spent
            if f"pass {other}" in known and not other.startswith("scratch")
        ]
        return self.usual * known[f"pass {name}"] * (median(both) if both else 1.0)

    def measured(self) -> dict[str, float]:
        """What the results say of this machine, by names under which :class:`Known` gives it to a later run."""
        found = {name: median(ratios) for name, ratios in self._ratios.items()}
        found |= {name: max(SHORTEST, median(factors)) for name, factors in self._answers.items()}
        found |= {f"pass {name}": self._speed(name) / self.usual for name in self._spent}
        for source, seconds in self.prepared.items():
            if seconds > 0:
                found[f"prepare {source} {self.known.state(source)}"] = seconds
        return found | self._firsts()

    def _firsts(self) -> dict[str, float]:
        """What the first trial of each strategy took longer than others of its hyper-parameters did."""
        found: dict[str, float] = {}
        for key, results in self._own.items():
            setting = self._settings[key]
            for result, _ in results:
                name = self._once_name(setting)
                if name not in found and not cut_short(result) and result is self._first[setting.strategy.name]:
                    usual = self._expected(setting, self.sizes.learned(result)) * self.factor(setting)
                    found[name] = max(SHORTEST, result.own_seconds - usual - STORED * result.computed)
        return found


def trains(setting: Setting) -> bool:
    """Whether it trains a network, so that its predictions are no frozen features."""
    return setting.strategy.needs.gradients


def cut_short(result: Result) -> bool:
    """Whether its training was ended by the budget, so that its seconds are no more than a lower bound."""
    return result.note.startswith(CUT_SHORT)


def accuracy(results: Sequence[Result]) -> dict[str, Any] | None:
    """How far off the predictions of a run were; None where nothing was predicted.

    Returns:
        `trials`; `within`, the share of them that took between half and twice what was predicted; `ratio`, the median
        of actual over predicted seconds; `worst`, those furthest off.
    """
    told = [(r, max(SHORTEST, r.wall) / max(SHORTEST, r.predicted)) for r in results if r.predicted is not None]
    if not told:
        return None
    far = sorted(((r, ratio) for r, ratio in told if not within(ratio)), key=lambda each: -abs(math.log(each[1])))
    return {
        "trials": len(told),
        "within": sum(within(ratio) for _, ratio in told) / len(told),
        "ratio": median(ratio for _, ratio in told),
        "worst": [
            {
                "source": r.spec.source,
                "strategy": r.spec.strategy,
                "phase": r.spec.phase,
                "predicted": r.predicted,
                "seconds": r.wall,
            }
            for r, _ in far[:WORST]
        ],
    }


def within(ratio: float) -> bool:
    """Whether seconds were predicted within a factor of two."""
    return 0.5 <= ratio <= 2.0

"""A rehearsal: a run's loop and plan, in which trials take what is predicted and nobody learns a score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from headstart.budget import format_seconds
from headstart.search.begin import begin
from headstart.search.ledger import Ledger
from headstart.search.listener import Listener
from headstart.search.options import Options
from headstart.search.plan import SIDES, Plan
from headstart.search.run import Runner
from headstart.strategy import Side
from headstart.target.target import Episode, Target
from headstart.trial import Result, Spec

LONG = 10.0  # seconds at which an imagined score is a half
Stage = Literal["explore", "confirm", "final", "label curve"]


@dataclass(frozen=True)
class Step:
    """One trial of a rehearsal.

    Args:
        stage: `explore`: on the first fold, with all labels or a quarter of them; `confirm`: on the others; `final`: on
            all labels; `label curve`: on fewer.
        spec: the trial.
        side: transfer or baseline.
        seconds: that it is predicted to take.
        after: seconds since the start of the run.
    """

    stage: Stage
    spec: Spec
    side: Side
    seconds: float
    after: float


@dataclass(frozen=True)
class Unfit:
    """A pair of source and strategy that a run would not try, and why."""

    source: str
    strategy: str
    side: Side
    seconds: float
    why: str


@dataclass(frozen=True)
class Rehearsal:
    """What a run would do.

    Args:
        budget: as the user reads it.
        steps: in order.
        unfit: what it would not try.
        leaders: the finalists that are assumed, by side.
        measured: whether this machine was measured by earlier runs; else all seconds are a usual machine's.
        last: how far off the predictions of the run before were: `trials`, `within` (the share of them that took
            between half and twice what was predicted), `ratio` (median of actual over predicted); None: there was none.
        limited: why not all examples would be used; "": they would.
    """

    budget: str
    steps: tuple[Step, ...]
    unfit: tuple[Unfit, ...]
    leaders: Mapping[Side, str]
    measured: bool
    last: Mapping[str, Any] | None
    limited: str = ""

    @property
    def seconds(self) -> float:
        """All trials together."""
        return sum(step.seconds for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        steps = [{**asdict(step), "spec": step.spec.to_json()} for step in self.steps]
        rest = {key: value for key, value in vars(self).items() if key not in ("steps", "unfit")}
        return {**rest, "seconds": self.seconds, "steps": steps, "unfit": [asdict(each) for each in self.unfit]}


def rehearse(target: Target, options: Options) -> Rehearsal:
    """What a run of `options` on `target` would do.

    Nothing is trained, no features are computed and nothing is written. Scores are not known yet: the route that takes
    longer is taken to be the better one, so that final trials are the dearest that the plan would agree to.
    """
    return _Rehearsing(target, options).rehearse()


class _Imagined(Ledger):
    """A ledger that is nowhere."""

    def __init__(self) -> None:
        self.path, self.events, self.results = Path("ledger.jsonl"), [], {}

    def write(self, event: str, **content: Any) -> None:
        """As in a file."""
        self._take(json.loads(json.dumps({"event": event, **content}, allow_nan=False)))


class _Rehearsing(Runner):
    """A run without a folder, whose clock is the sum of what was predicted."""

    def __init__(self, target: Target, options: Options) -> None:
        super().__init__(target, Path(), options, Listener())
        self.ledger = _Imagined()
        self.asked: list[Step] = []
        self.clock = 0.0

    def rehearse(self) -> Rehearsal:
        """From the first trial to the last."""
        begin(self.ledger, self.target, self.options, self.settings, self.overlaps)
        episodes = self._limited()
        self._search(episodes)
        together = self._together(episodes)[0]
        plan, known = self._plan(together), self._known()
        standings = plan.standings(*self._results(together))
        leaders = {side: plan.leader(standings, side) for side in SIDES}
        words = {side: s.spec("", "search", 0).words() for side, s in leaders.items() if s is not None}
        limit = self.ledger.first("limit")
        why = limit["why"] if limit is not None else ""
        budget = str(self.options.budget)
        return Rehearsal(
            budget, tuple(self.asked), self._unfit(plan, together), words, bool(known.rates), known.last, why
        )

    def _unfit(self, plan: Plan, together: Sequence[Episode]) -> tuple[Unfit, ...]:
        found = []
        for setting, seconds in plan.untried(*self._results(together)):
            why = "other trials come first"
            if self.options.budget.trials is None:
                finals = format_seconds(plan.reserved(setting))
                why = f"about {format_seconds(seconds)} for a trial, and {finals} should it come to final trials"
            found.append(Unfit(setting.card.name, setting.strategy.name, setting.side, seconds, why))
        return tuple(found)

    def _left(self) -> float:
        seconds = self.options.budget.seconds
        return float("inf") if seconds is None else seconds - self.clock

    def _plan(self, together: Sequence[Episode], *, rehearsed: bool = True) -> Plan:
        return super()._plan(together, rehearsed=rehearsed)

    def _results(self, together: Sequence[Episode]) -> tuple[list[Result], dict[str, float]]:
        results, _ = super()._results(together)
        # Scores are not known, so that they rise with what was spent; all folds of a setting agree.
        # What a quarter of the labels gives is taken to be what all of them do, so that settings on the rung go on.
        searched = [r for r in results if r.spec.validates]
        plan = self._plan(together)
        seconds, by_key = plan.seconds(()), {setting.key: setting for setting in self.settings}
        own = {key: seconds.own(by_key[key], plan.sizes.fitted) for key in {r.spec.setting for r in searched}}
        return results, {r.spec.key: s / (s + LONG) for r in searched for s in [own[r.spec.setting]]}

    def _execute(self, spec: Spec, episode: Episode, predicted: float | None, until: float = 0.0) -> None:
        seconds = predicted or 0.0
        setting = next(s for s in self.settings if s.key == spec.setting)
        plan = self._plan([episode])
        own = min(seconds, plan.seconds(()).own(setting, spec.labels or plan.sizes.fitted))
        stage: Stage = "final" if spec.phase == "final" else "label curve"
        if spec.validates:
            stage = "explore" if spec.seed == 0 else "confirm"
        self.asked.append(Step(stage, spec, setting.side, seconds, self.clock))
        self.clock += seconds
        # What is not the trial's own is features, which do not count as tuning.
        self.ledger.add(Result(spec, setting.side, "ok", wall=seconds, compute_seconds=seconds - own))

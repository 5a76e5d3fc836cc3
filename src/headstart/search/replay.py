"""Replaying a run: the trials of its spec, in their order, with their seeds, and the same judging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.errors import Problem, RunError
from headstart.judge.evidence import Evidence
from headstart.search.limit import limited
from headstart.search.listener import Listener
from headstart.search.run import Run, Runner
from headstart.search.spec import RunSpec
from headstart.target.target import Episode, Target

UNSTEADY = frozenset(
    (
        "seconds",
        "cpu_seconds",
        "memory_mb",
        "seconds_per_1000",
        "seconds_total",
        "cost",
        "predictions",
        "versions",
        "machine",
    )
)
"""Fields of the evidence that the clock and the machine decide."""


def replay(spec: RunSpec, target: Target, folder: Path, listener: Listener | None = None) -> Run:
    """Run the trials of a spec again.

    What is not as it was stands among the warnings of the evidence. The budget does not matter: every trial that is
    listed is run, and those that it had cut short end after as many steps.

    Args:
        spec: of the run.
        target: as :meth:`~headstart.search.spec.RunSpec.read` gives it.
        folder: the replay's own; resumed if it holds this replay.
        listener: hears what happens.

    Raises:
        InputError: the target is cut into other episodes than the trials are of; or a source or a strategy is gone.
    """
    return Replayer(spec, target, folder, listener or Listener()).run()


class Replayer(Runner):
    """A run whose trials are known beforehand; arguments as for :func:`replay`."""

    def __init__(self, spec: RunSpec, target: Target, folder: Path, listener: Listener) -> None:
        options = spec.options()
        options.check()
        there, wanted = [episode.name for episode in target.episodes], {trial.episode for trial in spec.trials}
        if missing := sorted(wanted - set(there)):
            raise RunError(
                Problem(
                    f"the run had trials in {', '.join(missing)}, and this target is cut into {', '.join(there)}",
                    f"a target that is split as the run's was ({spec.known.split})",
                    "headstart fit TARGET starts a new run",
                )
            )
        super().__init__(target, folder, options, listener)
        self.overlaps += [f"In this replay something is not as it was: {what}." for what in spec.differences(target)]
        self.spec = spec
        self.steps = {trial.spec().key: trial.steps for trial in spec.trials if trial.steps}

    def _left(self) -> float:
        return float("inf")

    def _limited(self) -> list[Episode]:
        """The same part of the target as then."""
        if self.spec.limit is None:
            return list(self.target.episodes)
        if self.ledger.first("limit") is None:
            self.ledger.write("limit", **self.spec.limit)
        self.listener.limited(self.spec.limit["why"])
        return limited(self.target, self.spec.limit, self.options.seed)

    def _search(self, episodes: Sequence[Episode]) -> None:
        by_name = {episode.name: episode for episode in episodes}
        for trial in self.spec.trials:
            if trial.spec().key not in self.ledger.results:
                self._execute(trial.spec(), by_name[trial.episode], None)
        self.partial = self.spec.ended.why if self.spec.ended.partial else ""

    def _unspent(self) -> tuple[str, list[dict[str, Any]]]:
        return self.spec.ended.enough, self.spec.ended.untried


def apart(before: Evidence, after: Evidence) -> list[str]:
    """The parts in which two pieces of evidence differ, leaving out what the clock and the machine decide."""
    one, two = (_steady(evidence.to_json()) for evidence in (before, after))
    return [key for key in one if one[key] != two[key]]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(part) for key, part in value.items() if key not in UNSTEADY}
    if isinstance(value, float):
        return round(value, 6)  # sums may come in another order
    return [_steady(part) for part in value] if isinstance(value, list) else value

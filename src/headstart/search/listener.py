"""A listener hears what happens during a run; the command line shows it."""

from __future__ import annotations

from headstart.trial import Result, Spec


class Listener:
    """Hears what happens during a run; every method does nothing until it is overridden."""

    def resumed(self, trials: int) -> None:
        """The run goes on from a ledger that holds `trials` results."""

    def limited(self, why: str) -> None:
        """The budget does not allow all examples."""

    def began(self, spec: Spec, predicted: float, left: float) -> None:
        """A trial begins, predicted to take `predicted` seconds; `left` seconds of budget are left."""

    def progress(self, words: str, done: int, total: int) -> None:
        """The trial under way has done `done` of `total` of something."""

    def ended(self, result: Result, score: tuple[float, float, float] | None, left: float) -> None:
        """A trial ended; `score` is its validation score with its interval, for search trials that succeeded."""

    def interrupted(self) -> None:
        """Ctrl-C: the run ends with what it has."""

    def judging(self) -> None:
        """The seals are opened."""

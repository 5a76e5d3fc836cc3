"""Planted runs without a report and without OpenVINO, so that one takes about a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.budget import Budget
from headstart.search import Listener, Options, run
from headstart.testing import Planted

# What differs between two runs of the same thing: the clock, the machine's memory, and what they are made of.
UNSTEADY = {"seconds", "cpu_seconds", "memory_mb", "seconds_per_1000", "seconds_total", "cost", "versions", "machine"}


def essence(value: Any) -> Any:
    """Evidence without what the clock and the machine decide."""
    if isinstance(value, dict):
        return {key: essence(part) for key, part in value.items() if key not in UNSTEADY}
    return [essence(part) for part in value] if isinstance(value, list) else value


def options(planted: Planted, trials: int = 8, **changes: Any) -> Options:
    return Options(
        **{"sources": (planted.source,), "strategies": ("probe",), "budget": Budget(trials=trials), **changes}
    )


class Heard(Listener):
    """Writes down what it hears, and calls `then` with each."""

    def __init__(self, then: Callable[[str, Any], None] = lambda event, what: None) -> None:
        self.events: list[tuple[str, Any]] = []
        self.then = then

    def _hear(self, event: str, what: Any) -> None:
        self.events.append((event, what))
        self.then(event, what)

    def resumed(self, trials: int) -> None:
        self._hear("resumed", trials)

    def began(self, spec: Any, predicted: float, left: float) -> None:
        self._hear("began", spec)

    def ended(self, result: Any, score: Any, left: float) -> None:
        self._hear("ended", result)

    def interrupted(self) -> None:
        self._hear("interrupted", None)

    def judging(self) -> None:
        self._hear("judging", None)

    def of(self, event: str) -> list[Any]:
        return [what for name, what in self.events if name == event]


@pytest.fixture(autouse=True)
def _without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Any]:
    """Runs a planted target in `tmp_path/run`, and gives the run."""

    def start(planted: Planted, *, listener: Listener | None = None, folder: str = "run", **changes: Any) -> Any:
        return run(planted.target(), tmp_path / folder, options(planted, **changes), listener)

    return start


def evidence(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def heard() -> type[Heard]:
    return Heard


@pytest.fixture(scope="session")
def options_of() -> Callable[..., Options]:
    return options


@pytest.fixture(scope="session")
def essential() -> Callable[[Path], Any]:
    """The evidence in a folder, without what the clock and the machine decide."""
    return lambda folder: essence(evidence(folder))

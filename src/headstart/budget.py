"""A budget: how long, or how many trials, a run may take."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from headstart.errors import OptionError, Problem

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*")


def parse_seconds(text: str) -> float:
    """Seconds from `30s`, `5m`, `1h`, `1h30m` or `90` (seconds).

    Raises:
        OptionError: the text is not a duration, or is zero.

    >>> parse_seconds("1h30m")
    5400.0
    """
    plain = text.strip().lower()
    try:
        seconds = float(plain)
    except ValueError:
        parts = _PATTERN.findall(plain)
        if not parts or _PATTERN.sub("", plain):
            raise OptionError(Problem(f"budget {text!r}", "a duration such as 30s, 5m or 1h", "--budget 2m")) from None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds < float("inf"):
        raise OptionError(Problem(f"budget {text!r}", "a duration longer than zero", "--budget 2m"))
    return seconds


def format_seconds(seconds: float) -> str:
    """A duration as a person reads it.

    >>> format_seconds(0.42), format_seconds(6.2), format_seconds(127), format_seconds(5400)
    ('0.4 s', '6.2 s', '2 min 7 s', '1 h 30 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass(frozen=True)
class Budget:
    """How much one run or one trial may spend.

    Args:
        seconds: wall seconds; None: no limit.
        trials: number of trials; None: no limit.
        steps: of the optimiser, in each training; None: no limit. What time once cut short is repeated by it.
    """

    seconds: float | None = None
    trials: int | None = None
    steps: int | None = None
    started: float = field(default_factory=time.monotonic, compare=False)

    def left(self) -> float:
        """Wall seconds left (infinity where there is no limit)."""
        return float("inf") if self.seconds is None else self.seconds - (time.monotonic() - self.started)

    def __str__(self) -> str:
        if self.trials is not None:
            return f"{self.trials} trials"
        return "no limit" if self.seconds is None else format_seconds(self.seconds)

"""Scales for the report's charts: where a value stands on a strip, in per cent of its width.

Charts are SVG whose positions are percentages and whose marks have fixed sizes, so that one chart fits a wide page,
paper and a phone, and its text never shrinks. This module does the arithmetic; the template draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.judge.evidence import CurveFit, LabelCurve

_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Axis:
    """A linear scale from `low` to `high` with round `ticks`; all three in the unit of the values (fractions)."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Iterable[float | None], *, zero: bool = False, within: tuple[float, float]) -> Axis:
        """The smallest scale with round ends that shows `values`.

        Args:
            values: what is to be shown; None and values that are not finite are passed over.
            zero: show zero as well.
            within: the scale never reaches beyond these, for example (0, 1) for scores.

        >>> Axis.over([0.66, 0.954], within=(0, 1)).ticks
        (0.6, 0.7, 0.8, 0.9, 1.0)
        >>> Axis.over([0.216, 0.366], zero=True, within=(-1, 1)).ticks
        (0.0, 0.1, 0.2, 0.3, 0.4)
        """
        known = [value for value in values if value is not None and math.isfinite(value)]
        if zero or not known:
            known.append(0.0)
        low, high = max(min(known), within[0]), min(max(known), within[1])
        step = next((step for step in _STEPS if high - low <= 5 * step), 0.5) if high > low else 0.05
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if first == last:  # one value alone: give it room on both sides
            first, last = first - 1, last + 1
        first = max(first, math.ceil(within[0] / step - 1e-9))
        last = min(last, math.floor(within[1] / step + 1e-9))
        ticks = tuple(round(k * step, 6) for k in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)

    @property
    def digits(self) -> int:
        """How many digits after the point the ticks need, in per cent."""
        return 0 if all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in self.ticks) else 1

    def at(self, value: float) -> float:
        """Where `value` stands, in per cent of the width; what lies outside stands at the end.

        >>> Axis(0.6, 1.0, (0.6, 1.0)).at(0.7)
        25.0
        """
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def width(self, low: float, high: float) -> float:
        """How wide the stretch from `low` to `high` is, in per cent of the width."""
        return round(self.at(high) - self.at(low), 2)


@dataclass(frozen=True)
class CurveDrawing:
    """The label curve as a picture: labels across on a logarithmic scale, scores upwards, in units of the view box."""

    curve: LabelCurve
    axis: Axis
    least: float
    most: float
    ticks: tuple[int, ...]

    WIDTH, HEIGHT = 520.0, 260.0

    @classmethod
    def over(cls, labels: Sequence[int], scores: Sequence[float], curve: LabelCurve) -> CurveDrawing:
        """A picture with room for `scores` at `labels`."""
        least, most = min(labels) / 1.1, max(labels) * 1.1
        ticks = tuple(dict.fromkeys(point.labels for point in curve.points))
        return cls(curve, Axis.over(scores, within=(0, 1)), least, most, tuple(sorted(ticks)))

    def x(self, labels: float) -> float:
        """How far to the right so many labels stand."""
        return round(self.WIDTH * math.log(labels / self.least) / math.log(self.most / self.least), 1)

    def y(self, score: float) -> float:
        """How far down a score stands; one outside the scale stands at its end."""
        return round(self.HEIGHT * (1 - self.axis.at(score) / 100), 1)

    def line(self, fit: CurveFit) -> str:
        """The fitted curve as the points of an SVG polyline."""
        return " ".join(f"{self.x(at.labels)},{self.y(at.score)}" for at in fit.line)

    def band(self, fit: CurveFit) -> str:
        """Its interval as the points of an SVG polygon."""
        around = [(at.labels, at.high) for at in fit.line] + [(at.labels, at.low) for at in reversed(fit.line)]
        return " ".join(f"{self.x(labels)},{self.y(score)}" for labels, score in around)

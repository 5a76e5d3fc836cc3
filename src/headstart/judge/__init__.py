"""judge: from sealed predictions to Evidence. Pure: no files, no clock, no torch."""

from headstart.judge.evidence import Evidence, Gain, Side, Verdict
from headstart.judge.verdict import Comparison, Round, compare, guard, guard_adapted

__all__ = ["Comparison", "Evidence", "Gain", "Round", "Side", "Verdict", "compare", "guard", "guard_adapted"]

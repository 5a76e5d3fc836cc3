"""Everything that can go wrong, as one tree.

::

    HeadstartError                    our bug unless a subclass says otherwise; exit code 1
    ├── InputError                    the user's input is wrong; exit code 2
    │   ├── TargetError               the data set cannot be read or cannot be judged
    │   ├── SourceError               the source is unknown, absent or offline
    │   │   └── WeightsError          the weights do not fit the architecture, key by key
    │   ├── OptionError               an option or argument is wrong
    │   └── RunError                  the run directory is missing, foreign or damaged
    ├── TrialError                    one trial failed; the run records it and goes on
    │   └── DivergedError             a loss or a gradient became NaN or infinite
    ├── SealError                     the sealed test set was opened twice or by a stranger
    └── PredictorError                a saved predictor does not come back identical

An :class:`InputError` carries every problem found, not only the first one, and each :class:`Problem` says what was
found, what was expected, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

_SHOWN = 20  # names in one message


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what was found, what was expected, the next thing to do."""

    found: str
    expected: str = ""
    next: str = ""

    def __str__(self) -> str:
        lines = [self.found]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.next:
            lines.append(f"next:     {self.next}")
        return "\n".join(lines)


class HeadstartError(Exception):
    """The root of the tree. `exit_code` is what the command line ends with."""

    exit_code = 1


class InputError(HeadstartError):
    """The user's input is wrong; `problems` holds everything that is wrong with it.

    Args:
        problems: one :class:`Problem`, or all of them.
    """

    exit_code = 2

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        parts = [f"{len(self.problems)} problems"]
        for number, problem in enumerate(self.problems, 1):
            first, *rest = str(problem).splitlines()
            parts.append(f"  {number}. {first}")
            parts.extend(f"     {line}" for line in rest)
        return "\n".join(parts)


class TargetError(InputError):
    """The data set cannot be read or cannot be judged."""


class SourceError(InputError):
    """The source is unknown, absent or offline."""


class WeightsError(SourceError):
    """The weights do not fit the architecture: a key is missing, left over or of another shape."""


class OptionError(InputError):
    """An option or argument is wrong."""


class RunError(InputError):
    """The run directory is missing, belongs to something else, or is damaged."""


class TrialError(HeadstartError):
    """One trial failed; the run records it and goes on with the others."""


class DivergedError(TrialError):
    """A loss or a gradient became NaN or infinite."""


class SealError(HeadstartError):
    """The sealed test set was opened twice for the same finalist, or by a stranger."""


class PredictorError(HeadstartError):
    """A saved predictor does not come back identical, or a predictor directory is damaged."""


def plural(number: int, one: str, many: str | None = None) -> str:
    """A number of things, thousands separated.

    >>> plural(1, "class", "classes"), plural(12, "class", "classes"), plural(1200, "seed")
    ('1 class', '12 classes', '1,200 seeds')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def unknown(what: str, name: str, known: Iterable[str], *, next: str = "") -> Problem:
    """A :class:`Problem` for a name nobody knows, with the likely spelling.

    >>> print(unknown("strategy", "prob", ["probe", "finetune"]))
    unknown strategy 'prob' (did you mean 'probe'?)
    expected: one of finetune, probe
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=_SHOWN)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    if len(names) > _SHOWN:  # timm knows more than a thousand
        expected = f"one of {len(names):,} names" + (f", such as {', '.join(close)}" if close else "")
    else:
        expected = f"one of {', '.join(names)}"
    return Problem(f"unknown {what} {name!r}{hint}", expected, next)

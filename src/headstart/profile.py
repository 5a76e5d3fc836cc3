"""Where the wall time of a run goes: phases, of which every second belongs to exactly one.

::

    with profile.opened() as spent:
        with profile.phase("forward"):
            ...
    spent.seconds  # {"forward": 1.2}

Any part of the code may name its phase. Where no profile is open, that does nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from types import TracebackType
from typing import Any

FORMAT = 1  # of to_json

PHASES = ("import", "read", "prepare", "decode", "forward", "store", "train", "judge", "save", "report")
"""The phases of a run, in the order in which they are told: *import* loads the program and its libraries, *read*
examines the target, *prepare* loads and compiles networks, *decode* waits for decoded inputs, *forward* runs networks
without training them, *store* keeps and recalls features, *train* fits heads and networks, *judge* opens the seals and
compares, *save* writes models, *report* writes the page. Other names are allowed; they are told after these."""

_OTHER = ""  # the name under which a clock counts what belongs to no phase
_START_FIELD = 19  # starttime in /proc/self/stat, counted from the field behind the name of the program


class _Clock:
    """One thread's seconds. At any moment it runs for one phase, the innermost, so that no second counts twice."""

    __slots__ = ("counts", "name", "seconds", "since")

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.name, self.since = _OTHER, time.perf_counter()

    def stopped(self, now: float) -> _Clock:
        """A copy that has counted until `now`, and counts no more."""
        copy = _Clock()
        copy.seconds.update(self.seconds)
        copy.counts.update(self.counts)
        copy.seconds[self.name] += now - self.since
        return copy


class Profile:
    """The seconds of one run, by phase. Made by :func:`opened`.

    Args:
        before: wall seconds that were spent before it was opened; they are counted as `import`.

    Attributes:
        trials: what was written down of each trial, plain JSON, in order.
    """

    def __init__(self, before: float = 0.0) -> None:
        self.trials: list[dict[str, Any]] = []
        self._local = threading.local()
        self._lock = threading.Lock()
        self._others: list[_Clock] = []
        self._own = self._local.clock = _Clock()
        self._began, self._ended = self._own.since - before, 0.0
        if before:
            self._own.seconds["import"] += before
            self._own.counts["import"] += 1

    def _clock(self) -> _Clock:
        """This thread's."""
        try:
            clock: _Clock = self._local.clock
        except AttributeError:
            clock = self._local.clock = _Clock()
            with self._lock:
                self._others.append(clock)
        return clock

    def _close(self) -> None:
        self._ended = time.perf_counter()
        self._own = self._own.stopped(self._ended)

    @property
    def total(self) -> float:
        """Wall seconds, from the beginning until it was closed, or until now."""
        return (self._ended or time.perf_counter()) - self._began

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds of each phase in the thread that opened the profile; with `other` they make up the total."""
        clock = self._own if self._ended else self._own.stopped(time.perf_counter())
        return {name: seconds for name, seconds in clock.seconds.items() if name != _OTHER}

    @property
    def other(self) -> float:
        """Wall seconds that belong to no phase."""
        return max(0.0, self.total - sum(self.seconds.values()))

    def parts(self) -> dict[str, float]:
        """The seconds of each phase in the order in which they are told, and `other` last: together the total."""
        seconds = self.seconds
        return {name: seconds[name] for name in told(seconds)} | {"other": self.other}

    @property
    def threads(self) -> dict[str, float]:
        """Busy seconds of each phase in all other threads together; they are beside the wall time, not part of it."""
        found: defaultdict[str, float] = defaultdict(float)
        for clock in self._beside():
            for name, seconds in list(clock.seconds.items()):
                found[name] += seconds
        found.pop(_OTHER, None)
        return dict(found)

    @property
    def counts(self) -> dict[str, int]:
        """How many things each phase has done, in all threads."""
        return _added([self._own, *self._beside()])

    def _beside(self) -> list[_Clock]:
        with self._lock:
            return list(self._others)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: format, total, phases with seconds and counts, seconds of other threads, trials."""
        total, seconds, threads = self.total, self.seconds, self.threads
        counts, beside = _added([self._own]), _added(self._beside())
        return {
            "format": FORMAT,
            "seconds": round(total, 6),
            "phases": {
                name: {"seconds": round(seconds[name], 6), "count": counts.get(name, 0)} for name in told(seconds)
            },
            "other": round(max(0.0, total - sum(seconds.values())), 6),
            "threads": {
                name: {"seconds": round(threads[name], 6), "count": beside.get(name, 0)} for name in told(threads)
            },
            "trials": self.trials,
        }


def _added(clocks: list[_Clock]) -> dict[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for clock in clocks:
        for name, count in list(clock.counts.items()):
            found[name] += count
    return dict(found)


class _Phase:
    """What :func:`phase` gives while a profile is open: it switches the clock of the thread that enters it."""

    __slots__ = ("_clock", "_count", "_name", "_outer", "_profile")

    def __init__(self, profile: Profile, name: str, count: int) -> None:
        self._profile, self._name, self._count = profile, name, count

    def __enter__(self) -> None:
        clock = self._clock = self._profile._clock()
        outer = self._outer = clock.name
        now = time.perf_counter()
        clock.seconds[outer] += now - clock.since
        clock.name, clock.since = self._name, now

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        clock, now = self._clock, time.perf_counter()
        clock.seconds[self._name] += now - clock.since
        clock.counts[self._name] += self._count
        clock.name, clock.since = self._outer, now


_NOTHING: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
_current: Profile | None = None


def phase(name: str, count: int = 1) -> contextlib.AbstractContextManager[None]:
    """Wall seconds inside belong to the phase `name`, except those of phases entered inside it.

    Costs about as much as two function calls. Leave a phase before you yield: what the caller does meanwhile would be
    counted to it.

    Args:
        name: one of :data:`PHASES`, or another.
        count: how many things are done inside, such as inputs.
    """
    return _NOTHING if _current is None else _Phase(_current, name, count)


def current() -> Profile | None:
    """The profile that is open, or None."""
    return _current


@contextlib.contextmanager
def opened(before: float = 0.0) -> Iterator[Profile]:
    """A profile of everything that happens inside, in this thread and, told apart, in all others.

    One profile is open at a time: one opened inside another takes its place until it is closed.

    Args:
        before: wall seconds that were already spent, such as :func:`process_seconds`; they are counted as `import`.
    """
    global _current
    outer, _current = _current, Profile(before)
    mine = _current
    try:
        yield mine
    finally:
        mine._close()
        _current = outer


def told(names: dict[str, float]) -> list[str]:
    """The names in the order in which phases are told.

    >>> told({"train": 1.0, "mine": 3.0, "decode": 2.0})
    ['decode', 'train', 'mine']
    """
    return [name for name in PHASES if name in names] + [name for name in names if name not in PHASES]


def process_seconds() -> float:
    """Wall seconds since this process was started: what the interpreter and the imports took so far.

    Where the system does not tell, the processor seconds of this process, which are nearly the same until now.
    """
    used = time.process_time()
    try:
        # psutil's creation time is off by up to a second on Linux, because it counts from whole seconds of boot time.
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as stream:
            ticks = int(stream.read().rpartition(")")[2].split()[_START_FIELD])
        if ticks <= 0:  # some sandboxes do not tell
            return used
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, IndexError, ValueError):  # not Linux
        import psutil

        return max(used, time.time() - float(psutil.Process().create_time()))

"""The ledger: the append-only file of everything that happened in a run. A run resumes from it."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from headstart import files
from headstart.errors import Problem, RunError
from headstart.trial import Result

NAME = "ledger.jsonl"
FORMAT = 1
BETWEEN = 1.0  # seconds from one result that is waited for until it is on disk to the next


class Ledger:
    """One JSON document per line: `run` first, then `history`, `precision`, `result`, `opened`, `limit`, `end` events.

    Every line is given to the system before the next thing happens, so that a kill can lose at most the line it was
    writing; such an incomplete last line is cut off when the ledger is opened again. It is on disk by then too, but for
    results that follow another within a second: they come from trials that took less, and take no longer again.

    Args:
        folder: the run's directory.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.events: list[dict[str, Any]] = []
        self.results: dict[str, Result] = {}
        self._synced = -BETWEEN
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole, _, rest = data.rpartition(b"\n")
        if rest:
            with self.path.open("r+b") as stream:
                stream.truncate(len(data) - len(rest))
                os.fsync(stream.fileno())
        for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    Problem(
                        f"{self.path} is damaged at line {number} ({type(error).__name__})",
                        "one JSON document per line",
                        "move the folder away, or give another one with --out",
                    )
                ) from error

    def _take(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["event"] == "result":
            result = Result.from_json(event["result"])
            self.results[result.spec.key] = result

    def write(self, event: str, **content: Any) -> None:
        """Append one event.

        Raises:
            RunError: the disk is full or the folder cannot be written. What was written before is safe.
        """
        document, now = {"event": event, **content}, time.monotonic()
        sync = event != "result" or now - self._synced >= BETWEEN
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            files.append_line(self.path, json.dumps(document, ensure_ascii=False, allow_nan=False), sync=sync)
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, size)
            reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
            raise RunError(
                Problem(
                    f"{self.path} cannot be written: {reason}",
                    "room for the ledger; everything before this trial is safe in it",
                    "make room and run the same command again: it resumes",
                )
            ) from error
        if sync:
            self._synced = now
        self._take(json.loads(json.dumps(document)))

    def add(self, result: Result) -> None:
        """Append a result."""
        self.write("result", result=result.to_json())

    def first(self, event: str) -> dict[str, Any] | None:
        """The first event of a kind."""
        return next((e for e in self.events if e["event"] == event), None)

    def all(self, event: str) -> list[dict[str, Any]]:
        """All events of a kind, in order."""
        return [e for e in self.events if e["event"] == event]

    def of(self, episode: str, phase: str) -> list[Result]:
        """The results of one phase of one episode, in the order they came."""
        return [r for r in self.results.values() if r.spec.episode == episode and r.spec.phase == phase]

    def seconds(self) -> float:
        """Wall seconds spent on all trials so far."""
        return sum(result.wall for result in self.results.values())

"""A run's directory: what it is called, what may lie in it, and who holds it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from headstart.errors import Problem, RunError
from headstart.search.ledger import NAME as LEDGER

EVIDENCE = "evidence.json"
SHOWN = 5  # names in a message about a folder that holds something else


def refuse_foreign(folder: Path) -> None:
    """Check that a run may be put into `folder`: it holds one, or nothing but hidden files, or does not exist.

    Raises:
        RunError: it holds something else, which a run might be mixed up with, or write over.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError:  # absent, or no folder, or not to be read: said when it is made
        return
    if names and LEDGER not in names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise RunError(
            Problem(
                f"{folder} is not empty and holds no run: {', '.join(names[:SHOWN])}{more}",
                f"a new or empty folder, or one with a run's {LEDGER}, to resume it",
                "--out with a new name, or move what is in the folder away",
            )
        )


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """The run's directory: made, writable, and held by this process alone."""
    refuse_foreign(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise RunError(
            Problem(
                f"{folder} cannot be written: {error.strerror or error}", "a folder you may write to", "--out FOLDER"
            )
        ) from error
    try:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no such locks on Windows
            pass
        except OSError as error:
            raise RunError(
                Problem(f"{folder} is in use by another process", "one run at a time", "--out with another folder")
            ) from error
        yield
    finally:
        lock.close()
        with contextlib.suppress(OSError):
            os.unlink(folder / ".lock")

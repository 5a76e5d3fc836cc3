"""One SQLite file of the cache. Whatever is wrong with it is said and put aside, never an error of the run."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

log = logging.getLogger("headstart")

BATCH = 500
"""Keys asked for in one statement: below the limit of every SQLite on variables."""

WAIT = 60.0
"""Seconds to wait for another process to finish writing."""

PAUSE = 0.01
"""Seconds between two tries where SQLite does not wait by itself."""

_SAID: set[Path] = set()  # folders about which the user was told


class Database:
    """A file of tables that can be lost at any time.

    A connection is opened for each use: cheap beside what it saves, and safe after a fork and in any thread.

    Args:
        path: the file.
        version: of the tables; a file with another one is put aside.
        schema: the statements that make the tables.
        fresh: called when the tables are made, inside the transaction: whatever else the file described is lost.
    """

    def __init__(self, path: Path, version: int, schema: str, fresh: Callable[[], None] = lambda: None) -> None:
        self.path, self.broken = path, False
        self._version, self._schema, self._fresh = version, schema, fresh
        self._opened: int | None = None  # inode of the file that was opened last

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """A connection that commits each statement, unless :func:`transaction` is used.

        Raises:
            sqlite3.Error: the file cannot be opened, or is damaged.
            OSError: its folder cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as connection:
            with suppress(OSError):
                self._opened = self.path.stat().st_ino
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found != self._version:
                self._create(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA cache_size=-65536")  # 64 MiB at most: a large batch is written once
            yield connection

    def _create(self, connection: sqlite3.Connection) -> None:
        until = time.monotonic() + WAIT
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite does not wait here for another process that is making the same file.
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(PAUSE)
        with transaction(connection):
            found = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been faster
            if found == self._version:
                return
            if found:
                raise sqlite3.DatabaseError(f"version {found} of its tables")
            for statement in filter(str.strip, self._schema.split(";")):
                connection.execute(statement)
            self._fresh()
            connection.execute(f"PRAGMA user_version={self._version}")

    def failed(self, error: Exception) -> None:
        """A use ended with `error`: go on without the file, or, where it is damaged, with a new one."""
        if isinstance(error, sqlite3.OperationalError | OSError) or not isinstance(error, sqlite3.Error):
            self._give_up(error)
        else:
            self._set_aside(error)

    def _give_up(self, error: Exception) -> None:
        """The disk is full or cannot be written: go on without keeping."""
        self.broken = True
        if self.path.parent not in _SAID:
            _SAID.add(self.path.parent)
            log.warning(
                "store: what is computed is not kept (%s: %s); set HEADSTART_CACHE to a folder with room",
                self.path.parent,
                error,
            )

    def _set_aside(self, error: Exception) -> None:
        """The file is damaged: keep it under another name for whoever wants to look, and start anew."""
        with suppress(OSError):
            if self.path.stat().st_ino != self._opened:
                return  # another process has put it aside already
        aside = self.path.with_name(f"{self.path.stem}.damaged-{os.getpid()}")
        log.warning("store: %s is damaged (%s); it is put aside as %s", self.path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            with suppress(OSError):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        try:
            os.replace(self.path, aside)
        except OSError:
            self.broken = True


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")

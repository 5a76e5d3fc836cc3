"""The feature store: vectors that were computed once are never computed again.

One SQLite file per *space* (source revision, preprocessing, stage, dtype, extractor version); inside it, one row per
example, addressed by the SHA-256 of the example's content. SQLite gives what is needed here: atomic under kill -9,
safe with several processes, one file however many examples. The store is a cache: whatever is wrong with it is said,
put aside and computed again, never an error of the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.files import cache_directory

log = logging.getLogger("headstart")

_SAID: set[Path] = set()  # folders about which the user was told
_BATCH = 500  # below SQLite's limit on variables in one statement


class Store:
    """Vectors of one space, on disk.

    Args:
        space: what the vectors depend on besides the example; any JSON value.
        width: D, the length of one vector.
        folder: where the file lives; default: the user's cache (`$HEADSTART_CACHE`).
    """

    def __init__(self, space: Any, width: int, folder: Path | None = None) -> None:
        self.space, self.width = space, width
        text = json.dumps(space, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.path = (folder or cache_directory() / "features") / f"{digest[:32]}.sqlite"
        self._description = text
        self._broken = False

    def get(self, keys: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
        """Vectors (N, D) float32; (N,) bool, which of them the store had; and the seconds those once took."""
        vectors = np.zeros((len(keys), self.width), dtype=np.float32)
        found = np.zeros(len(keys), dtype=bool)
        if not keys or not self.path.exists():
            return vectors, found, 0.0
        places: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            places.setdefault(key, []).append(position)
        distinct = list(places)
        damaged, cost = 0, 0.0
        try:
            with closing(self._connect()) as connection:
                for start in range(0, len(distinct), _BATCH):
                    part = distinct[start : start + _BATCH]
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(
                        f"SELECT key, crc, seconds, vector FROM features WHERE key IN ({marks})",  # noqa: S608 - marks only
                        [bytes.fromhex(key) for key in part],
                    )
                    for key, crc, seconds, vector in rows:
                        if len(vector) != 4 * self.width or zlib.crc32(vector) != crc:
                            damaged += 1
                            continue
                        at = places[key.hex()]
                        vectors[at] = np.frombuffer(vector, dtype="<f4")
                        found[at] = True
                        cost += seconds * len(at)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            return np.zeros_like(vectors), np.zeros_like(found), 0.0
        if damaged:
            log.warning("feature store: %d damaged vectors in %s will be computed again", damaged, self.path)
        return vectors, found, cost

    def put(self, keys: Iterable[str], vectors: NDArray[np.float32], seconds: float = 0.0) -> None:
        """Keep `vectors` (N, D) under `keys`, all of them or none; each took `seconds` to compute.

        A full disk is said once, and nothing is lost.
        """
        if self._broken:
            return
        rows = []
        for key, vector in zip(keys, vectors, strict=True):
            data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
            rows.append((bytes.fromhex(key), zlib.crc32(data), seconds, data))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows)
        except sqlite3.OperationalError as error:
            self._give_up(error)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
        except OSError as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS features"
                " (key BLOB PRIMARY KEY, crc INTEGER, seconds REAL, vector BLOB) WITHOUT ROWID"
            )
            connection.execute("CREATE TABLE IF NOT EXISTS space (description TEXT PRIMARY KEY)")
            connection.execute("INSERT OR IGNORE INTO space VALUES (?)", (self._description,))
            connection.commit()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _give_up(self, error: Exception) -> None:
        """The disk is full or cannot be written: go on without keeping."""
        self._broken = True
        if self.path.parent not in _SAID:
            _SAID.add(self.path.parent)
            log.warning("feature store: features are not kept (%s); set HEADSTART_CACHE to a folder with room", error)

    def _set_aside(self, error: Exception) -> None:
        """The file is damaged: keep it under another name for whoever wants to look, and start anew."""
        if isinstance(error, sqlite3.OperationalError):
            self._give_up(error)
            return
        aside = self.path.with_suffix(f".damaged-{os.getpid()}")
        log.warning("feature store: %s is damaged (%s); it is put aside as %s", self.path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        try:
            os.replace(self.path, aside)
        except OSError:
            self._broken = True

"""Arrays that were computed once are never computed again.

One index for everything (SQLite), and for each *space* (what the arrays depend on besides the example) a folder of
*shards*: files of raw rows, read through memory maps. A row is written and flushed to the disk before the index says
that it is there, so that a kill at any moment leaves at most rows that nobody refers to, and the next writer writes
over them. Writers take turns under SQLite's lock; readers need none.

A row's CRC-32 is checked when it is read. The store is a cache: whatever is wrong with it is said, forgotten and
computed again, never an error of the run. When it grows beyond its limit, the shards that were not used for the
longest time are removed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import mmap
import os
import re
import shutil
import sqlite3
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.files import cache_directory, sync_directory
from headstart.store.database import BATCH, Database, transaction
from headstart.store.size import limit

log = logging.getLogger("headstart")

SHARD_BYTES = 64 * 2**20
"""A shard takes rows up to this many bytes; a row that is larger gets a shard of its own."""

SPARED = 60.0
"""Seconds for which a shard that this process has used is not removed."""

NOTED = 60.0
"""The last use of a shard is written down at most so often, in seconds."""

DOWN_TO = 0.9
"""Once above its limit, the store shrinks to this share of it, so that not every write has to remove something."""

MAPPED_BYTES = 64 * 2**20
"""After reading this much through a view its pages are let go: they stay in the system's cache, not in our memory."""

DTYPES = {"float32": "<f4", "float16": "<f2", "uint8": "|u1"}
"""What arrays may be made of, and how they lie on the disk."""

LARGEST_HALF = 65504.0
"""The largest number in half precision."""

VERSION = 2
SCHEMA = """
CREATE TABLE spaces (id INTEGER PRIMARY KEY, digest TEXT UNIQUE, kind TEXT, description TEXT);
CREATE TABLE shards (id INTEGER PRIMARY KEY AUTOINCREMENT, space INTEGER, rows INTEGER, bytes INTEGER, used REAL);
CREATE TABLE entries (space INTEGER, key BLOB, shard INTEGER, row INTEGER, crc INTEGER, seconds REAL,
    PRIMARY KEY (space, key)) WITHOUT ROWID
"""

Bytes = NDArray[np.uint8]

_used: dict[tuple[str, int], float] = {}  # folder and shard -> when this process used it last


class Store:
    """Arrays of one space, on disk, by the content of the example that they belong to.

    Args:
        space: what the arrays depend on besides the example; any JSON value.
        shape: of one array.
        dtype: float32, float16 or uint8.
        kind: what the arrays are, for the list that users see.
        folder: the cache; default: the user's (`$HEADSTART_CACHE`).

    Raises:
        OptionError: `HEADSTART_CACHE_LIMIT` is no size.
    """

    def __init__(
        self,
        space: Any,
        shape: tuple[int, ...],
        *,
        dtype: str = "float32",
        kind: str = "features",
        folder: Path | None = None,
    ) -> None:
        self.space, self.shape, self.kind = space, tuple(shape), kind
        self.dtype = np.dtype(DTYPES[dtype])
        self._row_bytes = math.prod(self.shape) * self.dtype.itemsize
        if not self._row_bytes:
            raise ValueError(f"arrays of shape {self.shape} hold nothing to keep")
        self._limit = limit()
        self.root = root_of(folder)
        description = {"kind": kind, "shape": self.shape, "dtype": dtype, "space": space}
        self._description = json.dumps(description, sort_keys=True)
        self._digest = hashlib.sha256(self._description.encode()).hexdigest()[:32]
        self.folder = self.root / self._digest
        self._index = index_of(self.root)

    def get(self, keys: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.float64]]:
        """What the store has of `keys`.

        Args:
            keys: N digests of examples, in hexadecimal; repeats are allowed.

        Returns:
            Arrays (N, *shape), zeros where there is none; (N,) bool, which of them the store had; and (N,) float64, the
            seconds that each of those once took, 0 for others.
        """
        arrays = np.zeros((len(keys), *self.shape), dtype=self.dtype)
        found, nothing = np.zeros(len(keys), dtype=bool), np.zeros(len(keys))
        if not keys or not self._index.path.exists():
            return arrays, found, nothing
        raw = _bytes(arrays, self._row_bytes)
        try:
            with self._index.connect() as connection:
                places = self._find(connection, keys)
                bad = []
                for shard, at in places.by_shard():
                    rows = rows_of(self.folder, shard, self._row_bytes)
                    held = places.row[at] < len(rows)
                    bad.append(at[~held])
                    at = at[held]
                    copy = rows[places.row[at]]
                    raw[at] = copy
                    # The copy is checked: whatever happens to the file afterwards, this is what was kept.
                    whole = checksums(copy) == places.crc[at]
                    bad.append(at[~whole])
                    found[at[whole]] = True
                raw[places.shard < 0] = 0
                damaged = np.concatenate(bad) if bad else np.zeros(0, dtype=np.int64)
                raw[damaged] = 0
                self._note_use(connection, places)
                self._forget(connection, keys, places, damaged)
        except (sqlite3.Error, OSError) as error:
            self._index.failed(error)
            return np.zeros_like(arrays), np.zeros_like(found), nothing
        return arrays, found, np.where(found, places.seconds, 0.0)

    def has(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) bool: of which keys the index says that they are here. Nothing is read."""
        if not keys or not self._index.path.exists():
            return np.zeros(len(keys), dtype=bool)
        try:
            with self._index.connect() as connection:
                return self._find(connection, keys).shard >= 0
        except (sqlite3.Error, OSError) as error:
            self._index.failed(error)
            return np.zeros(len(keys), dtype=bool)

    def view(self, keys: Sequence[str]) -> Lazy:
        """The arrays of `keys` as a sequence that is read only where it is indexed.

        What a view shows stays readable even if it is removed from the store meanwhile.

        Raises:
            KeyError: the store lacks one of them; the message is the first such key.
        """
        places = _Places(len(keys))
        try:
            if self._index.path.exists():
                with self._index.connect() as connection:
                    places = self._find(connection, keys)
                    self._note_use(connection, places)
        except (sqlite3.Error, OSError) as error:
            self._index.failed(error)
        if (places.shard < 0).any():
            raise KeyError(keys[int(np.argmax(places.shard < 0))])
        return Lazy(self, keys, places)

    def put(self, keys: Iterable[str], arrays: NDArray[Any], seconds: float = 0.0) -> None:
        """Keep `arrays` (N, *shape) under `keys`, all of them or none; each took `seconds` to compute.

        A key that is here already keeps what it has: equal examples have equal arrays. A full disk is said once, and
        nothing is lost.
        """
        keys = list(keys)
        if self._index.broken or not keys:
            return
        if arrays.shape != (len(keys), *self.shape):
            raise ValueError(f"arrays of shape {arrays.shape} for {len(keys)} keys of shape {self.shape}")
        if self.dtype == np.float16:
            arrays = np.clip(arrays, -LARGEST_HALF, LARGEST_HALF)  # half precision would make it infinite
        raw = _bytes(np.ascontiguousarray(arrays, dtype=self.dtype), self._row_bytes)
        try:
            with self._index.connect() as connection:
                with transaction(connection):
                    self._append(connection, keys, raw, seconds)
                evict(connection, self.root, self._limit)
        except (sqlite3.Error, OSError) as error:
            self._index.failed(error)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _space(self, connection: sqlite3.Connection) -> int | None:
        row = connection.execute("SELECT id FROM spaces WHERE digest = ?", (self._digest,)).fetchone()
        return None if row is None else int(row[0])

    def _find(self, connection: sqlite3.Connection, keys: Sequence[str]) -> _Places:
        """Where the index says that each key is."""
        places = _Places(len(keys))
        space = self._space(connection)
        if space is None:
            return places
        at: dict[bytes, int] = {}
        again: list[tuple[int, int]] = []  # a position whose key was met before, and where
        for i, key in enumerate(keys):
            first = at.setdefault(bytes.fromhex(key), i)
            if first != i:
                again.append((i, first))
        distinct = sorted(at)  # in the order of the index, so that each page of it is read once
        for start in range(0, len(distinct), BATCH):
            part = distinct[start : start + BATCH]
            marks = ",".join("?" * len(part))
            rows = connection.execute(
                f"SELECT key, shard, row, crc, seconds FROM entries WHERE space = ? AND key IN ({marks})",  # noqa: S608
                (space, *part),
            ).fetchall()
            if rows:
                found, shard, row, crc, seconds = zip(*rows, strict=True)
                places.fill([at[key] for key in found], shard, row, crc, seconds)
        if again:
            to, first_at = np.array(again, dtype=np.int64).T
            places.repeat(to, first_at)
        return places

    def _append(self, connection: sqlite3.Connection, keys: list[str], raw: Bytes, seconds: float) -> None:
        """Write rows behind the last shard's, begin new shards where it is full, and enter all of them."""
        connection.execute(
            "INSERT OR IGNORE INTO spaces (digest, kind, description) VALUES (?, ?, ?)",
            (self._digest, self.kind, self._description),
        )
        space = self._space(connection)
        known = self._find(connection, keys).shard >= 0
        distinct = {bytes.fromhex(key): i for i, key in enumerate(keys) if not known[i]}
        order = [distinct[key] for key in sorted(distinct)]
        blobs = sorted(distinct)
        crcs = checksums(raw)
        self.folder.mkdir(parents=True, exist_ok=True)
        done, now = 0, time.time()
        fits = max(1, SHARD_BYTES // max(1, self._row_bytes))
        last = connection.execute(
            "SELECT id, rows FROM shards WHERE space = ? ORDER BY id DESC LIMIT 1", (space,)
        ).fetchone()
        while done < len(order):
            if last is None or last[1] >= fits or not (self.folder / f"{last[0]}.bin").exists():
                last = (self._next_shard(connection), 0)
                connection.execute("INSERT INTO shards VALUES (?, ?, 0, 0, ?)", (last[0], space, now))
            shard, rows = last
            chosen = order[done : done + fits - rows]
            _write(self.folder / f"{shard}.bin", rows * self._row_bytes, raw[chosen])
            connection.executemany(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                ((space, blobs[done + n], shard, rows + n, int(crcs[i]), seconds) for n, i in enumerate(chosen)),
            )
            connection.execute(
                "UPDATE shards SET rows = ?, bytes = ?, used = ? WHERE id = ?",
                (rows + len(chosen), (rows + len(chosen)) * self._row_bytes, now, shard),
            )
            _used[str(self.root), shard] = time.monotonic()
            done += len(chosen)
            last = (shard, rows + len(chosen))

    def _next_shard(self, connection: sqlite3.Connection) -> int:
        """A number that no shard has or had, nor any file that a lost index has left behind."""
        highest = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'shards'").fetchone()[0] or 0
        names = (name.partition(".")[0] for name in os.listdir(self.folder))
        return 1 + max([highest, *(int(name) for name in names if name.isdecimal())])

    def _note_use(self, connection: sqlite3.Connection, places: _Places) -> None:
        """Write down that these shards were used now, if the last time is long ago."""
        shards = [int(shard) for shard in np.unique(places.shard) if shard >= 0]
        moment = time.monotonic()
        for shard in shards:
            _used[str(self.root), shard] = moment
        now = time.time()
        with suppress(sqlite3.OperationalError):  # somebody else is writing, or nobody may
            old = "id IN (SELECT value FROM json_each(?)) AND used < ?"
            which = (json.dumps(shards), now - NOTED)
            if connection.execute(f"SELECT 1 FROM shards WHERE {old} LIMIT 1", which).fetchone():  # noqa: S608
                connection.execute(f"UPDATE shards SET used = ? WHERE {old}", (now, *which))  # noqa: S608

    def _forget(
        self, connection: sqlite3.Connection, keys: Sequence[str], places: _Places, damaged: NDArray[np.int64]
    ) -> None:
        """Drop entries that could not be read; say so, unless another process had removed them meanwhile."""
        if not len(damaged):
            return
        space = self._space(connection)
        gone = {(space, bytes.fromhex(keys[i]), int(places.shard[i]), int(places.row[i])) for i in damaged}
        with suppress(sqlite3.OperationalError):
            with transaction(connection):
                before = connection.total_changes
                connection.executemany(
                    "DELETE FROM entries WHERE space = ? AND key = ? AND shard = ? AND row = ?", sorted(gone)
                )
                count = connection.total_changes - before
                for shard in {shard for _, _, shard, _ in gone}:
                    if not (self.folder / f"{shard}.bin").exists():
                        drop_shards(connection, [shard])
            if count:
                log.warning("store: %d damaged arrays in %s will be computed again", count, self.folder)


class Lazy:
    """A sequence of arrays that stay on the disk: `lazy[rows]` reads those rows.

    Made by :meth:`Store.view`. Each row is checked the first time it is read.
    """

    def __init__(self, store: Store, keys: Sequence[str], places: _Places) -> None:
        self.shape: tuple[int, ...] = (len(keys), *store.shape)
        self.dtype = store.dtype
        self._store, self._keys, self._places = store, list(keys), places
        self._checked = np.zeros(len(keys), dtype=bool)
        self._read = 0
        # Opened now: a file that is removed later remains readable here.
        self._maps = {
            shard: _map(store.folder / f"{shard}.bin", int(places.row[at].max() + 1) * store._row_bytes)
            for shard, at in places.by_shard()
        }

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """The arrays at a position, a slice, or an array of positions or of booleans.

        Raises:
            KeyError: one of them is damaged; it is forgotten, so that it can be computed again.
        """
        index = np.arange(len(self))[rows]
        if index.ndim == 0:
            return np.asarray(self[index[None]][0])
        index = index.ravel()
        width = self._store._row_bytes
        arrays = np.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        raw = _bytes(arrays, width)
        for shard in np.unique(self._places.shard[index]):
            at = np.flatnonzero(self._places.shard[index] == shard)
            mapped = self._maps[int(shard)]
            kept = np.frombuffer(mapped, dtype=np.uint8) if mapped is not None else np.zeros(0, dtype=np.uint8)
            kept = kept[: len(kept) // width * width].reshape(-1, width)
            row = self._places.row[index[at]]
            if row.max() >= len(kept):
                self._refuse(index[at[row >= len(kept)]])
            raw[at] = kept[row]
        new = np.flatnonzero(~self._checked[index])
        if len(new):
            wrong = new[checksums(raw[new]) != self._places.crc[index[new]]]
            if len(wrong):
                self._refuse(index[wrong])
            self._checked[index[new]] = True
        self._let_go(raw.nbytes)
        return arrays

    def _refuse(self, damaged: NDArray[np.int64]) -> None:
        with suppress(sqlite3.Error, OSError), self._store._index.connect() as connection:
            self._store._forget(connection, self._keys, self._places, damaged)
        raise KeyError(self._keys[int(damaged[0])])

    def _let_go(self, count: int) -> None:
        """Keep the pages of the maps from counting as memory of this process."""
        self._read += count
        if self._read < MAPPED_BYTES:
            return
        self._read = 0
        moment = time.monotonic()
        for shard, mapped in self._maps.items():
            _used[str(self._store.root), shard] = moment
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


class _Places:
    """Where N arrays are: shard (-1: nowhere), row, checksum, and what they cost."""

    def __init__(self, n: int) -> None:
        self.shard = np.full(n, -1, dtype=np.int64)
        self.row = np.zeros(n, dtype=np.int64)
        self.crc = np.zeros(n, dtype=np.int64)
        self.seconds = np.zeros(n)

    def fill(self, at: list[int], shard: Any, row: Any, crc: Any, seconds: Any) -> None:
        """Enter what the index says."""
        try:
            self.row[at], self.crc[at], self.seconds[at] = row, crc, seconds
            self.shard[at] = shard
            sound = bool((self.row[at] >= 0).all())
        except (TypeError, ValueError, OverflowError):  # no numbers
            sound = False
        if not sound:
            raise sqlite3.DatabaseError("its entries are damaged")

    def repeat(self, to: NDArray[np.int64], first: NDArray[np.int64]) -> None:
        """The same again at other positions."""
        for column in (self.shard, self.row, self.crc, self.seconds):
            column[to] = column[first]

    def by_shard(self) -> Iterable[tuple[int, NDArray[np.int64]]]:
        """Each shard, and the positions that it holds."""
        order = np.argsort(self.shard, kind="stable")
        order = order[self.shard[order] >= 0]
        for part in np.split(order, np.flatnonzero(np.diff(self.shard[order])) + 1):
            if len(part):
                yield int(self.shard[part[0]]), part


def root_of(folder: Path | None) -> Path:
    """The folder of the store inside a cache (None: the user's)."""
    return (folder or cache_directory()) / "store"


def index_of(root: Path) -> Database:
    """The index of the store in `root`. When it must be made anew, the shards of a lost one are removed."""

    def fresh() -> None:
        for folder in space_folders(root):
            shutil.rmtree(folder, ignore_errors=True)

    return Database(root / "index.sqlite", VERSION, SCHEMA, fresh)


def space_folders(root: Path) -> list[Path]:
    """The folders of shards."""
    try:
        return [path for path in sorted(root.iterdir()) if re.fullmatch("[0-9a-f]{32}", path.name) and path.is_dir()]
    except OSError:
        return []


def evict(
    connection: sqlite3.Connection, root: Path, most: int, *, down_to: float = DOWN_TO, spare: float | None = None
) -> int:
    """Remove shards, the least recently used first, if they take more than `most` bytes in all.

    Args:
        connection: to the index.
        root: of the store.
        most: bytes.
        down_to: how far to go, as a share of `most`.
        spare: what this process has used within so many seconds stays; None: SPARED.

    Returns:
        How many bytes were removed.
    """
    total = connection.execute("SELECT sum(bytes) FROM shards").fetchone()[0] or 0
    if total <= most:
        return 0
    spared = time.monotonic() - (SPARED if spare is None else spare)
    chosen: list[tuple[int, str, int]] = []
    with transaction(connection):
        shards = connection.execute(
            "SELECT shards.id, digest, bytes FROM shards JOIN spaces ON spaces.id = space ORDER BY used, shards.id"
        ).fetchall()
        total = sum(size for _, _, size in shards)
        for shard, digest, size in shards:
            if total <= most * down_to:
                break
            if _used.get((str(root), shard), -math.inf) <= spared:
                chosen.append((shard, digest, size))
                total -= size
        drop_shards(connection, [shard for shard, _, _ in chosen])
    for shard, digest, _ in chosen:
        with suppress(OSError):  # on Windows not while somebody reads it; `headstart cache prune` removes it then
            (root / digest / f"{shard}.bin").unlink()
    return sum(size for _, _, size in chosen)


def drop_shards(connection: sqlite3.Connection, shards: Sequence[int]) -> None:
    """Take shards and what they hold out of the index, inside a transaction."""
    given = {"which": json.dumps(list(shards))}
    chosen = "(SELECT value FROM json_each(:which))"
    spaces = f"(SELECT space FROM shards WHERE id IN {chosen})"  # noqa: S608
    connection.execute(f"DELETE FROM entries WHERE space IN {spaces} AND shard IN {chosen}", given)  # noqa: S608
    connection.execute(f"DELETE FROM shards WHERE id IN {chosen}", given)  # noqa: S608


def _bytes(arrays: NDArray[Any], width: int) -> Bytes:
    """(N, width): the bytes of each of N arrays; a view of them."""
    return arrays.reshape(-1).view(np.uint8).reshape(len(arrays), width)


def checksums(raw: Bytes) -> NDArray[np.int64]:
    """The CRC-32 of each row."""
    return np.fromiter((zlib.crc32(row) for row in raw), dtype=np.int64, count=len(raw))


def _map(path: Path, count: int) -> mmap.mmap | None:
    """A file's first `count` bytes, or as many as it has; None where there are none."""
    with suppress(OSError, ValueError), path.open("rb") as stream:
        # Never beyond the end: the system kills a process that reads there.
        if length := min(count, os.fstat(stream.fileno()).st_size):
            return mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_READ)
    return None


def rows_of(folder: Path, shard: int, width: int) -> Bytes:
    """(rows, width): a whole shard; no rows where its file is missing."""
    with suppress(OSError):
        path = folder / f"{shard}.bin"
        mapped = _map(path, path.stat().st_size // width * width) if width else None
        if mapped is not None:
            return np.frombuffer(mapped, dtype=np.uint8).reshape(-1, width)
    return np.zeros((0, width), dtype=np.uint8)


def _write(path: Path, offset: int, rows: Bytes) -> None:
    """Put rows at `offset` of a shard and flush them to the disk; where that fails, give back the room."""
    new = not path.exists()
    with open(path, "wb" if new else "r+b", buffering=0) as stream:
        try:
            stream.seek(offset)
            data = np.ascontiguousarray(rows).reshape(-1)
            while len(data):
                data = data[stream.write(data.data) :]
            os.fsync(stream.fileno())
        except OSError:
            with suppress(OSError):
                stream.truncate(offset)
            raise
    if new:
        sync_directory(path.parent)

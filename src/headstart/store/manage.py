"""What the cache holds, what may go, and whether it is whole: behind `headstart cache`."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import OptionError, Problem
from headstart.files import cache_directory
from headstart.store import digests
from headstart.store.arrays import checksums, evict, index_of, root_of, rows_of, space_folders
from headstart.store.database import Database, transaction
from headstart.store.size import limit

ABANDONED = 3600.0
"""A folder under a temporary name that is older, in seconds, was left by a process that was killed."""

WORDS = ("source", "architecture", "features", "kind", "stage", "view", "views", "size", "precision")
"""Keys of a space that tell people what it is, in this order."""

SECONDS = "seconds.json"
"""What trials took on this machine; see :mod:`headstart.search.history`."""

AT_ONCE = 2**24
"""Bytes that are verified in one step."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Held:
    """One line of the list.

    Args:
        kind: `features`, `examined` or another kind of arrays; `index`; `digests`; `compiled`; or `old`: what nobody
            reads any more.
        what: in words.
        count: arrays, digests or files.
        bytes: on disk.
        used: when it was last used, in seconds since 1970; None: not known.
    """

    kind: str
    what: str
    count: int
    bytes: int
    used: float | None = None


@dataclass(frozen=True)
class Contents:
    """What the cache holds.

    Args:
        folder: of the cache.
        held: the parts, arrays first, in each kind the most recently used first.
        limit: the bytes that arrays may take.
    """

    folder: Path
    held: tuple[Held, ...]
    limit: int

    @property
    def arrays(self) -> int:
        """Bytes that arrays take: what the limit is about."""
        return sum(part.bytes for part in self.held if part.kind not in ("index", "digests", "compiled", "old"))

    @property
    def bytes(self) -> int:
        """Bytes in all."""
        return sum(part.bytes for part in self.held)


@dataclass(frozen=True)
class Verified:
    """What was read, and what of it was damaged and is forgotten now.

    Args:
        arrays: that were read.
        bytes: that they take.
        damaged: arrays that were not as they were kept.
        tables: files of tables that were damaged and put aside.
    """

    arrays: int
    bytes: int
    damaged: int
    tables: tuple[str, ...] = ()


def contents(folder: Path | None = None) -> Contents:
    """What the cache in `folder` (None: the user's) holds.

    Raises:
        OptionError: it cannot be opened, or the limit is no size.
    """
    cache = folder or cache_directory()
    root = root_of(folder)
    arrays: list[Held] = []
    rest: list[Held] = []
    index = index_of(root)
    known: set[str] = set()
    if index.path.exists():
        with _opened(index) as connection:
            counts = dict(connection.execute("SELECT space, count(*) FROM entries GROUP BY space"))
            rows = connection.execute(
                "SELECT spaces.id, kind, description, sum(bytes), max(used) FROM spaces"
                " JOIN shards ON shards.space = spaces.id GROUP BY spaces.id"
            ).fetchall()
            known = _known(connection)
        arrays = [Held(kind, words(about), counts.get(n, 0), size, used) for n, kind, about, size, used in rows]
        rest.append(Held("index", "of all arrays", sum(counts.values()), _size(_tables(index.path))))
    remembered = digests.database(root)
    if remembered.path.exists():
        with _opened(remembered) as connection:
            count = connection.execute("SELECT count(*) FROM files").fetchone()[0]
        rest.append(Held("digests", "of files", count, _size(_tables(remembered.path))))
    for place in _compiled(cache):
        files = [path for path in place.rglob("*") if path.is_file()]
        rest.append(Held("compiled", _network(place), 1, _size(files), max(map(_accessed, files), default=None)))
    if old := _leftovers(cache, root, known):
        rest.append(Held("old", "left behind; prune removes it", len(old), _size(old)))
    arrays.sort(key=lambda part: (part.kind, -(part.used or 0)))
    return Contents(cache, (*arrays, *rest), limit())


def prune(to: int | None = None, *, everything: bool = False, folder: Path | None = None) -> int:
    """Remove what was left behind, and then arrays, the least recently used first.

    Args:
        to: bytes that arrays may still take; None: their limit.
        everything: remove all there is, compiled networks, digests and what trials took, too.
        folder: the cache; None: the user's.

    Returns:
        How many bytes it is smaller.

    Raises:
        OptionError: it cannot be opened, or the limit is no size.
    """
    cache, root = folder or cache_directory(), root_of(folder)
    before = contents(folder).bytes
    index = index_of(root)
    most = 0 if everything else limit() if to is None else to
    if index.path.exists():
        with _opened(index) as connection:
            evict(connection, root, most, down_to=1.0, spare=0.0)
            # Nobody writes meanwhile: what the index does not know now, nobody is about to enter.
            with transaction(connection):
                connection.execute("DELETE FROM spaces WHERE id NOT IN (SELECT space FROM shards)")
                _remove(_leftovers(cache, root, _known(connection)))
                for place in space_folders(root):
                    with suppress(OSError):  # not empty
                        place.rmdir()
            _shrink(connection)
    else:
        _remove(_leftovers(cache, root, set()))
    if everything:
        remembered = digests.database(root)
        if remembered.path.exists():
            with _opened(remembered) as connection:
                connection.execute("DELETE FROM files")
                _shrink(connection)
        for place in _compiled(cache):
            shutil.rmtree(place, ignore_errors=True)
        (cache / SECONDS).unlink(missing_ok=True)
    for place in _abandoned(cache):
        shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):
        (cache / "features").rmdir()
    return max(0, before - contents(folder).bytes)


def verify(folder: Path | None = None, progress: Progress | None = None) -> Verified:
    """Read every array; forget those that are damaged, so that they are computed again.

    Args:
        folder: the cache; None: the user's.
        progress: called as `progress(read, arrays)`.

    Raises:
        OptionError: it cannot be opened.
    """
    root = root_of(folder)
    index, remembered = index_of(root), digests.database(root)
    tables = tuple(part.path.name for part in (index, remembered) if part.path.exists() and not _is_whole(part))
    read = size = damaged = 0
    if index.path.exists():
        with _opened(index) as connection:
            total = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
            for space, digest in connection.execute("SELECT id, digest FROM spaces").fetchall():
                bad: list[tuple[Any, ...]] = []
                for shard, width, rows in _entries(connection, space):
                    bad += _damaged(root / digest, shard, width, rows)
                    read, size = read + len(rows), size + len(rows) * width
                    if progress is not None:
                        progress(read, total)
                with transaction(connection):
                    changes = connection.total_changes
                    connection.executemany(
                        "DELETE FROM entries WHERE space = ? AND key = ? AND shard = ? AND row = ?",
                        [(space, key, shard, row) for key, shard, row, _ in bad],
                    )
                    damaged += connection.total_changes - changes
    return Verified(read, size, damaged, tables)


def words(description: str) -> str:
    """A space in a few words.

    >>> words('{"dtype": "float32", "shape": [1280], "space": {"architecture": "resnet18", "stage": "pooled"}}')
    'resnet18 pooled 1280 float32'
    """
    try:
        about = json.loads(description)
        space = about["space"] if isinstance(about["space"], dict) else {}
        parts = [str(space[key]) for key in WORDS if space.get(key) not in (None, "", "network")]
        return " ".join([*parts, "x".join(map(str, about["shape"])), about["dtype"]])
    except (ValueError, KeyError, TypeError):
        return "not readable"


@contextmanager
def _opened(database: Database) -> Iterator[sqlite3.Connection]:
    """A connection; what goes wrong with it is said in words."""
    try:
        with database.connect() as connection:
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise OptionError(
            Problem(
                f"{database.path} cannot be used ({error})",
                "a cache that may be read and written",
                "headstart cache verify puts damaged files aside; HEADSTART_CACHE names another folder",
            )
        ) from error


def _is_whole(database: Database) -> bool:
    """Whether SQLite finds nothing wrong with a file; if it does, the file is put aside."""
    try:
        with database.connect() as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
    except sqlite3.OperationalError:
        return True  # busy, or not ours to write: not damaged; whoever opens it next says why
    except sqlite3.DatabaseError as error:
        database.failed(error)
        return False
    return True


def _entries(connection: sqlite3.Connection, space: int) -> Iterator[tuple[int, int, list[tuple[Any, ...]]]]:
    """Shard, bytes of a row, and its entries (key, shard, row, crc), not too many at a time."""
    widths = {
        shard: size // rows
        for shard, rows, size in connection.execute("SELECT id, rows, bytes FROM shards WHERE space = ?", (space,))
        if rows
    }
    wanted = "SELECT key, shard, row, crc FROM entries WHERE space = ? ORDER BY shard, row"
    cursor = connection.execute(wanted, (space,))
    for shard, rows in groupby(cursor, key=lambda row: row[1]):
        width = widths.get(shard, 0)
        # An entry takes some 200 bytes in memory, however small its row is.
        most = max(1, AT_ONCE // max(200, width))
        while part := list(islice(rows, most)):
            yield shard, width, part


def _damaged(folder: Path, shard: int, width: int, entries: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Those entries whose rows are missing or differ from their checksum."""
    kept = rows_of(folder, shard, width)
    try:
        row, crc = np.array([entry[2:] for entry in entries], dtype=np.int64).T
    except (TypeError, ValueError, OverflowError):
        return entries
    good = (row >= 0) & (row < len(kept))
    good[good] = checksums(kept[row[good]]) == crc[good]
    return [entry for entry, fine in zip(entries, good.tolist(), strict=True) if not fine]


def _known(connection: sqlite3.Connection) -> set[str]:
    """The files of the shards that the index knows, relative to the store."""
    rows = connection.execute("SELECT digest, shards.id FROM shards JOIN spaces ON spaces.id = shards.space")
    return {f"{digest}/{shard}.bin" for digest, shard in rows}


def _leftovers(cache: Path, root: Path, known: set[str]) -> list[Path]:
    """Files that nobody reads: shards that the index does not know, damaged tables, the store of earlier versions."""
    shards = [file for place in space_folders(root) for file in sorted(place.iterdir())]
    lost = [file for file in shards if f"{file.parent.name}/{file.name}" not in known]
    return (
        lost
        + sorted(root.glob("*.damaged-*"))
        + sorted((cache / "features").glob("*.sqlite*"))
        + sorted((cache / "features").glob("*.damaged-*"))
    )


def _remove(files: list[Path]) -> None:
    for file in files:
        with suppress(OSError):
            file.unlink()


def _compiled(cache: Path) -> list[Path]:
    """The folders of compiled networks."""
    return [path for path in sorted((cache / "compiled").glob("[!.]*")) if path.is_dir()]


def _abandoned(cache: Path) -> list[Path]:
    """Half-written folders of processes that were killed."""
    before = time.time() - ABANDONED
    return [path for path in (cache / "compiled").glob(".*") if path.is_dir() and path.stat().st_mtime < before]


def _network(place: Path) -> str:
    """What a compiled network is, where its folder says so."""
    try:
        about = json.loads((place / "about.json").read_text(encoding="utf-8"))
        return str(about["architecture"] or place.name[:8])
    except (OSError, ValueError, KeyError, TypeError):
        return place.name[:8]


def _accessed(path: Path) -> float:
    try:
        status = path.stat()
    except OSError:
        return 0.0
    return max(status.st_atime, status.st_mtime)


def _tables(path: Path) -> list[Path]:
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]


def _size(files: list[Path]) -> int:
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size
    return total


def _shrink(connection: sqlite3.Connection) -> None:
    """Give the room of what was deleted back to the disk, unless somebody is at work."""
    with suppress(sqlite3.OperationalError):
        connection.execute("VACUUM")

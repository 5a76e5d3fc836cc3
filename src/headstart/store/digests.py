"""Digests of files' content, at the speed of the disk, and for files that have not changed at the speed of `stat`.

A digest is remembered by path, size, times of change and inode. A file that was changed within the last moments is read
again next time: it could be changed once more without its time telling (git knows such files as "racily clean").
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import stat
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headstart.machine import cores
from headstart.store.arrays import root_of
from headstart.store.database import BATCH, Database, transaction

SETTLED_NS = 2_000_000_000
"""A file must have been left alone for so many nanoseconds before its digest is remembered."""

THREADS_PER_CORE = 2
"""Files that are read at a time, for each core: while one waits for the disk, another is hashed."""

VERSION = 1
SCHEMA = "CREATE TABLE files (path BLOB PRIMARY KEY, stamp BLOB, digest BLOB) WITHOUT ROWID"

_databases: dict[Path, Database] = {}
_guard = threading.Lock()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: it cannot be read, or is no ordinary file.
    """
    [found] = file_digests([path])
    if isinstance(found, OSError):
        raise found
    return found


def file_digests(paths: Sequence[str | Path]) -> list[str | OSError]:
    """:func:`file_digest` of each; in the place of one that cannot be read, why."""
    here = os.getcwd()
    found: list[str | OSError] = [""] * len(paths)
    known: list[tuple[bytes, bytes]] = []
    rows: list[int] = []
    for i, path in enumerate(paths):
        try:
            stamp = _stamp(os.stat(path))
        except (OSError, ValueError) as error:
            found[i] = _as_os_error(error)
            continue
        whole = os.fsencode(path if os.path.isabs(path) else os.path.join(here, path))
        # 16 bytes stand for a path that may have hundreds.
        known.append((hashlib.blake2b(whole, digest_size=16).digest(), stamp))
        rows.append(i)
    tables = database(root_of(None))
    remembered = _recall(tables, [name for name, _ in known])
    missing = []
    for i, (name, stamp) in zip(rows, known, strict=True):
        before = remembered.get(name)
        if before is not None and before[0] == stamp:
            found[i] = before[1].hex()
        else:
            missing.append((i, name))
    if missing:
        threads = min(THREADS_PER_CORE * cores(), len(missing))
        new = []
        with ThreadPoolExecutor(threads) as pool:
            for (i, name), (digest, settled) in zip(
                missing, pool.map(_hash, [paths[i] for i, _ in missing]), strict=True
            ):
                found[i] = digest
                if settled is not None and isinstance(digest, str):
                    new.append((name, settled, bytes.fromhex(digest)))
        _remember(tables, new)
    return found


def _stamp(status: os.stat_result) -> bytes:
    """What changes when a file's content does."""
    if not stat.S_ISREG(status.st_mode):  # reading a named pipe would wait for ever
        raise OSError(errno.EINVAL, "is not an ordinary file")
    # The time of the inode's change tells where a tool has restored the time of the content's change.
    words = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return struct.pack("<4Q", *(word & 0xFFFFFFFFFFFFFFFF for word in words))


def _hash(path: str | Path) -> tuple[str | OSError, bytes | None]:
    """A file's digest, and the stamp under which it may be remembered (None: not yet)."""
    try:
        # Not blocking, because the file may have become a pipe since it was looked at.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            began, before = time.time_ns(), os.fstat(stream.fileno())
            stamp = _stamp(before)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            unchanged = _stamp(os.fstat(stream.fileno())) == stamp
    except (OSError, ValueError) as error:
        return _as_os_error(error), None
    settled = unchanged and before.st_mtime_ns < began - SETTLED_NS
    return digest, stamp if settled else None


def _as_os_error(error: OSError | ValueError) -> OSError:
    return error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))  # a null byte in the name


def database(root: Path) -> Database:
    """The table of digests in the store in `root`; one for a process, so that a full disk is met once."""
    path = root / "digests.sqlite"
    with _guard:
        return _databases.setdefault(path, Database(path, VERSION, SCHEMA))


def _recall(tables: Database, names: Sequence[bytes]) -> dict[bytes, tuple[bytes, bytes]]:
    """What is remembered of these: stamp and digest."""
    known: dict[bytes, tuple[bytes, bytes]] = {}
    if not names or not tables.path.exists():
        return known
    names = sorted(names)
    try:
        with tables.connect() as connection:
            for start in range(0, len(names), BATCH):
                part = names[start : start + BATCH]
                marks = ",".join("?" * len(part))
                for name, stamp, digest in connection.execute(
                    f"SELECT path, stamp, digest FROM files WHERE path IN ({marks})",  # noqa: S608 - marks only
                    part,
                ):
                    if isinstance(digest, bytes) and len(digest) == hashlib.sha256().digest_size:
                        known[name] = (stamp, digest)
    except (sqlite3.Error, OSError) as error:
        tables.failed(error)
        return {}
    return known


def _remember(tables: Database, rows: list[tuple[bytes, bytes, bytes]]) -> None:
    if not rows or tables.broken:
        return
    try:
        with tables.connect() as connection, transaction(connection):
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", sorted(rows))
    except (sqlite3.Error, OSError) as error:
        tables.failed(error)

"""The store: nothing is computed twice, nothing wrong is ever recalled, and nothing that happens to it stops a run."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.store import Store, arrays, database

pytestmark = pytest.mark.fast

SPACE = {"test": 1}


def keys(count, first=0):
    return [f"{i:064x}" for i in range(first, first + count)]


def rows(count, width=4, first=0):
    return np.arange(first * width, (first + count) * width, dtype=np.float32).reshape(count, width)


def shards(folder):
    return sorted((folder / "store").glob("*/*.bin"), key=lambda path: int(path.stem))


def index(folder):
    return folder / "store" / "index.sqlite"


def recall(folder, count, width=4, first=0) -> tuple[np.ndarray, list[int]]:
    """As features use the store: what it has, and the rest computed and put; also which ones had to be computed."""
    shelf = Store(SPACE, (width,), folder=folder)
    vectors, found, _ = shelf.get(keys(count, first))
    missing = np.flatnonzero(~found)
    vectors[missing] = rows(count, width, first)[missing]
    shelf.put([keys(count, first)[i] for i in missing], vectors[missing])
    return vectors, missing.tolist()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows of four floats in a shard."""
    monkeypatch.setattr(arrays, "SHARD_BYTES", 160)


def test_what_is_put_is_got_in_any_order_and_with_repeats(tmp_path):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(1300), rows(1300), 0.25)
    wanted = [1299, 0, 0, 700, 5000, 3]
    fresh = Store(SPACE, (4,), folder=tmp_path)
    asked = [keys(1, i)[0] for i in wanted]
    vectors, found, cost = fresh.get(asked)
    assert found.tolist() == [True, True, True, True, False, True]
    np.testing.assert_array_equal(fresh.has(asked), found)
    np.testing.assert_array_equal(vectors[found], rows(1300)[[1299, 0, 0, 700, 3]])
    assert not vectors[4].any()
    assert cost.tolist() == [0.25, 0.25, 0.25, 0.25, 0, 0.25]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_arrays_of_any_shape_come_back_in_their_dtype(dtype, tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (7, 2, 3, 5)).astype(dtype)
    Store(SPACE, (2, 3, 5), dtype=dtype, folder=tmp_path).put(keys(7), values)
    found, have, _ = Store(SPACE, (2, 3, 5), dtype=dtype, folder=tmp_path).get(keys(7))
    assert have.all()
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values)


def test_only_what_is_missing_is_computed(tmp_path):
    assert recall(tmp_path, 12)[1] == list(range(12))
    vectors, computed = recall(tmp_path, 25)
    assert computed == list(range(12, 25))
    np.testing.assert_array_equal(vectors, rows(25))


def test_another_space_shape_or_dtype_is_not_recalled(tmp_path):
    Store(SPACE, (4,), folder=tmp_path).put(keys(2), rows(2))
    others = [
        Store({"test": 2}, (4,), folder=tmp_path),
        Store(SPACE, (2, 2), folder=tmp_path),
        Store(SPACE, (5,), folder=tmp_path),
        Store(SPACE, (4,), dtype="float16", folder=tmp_path),
        Store(SPACE, (4,), kind="other", folder=tmp_path),
    ]
    for other in others:
        assert not other.get(keys(2))[1].any()
        assert not other.has(keys(2)).any()


def test_the_cache_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "mine"))
    Store(SPACE, (4,)).put(keys(2), rows(2))
    assert Store(SPACE, (4,)).has(keys(2)).all()
    assert index(tmp_path / "mine").exists()


def test_looking_makes_nothing(tmp_path):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    assert not shelf.get(keys(3))[1].any()
    assert not shelf.has(keys(3)).any()
    shelf.put([], rows(0))
    assert list(tmp_path.iterdir()) == []


def test_an_array_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        Store(SPACE, (4,), folder=tmp_path).put(keys(2), rows(2, 5))
    with pytest.raises(ValueError, match="nothing to keep"):
        Store(SPACE, (0,), folder=tmp_path)


def test_equal_keys_are_kept_once(tmp_path):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put([*keys(3), *keys(3)], np.concatenate([rows(3), rows(3)]))
    shelf.put(keys(3), rows(3))
    [shard] = shards(tmp_path)
    assert shard.stat().st_size == 3 * 16
    np.testing.assert_array_equal(shelf.get(keys(3))[0], rows(3))


@pytest.mark.usefixtures("small_shards")
def test_rows_are_appended_to_shards_until_they_are_full(tmp_path):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    for first, count in ((0, 7), (7, 7), (14, 30), (44, 1)):
        shelf.put(keys(count, first), rows(count, first=first))
    assert [path.stat().st_size // 16 for path in shards(tmp_path)] == [10, 10, 10, 10, 5]
    order = random.Random(0).sample(range(45), 45)
    vectors, found, _ = shelf.get([keys(45)[i] for i in order])
    assert found.all()
    np.testing.assert_array_equal(vectors, rows(45)[order])


def test_a_row_larger_than_a_shard_has_one_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "SHARD_BYTES", 100)
    shelf = Store(SPACE, (64,), folder=tmp_path)
    shelf.put(keys(3), rows(3, 64))
    assert [path.stat().st_size for path in shards(tmp_path)] == [256] * 3
    np.testing.assert_array_equal(shelf.get(keys(3))[0], rows(3, 64))


# -- views ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_shards")
def test_a_view_reads_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAPPED_BYTES", 64)  # pages are let go between two reads
    shelf = Store(SPACE, (2, 2), dtype="float16", folder=tmp_path)
    values = rows(50).reshape(50, 2, 2).astype(np.float16)
    shelf.put(keys(50), values)
    order = random.Random(1).sample(range(50), 40)
    lazy = shelf.view([keys(50)[i] for i in [*order, order[0]]])
    assert (len(lazy), lazy.shape, lazy.dtype) == (41, (41, 2, 2), np.float16)
    np.testing.assert_array_equal(lazy[np.array([5, 0, 40, 5])], values[[order[5], order[0], order[0], order[5]]])
    np.testing.assert_array_equal(lazy[3], values[order[3]])
    np.testing.assert_array_equal(lazy[-3:], values[[order[38], order[39], order[0]]])
    np.testing.assert_array_equal(lazy[np.arange(41) < 2], values[order[:2]])
    assert lazy[[]].shape == (0, 2, 2)
    with pytest.raises(IndexError):
        lazy[41]
    assert len(shelf.view([])) == 0


def test_a_view_of_what_is_not_there_is_refused(tmp_path):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    with pytest.raises(KeyError, match=keys(1)[0]):
        shelf.view(keys(1))
    shelf.put(keys(2), rows(2))
    with pytest.raises(KeyError, match=keys(1, 2)[0]):
        shelf.view(keys(3))


def test_a_view_outlives_what_it_shows(tmp_path):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(5), rows(5))
    lazy = shelf.view(keys(5))
    shutil.rmtree(tmp_path / "store")
    np.testing.assert_array_equal(lazy[:], rows(5))


@pytest.mark.parametrize("harm", ["flipped", "cut", "removed"])
def test_a_damaged_row_of_a_view_is_named_and_forgotten(harm, tmp_path):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(5), rows(5))
    [shard] = shards(tmp_path)
    data = shard.read_bytes()
    if harm == "flipped":
        shard.write_bytes(data[:50] + b"\xff" + data[51:])
    elif harm == "cut":
        shard.write_bytes(data[:50])
    else:
        shard.unlink()
    lazy = shelf.view(keys(5))
    with pytest.raises(KeyError) as refused:
        lazy[:]
    assert refused.value.args[0] == keys(1, 0 if harm == "removed" else 3)[0]
    assert not shelf.has(list(refused.value.args)).any()
    if harm != "removed":
        np.testing.assert_array_equal(lazy[:3], rows(3))


# -- damage ---------------------------------------------------------------------------------------------------------


def test_a_damaged_array_is_computed_again(tmp_path, caplog):
    recall(tmp_path, 5)
    [shard] = shards(tmp_path)
    data = bytearray(shard.read_bytes())
    data[2 * 16 + 3] ^= 1
    shard.write_bytes(data)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors, computed = recall(tmp_path, 5)
    np.testing.assert_array_equal(vectors, rows(5))
    assert computed == [2]
    assert "1 damaged arrays" in caplog.text
    assert recall(tmp_path, 5)[1] == [], "the mended array was not kept"


@pytest.mark.parametrize("harm", ["cut to half", "emptied", "removed", "folder removed", "zeros"])
@pytest.mark.usefixtures("small_shards")
def test_a_damaged_shard_is_computed_again_and_mended(harm, tmp_path, caplog):
    recall(tmp_path, 35)
    shard = shards(tmp_path)[1]
    data = shard.read_bytes()
    if harm == "removed":
        shard.unlink()
    elif harm == "folder removed":
        shutil.rmtree(shard.parent)
    else:
        shard.write_bytes({"cut to half": data[: len(data) // 2], "emptied": b"", "zeros": bytes(len(data))}[harm])
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors, computed = recall(tmp_path, 35)
    np.testing.assert_array_equal(vectors, rows(35))
    lost = {"cut to half": range(15, 20), "folder removed": range(35)}.get(harm, range(10, 20))
    assert computed == list(lost)
    assert f"{len(lost)} damaged arrays" in caplog.text
    vectors, computed = recall(tmp_path, 35)
    np.testing.assert_array_equal(vectors, rows(35))
    assert computed == [], "the store was not mended"


@pytest.mark.parametrize(
    "harm", ["garbage", "header", "cut to half", "cut to 100 bytes", "emptied", "a page of zeros", "another version"]
)
def test_a_damaged_index_is_put_aside_and_made_anew(harm, tmp_path, caplog):
    recall(tmp_path, 400)
    file = index(tmp_path)
    data = file.read_bytes()
    assert len(data) > 16384, "more than one page of entries, or half of it would be a whole one"
    page = len(data) // 2 // 4096 * 4096
    if harm == "another version":
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA user_version=99")
        connection.close()
    else:
        file.write_bytes(
            {
                "garbage": b"this is no database" * 100,
                "header": b"\0" * 16 + data[16:],
                "cut to half": data[: len(data) // 2],
                "cut to 100 bytes": data[:100],
                "emptied": b"",
                "a page of zeros": data[:page] + b"\0" * 4096 + data[page + 4096 :],
            }[harm]
        )
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors, computed = recall(tmp_path, 400)
    np.testing.assert_array_equal(vectors, rows(400))
    assert computed, "something was lost, so something must be computed"
    if harm != "emptied":  # an empty file is an empty database
        assert "put aside" in caplog.text
        assert list(file.parent.glob("index.damaged-*"))
    vectors, computed = recall(tmp_path, 400)
    np.testing.assert_array_equal(vectors, rows(400))
    assert computed == [], "the store was not mended"
    assert len(shards(tmp_path)) == 1, "shards that nobody knows were left"


@pytest.mark.parametrize("column", ["shard", "row", "crc"])
@pytest.mark.parametrize("value", [-5, 10**15, "x", None, b"y"])
def test_nonsense_in_the_index_recalls_nothing_wrong(column, value, tmp_path):
    recall(tmp_path, 5)
    with sqlite3.connect(index(tmp_path)) as connection:
        connection.execute(f"UPDATE entries SET {column} = ? WHERE key = ?", (value, bytes.fromhex(keys(1, 2)[0])))
    connection.close()
    vectors, computed = recall(tmp_path, 5)
    np.testing.assert_array_equal(vectors, rows(5))
    assert 2 in computed


def test_the_rows_of_two_keys_are_not_confused(tmp_path):
    recall(tmp_path, 5)
    with sqlite3.connect(index(tmp_path)) as connection:
        connection.execute("UPDATE entries SET row = 4 WHERE row = 1")
    connection.close()
    vectors, computed = recall(tmp_path, 5)
    np.testing.assert_array_equal(vectors, rows(5))
    assert computed == [1]


# -- a disk that is full or may not be written ----------------------------------------------------------------------


def patched(monkeypatch, **methods):
    """Connections of which some methods are others."""
    real = sqlite3.connect

    class Connection:
        def __init__(self, *args, **kwargs):
            self.inner = real(*args, **kwargs)

        def __getattr__(self, name):
            return methods.get(name) or getattr(self.inner, name)

    monkeypatch.setattr(database.sqlite3, "connect", Connection)


def test_a_full_disk_is_said_once_and_stops_nobody(tmp_path, caplog, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    patched(monkeypatch, executemany=full)
    with caplog.at_level(logging.WARNING, "headstart"):
        for _ in range(3):
            np.testing.assert_array_equal(recall(tmp_path, 6)[0], rows(6))
    assert caplog.text.count("disk is full") == 1
    assert "HEADSTART_CACHE" in caplog.text


def test_a_shard_that_cannot_be_written_only_warns(tmp_path, caplog, monkeypatch):
    recall(tmp_path, 3)
    real = os.fsync

    def full(descriptor):
        real(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays.os, "fsync", full)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors, computed = recall(tmp_path, 6)
    np.testing.assert_array_equal(vectors, rows(6))
    assert computed == [3, 4, 5]
    assert "No space left" in caplog.text
    assert shards(tmp_path)[0].stat().st_size == 3 * 16, "the room was not given back"
    monkeypatch.setattr(arrays.os, "fsync", real)
    assert recall(tmp_path, 6)[1] == [3, 4, 5]
    assert recall(tmp_path, 6)[1] == []


def test_a_folder_that_cannot_be_made_only_warns(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING, "headstart"):
        np.testing.assert_array_equal(recall(tmp_path / "file", 3)[0], rows(3))
    assert "not kept" in caplog.text


def test_a_store_that_cannot_be_written_only_warns(tmp_path, caplog, monkeypatch):
    recall(tmp_path, 2)
    real = sqlite3.connect
    monkeypatch.setattr(database.sqlite3, "connect", lambda path, **how: real(f"file:{path}?mode=ro", uri=True, **how))
    with caplog.at_level(logging.WARNING, "headstart"):
        np.testing.assert_array_equal(recall(tmp_path, 3)[0], rows(3))
    assert "readonly" in caplog.text


# -- the limit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def aged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Makes the shards of `tmp_path` last used so many seconds ago, as by another process."""

    def age(seconds: list[int]) -> None:
        monkeypatch.setattr(arrays, "_used", {})
        with sqlite3.connect(index(tmp_path)) as connection:
            now = arrays.time.time()
            for shard, ago in zip(shards(tmp_path), seconds, strict=True):
                connection.execute("UPDATE shards SET used = ? WHERE id = ?", (now - ago, int(shard.stem)))
        connection.close()

    return age


@pytest.mark.usefixtures("small_shards")
def test_above_the_limit_the_least_recently_used_shards_go(tmp_path, monkeypatch, aged):
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "800")  # five shards of 160 bytes; down to 720: four and a half
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(50), rows(50))
    assert len(shards(tmp_path)) == 5
    aged([500, 300, 400, 200, 100])
    assert shelf.get(keys(10))[1].all()  # the first shard is the most recently used one now
    shelf.put(keys(10, 50), rows(10, first=50))
    assert [path.stem for path in shards(tmp_path)] == ["1", "4", "5", "6"]
    gone = np.isin(np.arange(60) // 10, [1, 2])
    vectors, found, _ = shelf.get(keys(60))
    np.testing.assert_array_equal(found, ~gone)
    np.testing.assert_array_equal(vectors[found], rows(60)[~gone])
    assert recall(tmp_path, 20, first=10)[1] == list(range(20)), "what went is computed again, and kept"
    assert recall(tmp_path, 20, first=10)[1] == []


@pytest.mark.usefixtures("small_shards")
def test_what_this_process_has_just_used_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "200")
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(50), rows(50))
    assert shelf.get(keys(50))[1].all()
    monkeypatch.setattr(arrays, "SPARED", 0.0)
    shelf.put(keys(1, 50), rows(1))
    assert [path.stem for path in shards(tmp_path)] == ["5", "6"]  # 176 bytes


@pytest.mark.usefixtures("small_shards")
def test_the_number_of_a_shard_is_never_used_again(tmp_path):
    """A process with an older look at the index must not find other rows under it."""
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(20), rows(20))
    with shelf._index.connect() as connection:
        assert arrays.evict(connection, shelf.root, 0, spare=0.0) == 320
    assert shards(tmp_path) == []
    (shelf.folder / "7.bin").write_bytes(b"from an index that was lost")
    shelf.put(keys(5), rows(5))
    assert [path.stem for path in shards(tmp_path)] == ["7", "8"]
    shelf.put(keys(10, 5), rows(10, first=5))
    assert [path.stem for path in shards(tmp_path)] == ["7", "8", "9"]


@pytest.mark.usefixtures("small_shards")
def test_a_use_is_noted_once_a_minute(tmp_path, aged):
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(20), rows(20))
    aged([30, 90])

    def ago():
        with sqlite3.connect(index(tmp_path)) as connection:
            used = [row[0] for row in connection.execute("SELECT used FROM shards ORDER BY id")]
        connection.close()
        return [arrays.time.time() - moment for moment in used]

    shelf.get(keys(20))
    first, second = ago()
    assert 25 < first < 60
    assert second < 20


@pytest.mark.usefixtures("small_shards")
def test_a_shard_that_vanishes_while_it_is_read_is_no_damage(tmp_path, monkeypatch, caplog):
    """Another process may evict between our look into the index and our look into the shard."""
    shelf = Store(SPACE, (4,), folder=tmp_path)
    shelf.put(keys(20), rows(20))
    real = arrays.rows_of

    def evicted(folder, shard, width):
        if shard == 1:
            other = Store(SPACE, (4,), folder=tmp_path)
            with other._index.connect() as connection, database.transaction(connection):
                arrays.drop_shards(connection, [1])
            (folder / "1.bin").unlink()
        return real(folder, shard, width)

    monkeypatch.setattr(arrays, "rows_of", evicted)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors, found, _ = shelf.get(keys(20))
    assert found.tolist() == [False] * 10 + [True] * 10
    np.testing.assert_array_equal(vectors[10:], rows(20)[10:])
    assert not vectors[:10].any()
    assert caplog.text == ""


def test_a_limit_that_is_none_is_the_users_mistake(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "much")
    with pytest.raises(OptionError, match="HEADSTART_CACHE_LIMIT of 'much'"):
        Store(SPACE, (4,), folder=tmp_path)


# -- other processes ------------------------------------------------------------------------------------------------

# What they run: numpy and SQLite only, so that starting one is cheap.
WRITER = """
import sys
import numpy as np
from pathlib import Path
from headstart.store import Store, arrays
folder, first, count, arrays.SHARD_BYTES = Path(sys.argv[1]), *map(int, sys.argv[2:5])
shelf = Store({"test": 1}, (64,), folder=folder)
for start in range(first, first + count, 10):
    keys = [f"{i:064x}" for i in range(start, start + 10)]
    shelf.put(keys, np.array([[i] * 64 for i in range(start, start + 10)], dtype=np.float32))
    print(start, flush=True)
"""


def writer(folder, first, count, shard_bytes=2**26, **how):
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(count), str(shard_bytes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def wide(first, count):
    return np.array([[i] * 64 for i in range(first, first + count)], dtype=np.float32)


@pytest.mark.parametrize("puts", [1, 7, 20])
def test_kill_9_while_writing_loses_nothing_that_was_kept(puts, tmp_path):
    process = writer(tmp_path, 0, 1_000_000, 25 * 256)
    said = [int(process.stdout.readline()) for _ in range(puts)]
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    count = ([*said, *map(int, rest.split("\n")[:-1])])[-1] + 10
    shelf = Store(SPACE, (64,), folder=tmp_path)
    vectors, found, _ = shelf.get(keys(count))
    assert found.all()
    np.testing.assert_array_equal(vectors, wide(0, count))
    # The next writer writes over what was not entered, and harms nothing.
    shelf.put(keys(100, 2_000_000), wide(2_000_000, 100))
    vectors, found, _ = shelf.get(keys(count) + keys(100, 2_000_000))
    assert found.all()
    np.testing.assert_array_equal(vectors, np.concatenate([wide(0, count), wide(2_000_000, 100)]))


def test_a_tail_that_nobody_refers_to_is_written_over(tmp_path):
    """What a kill between the shard and the index leaves."""
    recall(tmp_path, 5)
    [shard] = shards(tmp_path)
    with shard.open("ab") as stream:
        stream.write(b"\xff" * 1000)
    assert recall(tmp_path, 8)[1] == [5, 6, 7]
    vectors, computed = recall(tmp_path, 8)
    assert computed == []
    np.testing.assert_array_equal(vectors, rows(8))
    assert shard.read_bytes()[: 8 * 16] == rows(8).tobytes()


def test_two_processes_at_once(tmp_path):
    both = [writer(tmp_path, 0, 300, 33 * 256), writer(tmp_path, 200, 300, 33 * 256)]
    for process in both:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        assert stderr == ""
    vectors, found, _ = Store(SPACE, (64,), folder=tmp_path).get(keys(500))
    assert found.all()
    np.testing.assert_array_equal(vectors, wide(0, 500))
    assert sum(path.stat().st_size for path in shards(tmp_path)) == 500 * 256, "what both had is kept once"


def test_two_processes_at_once_above_the_limit(tmp_path, monkeypatch):
    """Each removes what the other wrote long ago; nobody ever reads anything wrong."""
    environment = {**os.environ, "HEADSTART_CACHE_LIMIT": str(40 * 256)}
    both = [writer(tmp_path, first, 300, 10 * 256, env=environment) for first in (0, 300)]
    shelf = Store(SPACE, (64,), folder=tmp_path)
    while any(process.poll() is None for process in both):
        vectors, found, _ = shelf.get(keys(600))
        np.testing.assert_array_equal(vectors[found], wide(0, 600)[found])
    for process in both:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        assert stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_real_limit_on_file_size_only_warns(tmp_path):
    """The kernel itself refuses to let the store grow beyond 64 KiB."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    process = writer(tmp_path, 0, 1000, preexec_fn=limit)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert stdout.split()[-1] == "990", "the writer did not go on to its end"
    assert stderr.count("not kept") == 1
    vectors, found, _ = Store(SPACE, (64,), folder=tmp_path).get(keys(1000))
    assert found.any()
    np.testing.assert_array_equal(vectors[found], wide(0, 1000)[found])

"""The store: nothing is computed twice, nothing wrong is ever recalled, and nothing that happens to it stops a run."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.errors import TrialError
from headstart.features import EmptyBody, Store, Tally, extract
from headstart.features import store as store_module
from headstart.target.inputs import PathInputs

pytestmark = pytest.mark.fast

SPACE = {"test": 1}


def by_hand(paths):
    from PIL import Image

    return np.array([np.asarray(Image.open(p), dtype=np.float32).mean(axis=(0, 1)) for p in paths], dtype=np.float32)


def keys(count, first=0):
    return [f"{i:064x}" for i in range(first, first + count)]


def rows(count, width=4):
    return np.arange(count * width, dtype=np.float32).reshape(count, width)


def test_ten_new_pictures_compute_ten(pictures, mean_body, tmp_path):
    body, paths = mean_body(), pictures(25)
    first = extract(body, PathInputs(paths), store=tmp_path / "store")
    assert len(body.computed) == 25
    np.testing.assert_array_equal(first, by_hand(paths))
    more = pictures(10, first=100)
    mixed = paths[:12] + more + paths[12:]
    body, tally = mean_body(), Tally()
    second = extract(body, PathInputs(mixed), store=tmp_path / "store", tally=tally)
    assert body.computed == list(range(12, 22))
    assert (tally.computed, tally.recalled) == (10, 25)
    assert tally.saved > 0
    np.testing.assert_array_equal(second, by_hand(mixed))


def test_what_counts_is_the_content(pictures, mean_body, tmp_path):
    paths = pictures(4)
    extract(mean_body(), PathInputs(paths), store=tmp_path / "store")
    moved = paths[0].rename(tmp_path / "another name.png")
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[1].read_bytes())
    paths[2].write_bytes(paths[2].read_bytes() + b"x")  # a byte more, the same picture: another content all the same
    body = mean_body()
    vectors = extract(body, PathInputs([moved, copy, paths[2], paths[3], copy]), store=tmp_path / "store")
    assert body.computed == [2]
    np.testing.assert_array_equal(vectors, by_hand([moved, copy, paths[2], paths[3], copy]))


def test_another_space_is_another_file(pictures, mean_body, tmp_path):
    inputs = PathInputs(pictures(3))
    extract(mean_body("1"), inputs, store=tmp_path / "store")
    body = mean_body("2")
    extract(body, inputs, store=tmp_path / "store")
    assert len(body.computed) == 3
    assert len(list((tmp_path / "store").glob("*.sqlite"))) == 2


def test_a_body_without_a_space_keeps_nothing(pictures, tmp_path):
    assert extract(EmptyBody(), PathInputs(pictures(3)), store=tmp_path / "store").shape == (3, 0)
    assert not (tmp_path / "store").exists()


def test_an_input_that_became_unreadable_is_named(pictures, mean_body, tmp_path):
    from headstart.features import HandcraftedBody

    paths = pictures(3)
    paths[1].write_bytes(b"gone bad\n")
    with pytest.raises(TrialError, match=r"0001\.png: is text"):
        extract(HandcraftedBody("pixels", 8), PathInputs(paths), store=tmp_path / "store")


def test_a_damaged_vector_is_computed_again(pictures, mean_body, tmp_path, caplog):
    inputs = PathInputs(pictures(5))
    good = extract(mean_body(), inputs, store=tmp_path / "store")
    [file] = (tmp_path / "store").glob("*.sqlite")
    with sqlite3.connect(file) as connection:
        key, vector = connection.execute("SELECT key, vector FROM features LIMIT 1").fetchone()
        flipped = bytes([vector[0] ^ 1]) + vector[1:]
        connection.execute("UPDATE features SET vector = ? WHERE key = ?", (flipped, key))
    connection.close()
    body = mean_body()
    with caplog.at_level(logging.WARNING, "headstart"):
        np.testing.assert_array_equal(extract(body, inputs, store=tmp_path / "store"), good)
    assert len(body.computed) == 1
    assert inputs.digest(body.computed[0]) == key.hex()
    assert "1 damaged vectors" in caplog.text
    body = mean_body()
    np.testing.assert_array_equal(extract(body, inputs, store=tmp_path / "store"), good)
    assert body.computed == [], "the mended vector was not kept"


@pytest.mark.parametrize("harm", ["garbage", "header", "cut to half", "cut to 100 bytes", "emptied", "a page of zeros"])
def test_a_damaged_file_is_computed_again_and_mended(harm, pictures, mean_body, tmp_path, caplog):
    inputs = PathInputs(pictures(120))
    good = extract(mean_body(), inputs, store=tmp_path / "store")
    [file] = (tmp_path / "store").glob("*.sqlite")
    data = file.read_bytes()
    assert len(data) > 8192, "more than one page, or half of it would be a whole one"
    page = len(data) // 2 // 4096 * 4096
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
    body = mean_body()
    with caplog.at_level(logging.WARNING, "headstart"):
        np.testing.assert_array_equal(extract(body, inputs, store=tmp_path / "store"), good)
    assert body.computed, "something was lost, so something must be computed"
    if harm != "emptied":  # an empty file is an empty database
        assert "feature store" in caplog.text
    body = mean_body()
    np.testing.assert_array_equal(extract(body, inputs, store=tmp_path / "store"), good)
    assert body.computed == [], "the store was not mended"


def test_a_vector_of_another_width_is_not_recalled(tmp_path):
    Store(SPACE, 4, tmp_path).put(keys(2), rows(2, 4))
    _, found, _ = Store(SPACE, 5, tmp_path).get(keys(2))
    assert not found.any()


def test_what_is_put_is_got_in_any_order_and_with_repeats(tmp_path):
    shelf = Store(SPACE, 4, tmp_path)
    shelf.put(keys(1300), rows(1300), 0.25)
    wanted = [1299, 0, 0, 700, 5000, 3]
    vectors, found, cost = Store(SPACE, 4, tmp_path).get([keys(1, i)[0] for i in wanted])
    assert found.tolist() == [True, True, True, True, False, True]
    np.testing.assert_array_equal(vectors[found], rows(1300)[[1299, 0, 0, 700, 3]])
    assert cost == pytest.approx(5 * 0.25)


def test_a_full_disk_is_said_once_and_stops_nobody(pictures, mean_body, tmp_path, caplog, monkeypatch):
    paths = pictures(6)
    real = sqlite3.connect

    class Full:
        def __init__(self, *args, **kwargs):
            self.inner = real(*args, **kwargs)

        def __enter__(self):
            return self.inner.__enter__()

        def __exit__(self, *args):
            return self.inner.__exit__(*args)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def executemany(self, *args):
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store_module.sqlite3, "connect", Full)
    monkeypatch.setattr(sys.modules["headstart.features.extract"], "_CHUNK", 2)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors = extract(mean_body(), PathInputs(paths), store=tmp_path / "store")
    np.testing.assert_array_equal(vectors, by_hand(paths))
    assert caplog.text.count("disk is full") == 1
    assert "HEADSTART_CACHE" in caplog.text


def test_a_folder_that_cannot_be_made_only_warns(pictures, mean_body, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    paths = pictures(3)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors = extract(mean_body(), PathInputs(paths), store=tmp_path / "file" / "store")
    np.testing.assert_array_equal(vectors, by_hand(paths))
    assert "not kept" in caplog.text


def test_a_store_that_cannot_be_written_only_warns(pictures, mean_body, tmp_path, caplog, monkeypatch):
    paths = pictures(3)
    extract(mean_body(), PathInputs(paths[:2]), store=tmp_path / "store")
    real = sqlite3.connect
    monkeypatch.setattr(
        store_module.sqlite3, "connect", lambda path, **how: real(f"file:{path}?mode=ro", uri=True, **how)
    )
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors = extract(mean_body(), PathInputs(paths), store=tmp_path / "store")
    np.testing.assert_array_equal(vectors, by_hand(paths))
    assert "readonly" in caplog.text


# What the other processes run: numpy and SQLite only, so that starting one is cheap.
WRITER = """
import sys
import numpy as np
from pathlib import Path
from headstart.features.store import Store
folder, first, count, repeat = Path(sys.argv[1]), *map(int, sys.argv[2:5])
shelf = Store({"test": 1}, 64, folder)
for start in range(first, first + count, 10):
    keys = [f"{i:064x}" for i in range(start, start + 10)]
    shelf.put(keys, np.array([[i] * 64 for i in range(start, start + 10)], dtype=np.float32))
    print(start, flush=True)
"""


def writer(folder, first, count, **how):
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(count), "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def wide(first, count):
    return np.array([[i] * 64 for i in range(first, first + count)], dtype=np.float32)


def test_kill_9_while_writing_loses_nothing_that_was_kept(tmp_path):
    process = writer(tmp_path, 0, 1_000_000)
    said = [int(process.stdout.readline()) for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    count = said[-1] + 10
    shelf = Store(SPACE, 64, tmp_path)
    vectors, found, _ = shelf.get(keys(count))
    assert found.all()
    np.testing.assert_array_equal(vectors, wide(0, count))
    shelf.put(keys(10, 2_000_000), wide(2_000_000, 10))
    assert shelf.get(keys(10, 2_000_000))[1].all()


def test_two_processes_at_once(tmp_path):
    both = [writer(tmp_path, 0, 300), writer(tmp_path, 200, 300)]
    for process in both:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        assert "not kept" not in stderr
    vectors, found, _ = Store(SPACE, 64, tmp_path).get(keys(500))
    assert found.all()
    np.testing.assert_array_equal(vectors, wide(0, 500))


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
    vectors, found, _ = Store(SPACE, 64, tmp_path).get(keys(1000))
    np.testing.assert_array_equal(vectors[found], wide(0, 1000)[found])


def test_the_cache_folder_is_the_default(pictures, mean_body):
    extract(mean_body(), PathInputs(pictures(2)))
    assert list(Path(os.environ["HEADSTART_CACHE"]).glob("features/*.sqlite"))

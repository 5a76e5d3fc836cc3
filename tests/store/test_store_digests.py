"""Digests of files: right whatever happened to the file, and without reading it where nothing did."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from headstart.store import digests, file_digest, file_digests
from headstart.target.image import UnreadableImage
from headstart.target.inputs import ArrayInputs, PathInputs

pytestmark = pytest.mark.fast

LONG_AGO = 10**9


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, one entry for each time."""
    names: list[str] = []
    real = digests._hash

    def hashed(path):
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(digests, "_hash", hashed)
    return names


def write(path: Path, data: bytes, when: float = LONG_AGO) -> Path:
    path.write_bytes(data)
    os.utime(path, (when, when))
    return path


def expected(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_unchanged_files_are_read_once(tmp_path, read):
    paths = [write(tmp_path / f"{i}.jpg", bytes([i]) * i) for i in range(30)]
    assert file_digests(paths) == expected(paths)
    assert len(read) == 30
    new = write(tmp_path / "new.jpg", b"new")
    read.clear()
    assert file_digests([*paths[:7], new, *paths[7:]]) == expected([*paths[:7], new, *paths[7:]])
    assert read == ["new.jpg"]
    assert file_digest(str(paths[3])) == expected(paths)[3]
    assert read == ["new.jpg"]


@pytest.mark.parametrize("change", ["longer", "touched", "replaced"])
def test_a_changed_file_is_read_again(change, tmp_path, read):
    path = write(tmp_path / "a.jpg", b"before")
    file_digest(path)
    if change == "longer":
        write(path, b"after it")
    elif change == "touched":
        write(path, b"after!", LONG_AGO + 1)
    else:  # same size and time, another inode
        other = write(tmp_path / "b.jpg", b"after!")
        os.replace(other, path)
    assert file_digest(path) == expected([path])[0]
    assert read == ["a.jpg"] * 2
    file_digest(path)
    assert len(read) == 2


@pytest.mark.parametrize(("age", "times"), [(0.0, 2), (-3600.0, 2), (10.0, 1)])
def test_a_file_that_has_just_changed_is_not_trusted(age, times, tmp_path, read):
    path = write(tmp_path / "a.jpg", b"one", time.time() - age)
    file_digest(path)
    file_digest(path)
    assert len(read) == times


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jpg", b"one")
    real = hashlib.file_digest

    def meddled(stream, name):
        found = real(stream, name)
        write(path, b"three", LONG_AGO + 5)
        return found

    monkeypatch.setattr(hashlib, "file_digest", meddled)
    file_digest(path)
    monkeypatch.setattr(hashlib, "file_digest", real)
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert file_digest(path) == expected([path])[0]


def test_what_cannot_be_read_stands_in_its_place(tmp_path):
    good = write(tmp_path / "good.jpg", b"good")
    os.mkfifo(tmp_path / "pipe")
    found = file_digests([tmp_path / "absent", good, tmp_path, tmp_path / "pipe", tmp_path / "nul\0"])
    assert found[1] == expected([good])[0]
    assert [type(one) for one in found] == [FileNotFoundError, str, OSError, OSError, OSError]
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "absent")
    assert file_digests([]) == []


def test_relative_paths_are_those_of_the_working_directory(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
        write(tmp_path / name / "same.jpg", name.encode())
        os.link(tmp_path / name / "same.jpg", tmp_path / name / "link.jpg")
    for name in "abab":
        monkeypatch.chdir(tmp_path / name)
        assert file_digest("same.jpg") == hashlib.sha256(name.encode()).hexdigest()


@pytest.mark.parametrize("harm", ["garbage", "cut", "emptied"])
def test_a_damaged_table_is_put_aside(harm, tmp_path, read, caplog):
    paths = [write(tmp_path / f"{i}.jpg", bytes([i])) for i in range(200)]
    file_digests(paths)
    [file] = (tmp_path / "cache" / "store").glob("digests.sqlite")
    data = file.read_bytes()
    file.write_bytes({"garbage": b"no table " * 900, "cut": data[: len(data) // 2], "emptied": b""}[harm])
    read.clear()
    with caplog.at_level(logging.WARNING, "headstart"):
        assert file_digests(paths) == expected(paths)
    assert read
    assert ("put aside" in caplog.text) == (harm != "emptied")
    file_digests(paths)
    read.clear()
    assert file_digests(paths) == expected(paths)
    assert read == []


def test_a_full_disk_is_said_once(tmp_path, monkeypatch, caplog):
    path = write(tmp_path / "a.jpg", b"one")

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", full)
    with caplog.at_level(logging.WARNING, "headstart"):
        for _ in range(3):
            assert file_digest(path) == expected([path])[0]
    assert caplog.text.count("not kept") == 1


# -- inputs ---------------------------------------------------------------------------------------------------------


def test_inputs_know_their_digests_and_hand_them_on(tmp_path, read):
    paths = [write(tmp_path / f"{i}.jpg", bytes([i]), time.time()) for i in range(6)]
    inputs = PathInputs(paths, tmp_path)
    assert inputs.digests() == expected(paths)
    taken = inputs.take([4, 1]).take(np.array([1, 0, 1]))
    paths[1].unlink()
    assert taken.digests() == [inputs.digest(1), inputs.digest(4), inputs.digest(1)]
    assert inputs.digests() == [inputs.digest(i) for i in range(6)]
    assert len(read) == 6, "recent files are not remembered on the disk, but these inputs know them"


def test_some_digests_may_be_known_and_others_not(tmp_path, read):
    paths = [write(tmp_path / f"{i}.jpg", bytes([i]), time.time()) for i in range(6)]
    inputs = PathInputs(paths, tmp_path)
    assert inputs.find_digests([3, 1]) == [expected(paths)[3], expected(paths)[1]]
    assert inputs.take([3, 2]).digests() == [expected(paths)[3], expected(paths)[2]]
    assert sorted(read) == ["1.jpg", "2.jpg", "3.jpg"]
    paths[5].unlink()
    found = inputs.find_digests()
    assert isinstance(found[5], FileNotFoundError)
    assert found[:5] == expected(paths[:5])
    with pytest.raises(FileNotFoundError):
        inputs.digests()


def test_pictures_in_memory_have_digests_too():
    arrays = np.random.default_rng(0).integers(0, 256, (80, 5, 4, 3), dtype=np.uint8)
    inputs = ArrayInputs(arrays)
    by_hand = [hashlib.sha256(inputs.content(i)).hexdigest() for i in range(80)]
    assert inputs.digests() == by_hand
    assert inputs.take([7, 3]).digests() == [by_hand[7], by_hand[3]]
    with pytest.raises(UnreadableImage, match="float64"):
        ArrayInputs([arrays[0], np.zeros((3, 3))]).digests()


@pytest.mark.parametrize("root", ["data", "data/", "./data", "."])
def test_names_are_relative_to_the_root_however_it_is_spelled(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("data/cat/1.jpg", "data//cat/1.jpg", "data/./cat/1.jpg", "./data/cat/1.jpg", "data/.cat/1.jpg"):
        expected_name = Path(path).relative_to(Path(root)) if Path(path).is_relative_to(Path(root)) else Path(path)
        assert PathInputs([path], Path(root)).name(0) == str(expected_name)
        assert PathInputs([tmp_path / path], tmp_path / root).name(0) == str(expected_name)
    assert PathInputs(["elsewhere/1.jpg"], Path("data")).name(0) == "elsewhere/1.jpg"
    assert PathInputs(["database/1.jpg"], Path("data")).name(0) == "database/1.jpg"
    assert PathInputs(["/1.jpg"], Path("/")).name(0) == "1.jpg"


def test_an_edit_whose_time_was_set_back_is_seen(tmp_path):
    path = write(tmp_path / "a.jpg", b"one")
    assert file_digest(path) == hashlib.sha256(b"one").hexdigest()
    time.sleep(0.02)  # more than a tick of the file system's clock
    write(path, b"two")
    assert file_digest(path) == hashlib.sha256(b"two").hexdigest()

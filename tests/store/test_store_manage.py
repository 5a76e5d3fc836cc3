"""`headstart cache`: what is held is listed, what may go goes, what is damaged is found."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.store import Store, arrays, file_digest
from headstart.store.manage import contents, prune, verify
from headstart.store.size import DEFAULT_LIMIT, format_size, limit, parse_size

pytestmark = pytest.mark.fast

NETWORK = {"kind": "network", "architecture": "resnet18", "revision": "abc", "stage": "pooled"}


def keys(count, first=0):
    return [f"{i:064x}" for i in range(first, first + count)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with vectors, pictures, a digest, a compiled network, and what earlier versions and accidents left."""
    root = tmp_path / "cache"
    monkeypatch.setenv("HEADSTART_CACHE", str(root))
    monkeypatch.setattr(arrays, "SHARD_BYTES", 1600)
    Store(NETWORK, (4,)).put(keys(300), np.ones((300, 4), dtype=np.float32))
    Store({"features": "thumbnails"}, (3, 2), dtype="uint8", kind="examined").put(keys(9), np.ones((9, 3, 2)))
    picture = tmp_path / "1.jpg"
    picture.write_bytes(b"x")
    os.utime(picture, (10**9, 10**9))
    file_digest(picture)
    compiled = root / "compiled" / "0123456789abcdef"
    compiled.mkdir(parents=True)
    (compiled / "about.json").write_text(json.dumps({"architecture": "resnet18"}))
    (compiled / "network.bin").write_bytes(bytes(1000))
    (root / "features").mkdir()
    (root / "features" / "abc.sqlite").write_bytes(bytes(500))
    (root / "features" / "abc.damaged-1").write_bytes(bytes(50))
    (root / "store" / "index.damaged-7").write_bytes(bytes(5))
    return root


def kinds(found):
    return {part.kind for part in found.held}


def test_everything_is_listed(cache):
    found = contents()
    parts = {(part.kind, part.what): part for part in found.held}
    vectors = parts["features", "resnet18 pooled 4 float32"]
    assert (vectors.count, vectors.bytes) == (300, 4800)
    pictures = parts["examined", "thumbnails 3x2 uint8"]
    assert (pictures.count, pictures.bytes) == (9, 54)
    assert abs(vectors.used - arrays.time.time()) < 60
    assert parts["index", "of all arrays"].count == 309
    assert parts["digests", "of files"].count == 1
    assert parts["compiled", "resnet18"].bytes == 1000 + len('{"architecture": "resnet18"}')
    [old] = [part for part in found.held if part.kind == "old"]
    assert (old.count, old.bytes) == (3, 555)
    assert found.arrays == 4854
    assert found.bytes == sum(part.bytes for part in found.held)
    assert (found.folder, found.limit) == (cache, DEFAULT_LIMIT)


def test_an_empty_cache_holds_nothing_and_none_is_made(tmp_path):
    assert contents(tmp_path / "none").held == ()
    assert prune(folder=tmp_path / "none") == 0
    assert prune(everything=True, folder=tmp_path / "none") == 0
    assert verify(tmp_path / "none").arrays == 0
    assert not (tmp_path / "none").exists()


def test_prune_removes_what_was_left_behind_and_nothing_else(cache):
    (space,) = {path.parent for path in (cache / "store").glob("*/*.bin") if path.stem == "1"}
    (space / "99.bin").write_bytes(bytes(70))  # a shard of which the index knows nothing
    (cache / "store" / ("f" * 32)).mkdir()
    assert prune() >= 555 + 70
    assert kinds(contents()) == {"features", "examined", "index", "digests", "compiled"}
    assert not (cache / "features").exists()
    assert not (cache / "store" / ("f" * 32)).exists()
    assert Store(NETWORK, (4,)).get(keys(300))[1].all()
    assert contents().arrays == 4854


def test_prune_to_a_size_removes_the_least_recently_used_first(cache):
    with sqlite3.connect(cache / "store" / "index.sqlite") as connection:
        connection.execute("UPDATE shards SET used = used - 1000 WHERE id = 2")
        connection.execute("UPDATE shards SET used = used - 2000 WHERE id = 1")
    connection.close()
    prune(3500)
    assert contents().arrays == 4854 - 1600
    shelf = Store(NETWORK, (4,))
    assert np.flatnonzero(~shelf.get(keys(300))[1]).tolist() == list(range(100))
    prune(0)
    assert contents().arrays == 0
    assert list((cache / "store").glob("*/*.bin")) == []
    assert kinds(contents()) == {"index", "digests", "compiled"}
    shelf.put(keys(3), np.ones((3, 4), dtype=np.float32))
    assert shelf.get(keys(3))[1].all()


def test_prune_to_the_limit_is_the_default(cache, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", "2K")
    prune()
    assert 0 < contents().arrays <= 2048


def test_prune_all_leaves_nothing(cache):
    assert prune(everything=True) > 6000
    assert {part.kind: part.count for part in contents().held} == {"index": 0, "digests": 0}
    assert not list((cache / "compiled").iterdir())


def test_prune_leaves_what_another_process_is_converting(cache):
    young, old = cache / "compiled" / ".new.abc.tmp", cache / "compiled" / ".old.abc.tmp"
    for place in (young, old):
        place.mkdir()
    os.utime(old, (10**9, 10**9))
    prune()
    assert young.exists()
    assert not old.exists()


def test_a_sound_cache_verifies(cache):
    told = []
    found = verify(progress=lambda *words: told.append(words))
    assert (found.arrays, found.bytes, found.damaged, found.tables) == (309, 4854, 0, ())
    assert told[-1] == (309, 309)


def test_verify_finds_every_damaged_array_and_forgets_it(cache):
    first, second, third, pictures = (next((cache / "store").glob(f"*/{n}.bin")) for n in (1, 2, 3, 4))
    data = bytearray(first.read_bytes())
    data[16 * 7] ^= 1
    data[16 * 90 + 15] ^= 128
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[: 16 * 60 + 5])
    third.unlink()
    assert verify().damaged == 2 + 40 + 100
    found = verify()
    assert (found.arrays, found.damaged) == (309 - 142, 0)
    shelf = Store(NETWORK, (4,))
    assert np.flatnonzero(~shelf.has(keys(300))).tolist() == [7, 90, *range(160, 300)]
    assert pictures.exists()


def test_verify_puts_damaged_tables_aside(cache):
    for name in ("index.sqlite", "digests.sqlite"):
        data = (cache / "store" / name).read_bytes()
        (cache / "store" / name).write_bytes(data[:4096] + b"\xaa" * (len(data) - 4096))
    found = verify()
    assert sorted(found.tables) == ["digests.sqlite", "index.sqlite"]
    assert (found.arrays, found.damaged) == (0, 0)
    assert verify().tables == ()
    Store(NETWORK, (4,)).put(keys(3), np.ones((3, 4), dtype=np.float32))
    assert verify().arrays == 3


def test_a_cache_that_cannot_be_opened_is_said(cache):
    (cache / "store" / "index.sqlite").write_bytes(b"no table " * 1000)
    with pytest.raises(OptionError, match="cache verify"):
        contents()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("123", 123), ("2k", 2048), ("1.5 GiB", 3 * 2**29), ("10MB", 10 * 2**20), ("1T", 2**40)],
)
def test_sizes_are_read(text, size):
    assert parse_size(text, "a size") == size


@pytest.mark.parametrize("text", ["", "-1", "G", "1,5G", "ten", "1P", "nan", "1e3"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(OptionError, match="500M"):
        parse_size(text, "a size")


def test_the_limit_is_the_users(monkeypatch):
    assert limit() == DEFAULT_LIMIT
    monkeypatch.setenv("HEADSTART_CACHE_LIMIT", " 500M ")
    assert limit() == 500 * 2**20
    assert format_size(limit()) == "500.0 MiB"


# -- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch, capsys):
    from headstart.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["headstart", "cache", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return call


def test_the_list_is_a_table_on_stdout(cache, said):
    code, out, _ = said()
    assert code == 0
    assert "resnet18 pooled 4 float32" in out
    assert f"at most {format_size(DEFAULT_LIMIT)}" in out
    assert str(cache) in out
    code, out, _ = said("--json")
    document = json.loads(out)
    assert code == 0
    assert {part["kind"] for part in document["held"]} == {
        "features",
        "examined",
        "index",
        "digests",
        "compiled",
        "old",
    }
    assert (document["arrays"], document["limit"]) == (4854, DEFAULT_LIMIT)


def test_verify_ends_with_0_when_it_mended(cache, said):
    code, out, _ = said("verify")
    assert (code, "309 arrays" in out, "as they were kept" in out) == (0, True, True)
    next((cache / "store").glob("*/1.bin")).unlink()
    code, out, _ = said("verify")
    assert code == 0
    assert "100 of them were damaged" in out


def test_prune_says_what_it_removed(cache, said):
    assert said("prune", "--to", "1K")[:2][0] == 0
    assert contents().arrays <= 1024
    code, out, _ = said("prune", "--all")
    assert code == 0
    assert out.startswith("removed ")
    assert contents().arrays == 0
    code, _, err = said("prune", "--to", "much")
    assert code == 2
    assert "--to of 'much'" in err
    assert said("prune", "--to", "1G", "--all")[0] == 2

"""What the store gave lately is not read again, and is what the store gave."""

import numpy as np
import pytest

from headstart.store import Recent, Store

pytestmark = pytest.mark.fast


def keys(*numbers):
    return [f"{i:064x}" for i in numbers]


@pytest.fixture
def shelf(tmp_path):
    """Ten rows of four floats, 16 bytes each, that took a tenth of their number in seconds."""
    shelf = Store({"network": "made up"}, (4,), folder=tmp_path)
    for i in range(10):
        shelf.put(keys(i), np.full((1, 4), i, dtype=np.float32), i / 10)
    return shelf


@pytest.fixture
def reads(monkeypatch):
    """The keys that were read from the disk, a list for each time."""
    made, get = [], Store.get
    monkeypatch.setattr(Store, "get", lambda self, keys: made.append(list(keys)) or get(self, keys))
    return made


def test_it_gives_what_the_store_gives_and_reads_each_array_once(shelf, reads):
    recent = Recent()
    recent.get(shelf, keys(3, 1))
    arrays, found, seconds = recent.get(shelf, keys(1, 7, 12, 1, 3))
    assert arrays[:, 0].tolist() == [1, 7, 0, 1, 3]
    assert found.tolist() == [True, True, False, True, True]
    assert seconds.tolist() == pytest.approx([0.1, 0.7, 0, 0.1, 0.3])
    assert reads == [keys(3, 1), keys(7, 12)]
    recent.get(shelf, keys(1, 3, 7))
    assert len(reads) == 2
    assert recent.get(shelf, [])[0].shape == (0, 4)


def test_what_was_absent_is_asked_for_again(shelf, reads):
    recent = Recent()
    assert not recent.get(shelf, keys(12))[1].any()
    shelf.put(keys(12), np.full((1, 4), 12, dtype=np.float32), 0.5)
    arrays, found, _ = recent.get(shelf, keys(12))
    assert found.all()
    assert arrays[0, 0] == 12


def test_whoever_asked_may_write_into_it(shelf):
    recent = Recent()
    recent.get(shelf, keys(5))[0][:] = -1
    assert recent.get(shelf, keys(5))[0][0, 0] == 5


def test_what_was_used_longest_ago_is_let_go(shelf, reads, tmp_path):
    other = Store({"network": "another"}, (4,), folder=tmp_path)
    other.put(keys(0, 1), np.zeros((2, 4), dtype=np.float32))
    recent = Recent(limit=5 * 16)
    recent.get(shelf, keys(0, 1, 2))
    recent.get(other, keys(0, 1))
    recent.get(shelf, keys(0, 1, 2, 3))  # six rows are one too many, and those of `other` are the older ones
    reads.clear()
    recent.get(shelf, keys(0, 1, 2, 3))
    assert reads == []
    recent.get(other, keys(0))
    assert reads == [keys(0)]


def test_more_than_may_be_remembered_is_read_each_time_and_nothing_is_forgotten_for_it(shelf, reads):
    recent = Recent(limit=5 * 16)
    recent.get(shelf, keys(0, 1))
    for _ in range(2):
        assert recent.get(shelf, keys(*range(10)))[0][:, 0].tolist() == list(range(10))
    assert len(reads) == 3
    recent.get(shelf, keys(0, 1))
    assert len(reads) == 3

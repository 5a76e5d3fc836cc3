"""Where the time went: every second in exactly one phase, whoever spends it."""

import io
import json
import subprocess
import sys
import threading
import time
import types

import pytest

from headstart import profile

pytestmark = pytest.mark.fast


@pytest.fixture
def tick(monkeypatch):
    """A clock that stands still unless it is told how many seconds go by."""
    now = [100.0]

    def tick(seconds):
        now[0] += seconds

    monkeypatch.setattr(profile, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    return tick


def test_an_inner_phase_is_not_counted_to_the_outer_one(tick):
    with profile.opened() as spent:
        tick(1)
        with profile.phase("train"):
            tick(2)
            with profile.phase("decode"):
                tick(4)
                with profile.phase("store"):
                    tick(8)
                tick(16)
            tick(32)
            with profile.phase("decode"):
                tick(64)
            tick(128)
        tick(256)
    assert spent.seconds == {"train": 162, "decode": 84, "store": 8}
    assert spent.counts == {"train": 1, "decode": 2, "store": 1}
    assert (spent.total, spent.other, spent.threads) == (511, 257, {})
    assert spent.parts() == {"decode": 84, "store": 8, "train": 162, "other": 257}
    assert list(spent.parts()) == ["decode", "store", "train", "other"]


def test_a_phase_inside_itself_is_counted_once(tick):
    with profile.opened() as spent, profile.phase("read"):
        tick(1)
        with profile.phase("read", 5):
            tick(2)
    assert spent.seconds == {"read": 3}
    assert spent.counts == {"read": 6}
    assert spent.other == 0


def test_an_error_ends_the_phases_it_passes(tick):
    def fail():
        with profile.phase("train"), profile.phase("forward"):
            tick(1)
            raise ZeroDivisionError

    with profile.opened() as spent:
        with pytest.raises(ZeroDivisionError):
            fail()
        tick(2)
    assert (spent.seconds, spent.other) == ({"train": 0, "forward": 1}, 2)


def test_seconds_before_the_profile_are_imports_and_part_of_the_total(tick):
    with profile.opened(before=3.0) as spent:
        tick(1)
        with profile.phase("import"):
            tick(4)
    assert spent.seconds == {"import": 7}
    assert (spent.total, spent.other) == (8, 1)


def test_seconds_of_other_threads_are_told_apart_from_the_wall_time(tick):
    def work():
        tick(1)  # idle
        with profile.phase("decode", 10):
            tick(2)
            with profile.phase("store"):
                tick(4)

    with profile.opened() as spent:
        with profile.phase("decode"):
            for _ in range(2):
                thread = threading.Thread(target=work)
                thread.start()
                thread.join()
        tick(8)
    assert spent.seconds == {"decode": 14}
    assert spent.threads == {"decode": 4, "store": 8}
    assert (spent.total, spent.other) == (22, 8)
    assert spent.counts == {"decode": 21, "store": 2}
    document = spent.to_json()
    assert document["phases"] == {"decode": {"seconds": 14, "count": 1}}
    assert document["threads"] == {"decode": {"seconds": 4, "count": 20}, "store": {"seconds": 8, "count": 2}}


def test_threads_at_once_lose_nothing():
    begin = threading.Barrier(8)

    def work():
        begin.wait()
        for _ in range(500):
            with profile.phase("decode"), profile.phase("store", 2):
                pass

    with profile.opened() as spent:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert spent.counts == {"decode": 4000, "store": 8000}
    assert spent.seconds == {}
    assert 0 < sum(spent.threads.values()) < 8 * spent.total


def test_it_can_be_read_while_it_is_open_and_stands_still_afterwards(tick):
    def leaves_late():
        with profile.phase("decode"):
            yield

    with profile.opened() as spent:
        tick(1)
        with profile.phase("train"):
            tick(2)
            assert (spent.total, spent.seconds, spent.other) == (3, {"train": 2}, 1)
            assert spent.parts() == {"train": 2, "other": 1}
            tick(4)
        late = leaves_late()
        next(late)
        tick(8)
    expected = {"train": 6, "decode": 8, "other": 1}
    assert (spent.parts(), spent.total) == (expected, 15)
    tick(16)
    late.close()
    assert (spent.parts(), spent.total) == (expected, 15)


def test_without_a_profile_nothing_is_kept(tick):
    assert profile.current() is None
    with profile.phase("train"):
        tick(1)
        with profile.opened() as spent:
            tick(2)
        assert profile.current() is None
    assert (spent.parts(), spent.total) == ({"other": 2}, 2)
    assert profile.phase("train") is profile.phase("decode")  # nothing is even made


def test_a_profile_inside_another_takes_its_place(tick):
    with profile.opened() as outer, profile.phase("train"):
        tick(1)
        with profile.opened() as inner:
            assert profile.current() is inner
            with profile.phase("decode"):
                tick(2)
        assert profile.current() is outer
        with profile.phase("decode"):
            tick(4)
    assert inner.parts() == {"decode": 2, "other": 0}
    assert outer.parts() == {"decode": 4, "train": 3, "other": 0}
    with pytest.raises(ZeroDivisionError), profile.opened():
        raise ZeroDivisionError
    assert profile.current() is None


def test_it_is_plain_json_that_adds_up(tick):
    with profile.opened(before=0.5) as spent:
        for name, seconds in (("mine", 1), ("report", 2), ("train", 4), ("decode", 8)):
            with profile.phase(name):
                tick(seconds)
        tick(0.25)
        spent.trials.append({"words": "probe on detail"})
    document = json.loads(json.dumps(spent.to_json(), allow_nan=False))
    assert list(document) == ["format", "seconds", "phases", "other", "threads", "trials"]
    assert list(document["phases"]) == ["import", "decode", "train", "report", "mine"]
    assert document["seconds"] == sum(part["seconds"] for part in document["phases"].values()) + document["other"]
    assert document["trials"] == [{"words": "probe on detail"}]


# -- the age of the process --------------------------------------------------------------------------------------


def test_the_process_knows_how_long_ago_it_was_started():
    code = "import time; time.sleep(0.3); from headstart.profile import process_seconds; print(process_seconds())"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    took = time.perf_counter() - began
    tick = 0.011  # Linux tells the start of a process in hundredths of a second, cut off
    assert 0.3 - tick <= float(done.stdout) <= took + tick


def test_where_the_system_does_not_tell_the_processor_seconds_are_taken(monkeypatch):
    fields = "S " + " ".join("0" for _ in range(40))
    monkeypatch.setattr(profile, "open", lambda *a, **k: io.StringIO(f"7 (a) b) {fields}"), raising=False)
    before = time.process_time()
    assert before <= profile.process_seconds() <= time.process_time()

    def absent(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr(profile, "open", absent, raising=False)
    # psutil counts from whole seconds of boot time on Linux, so it is a second off at most.
    told = profile.process_seconds()
    monkeypatch.delattr(profile, "open")
    assert told == pytest.approx(profile.process_seconds(), abs=1.5)

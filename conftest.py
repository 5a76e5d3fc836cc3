"""Lanes: every test stands in exactly one, and a lane that visits nobody fails."""

import gc
import os
from collections.abc import Iterator

import pytest

# Tiny networks: a thread a process is fastest, and two processes share two cores without waiting for one another.
os.environ["OMP_NUM_THREADS"] = "1"

LANES = ("fast", "slow", "gpu", "hub", "bench")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wrong = []
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("fast")
        lanes = [lane for lane in LANES if item.get_closest_marker(lane)]
        if len(lanes) != 1:
            wrong.append(f"{item.nodeid}: {lanes or 'no lane'}")
    if wrong:
        raise pytest.UsageError("every test stands in exactly one lane:\n" + "\n".join(wrong))


def pytest_collection_finish() -> None:
    """Every module is imported by now and stays: to look through all of them for garbage was a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    gc.unfreeze()  # or extension modules complain that nobody collected what is theirs
    if session.testscollected == 0 and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache; tests of one session share one, as runs of one user do."""
    base = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("HEADSTART_CACHE", str(base))


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait until what was written outlives a loss of power is a tenth of the time, and no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True, scope="session")
def _no_long_look_at_speed() -> Iterator[None]:
    """The batch that a compiled network is fastest at is sought for a moment: nothing but seconds hangs on it."""
    from headstart.features import compiled

    speed = compiled.speed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "speed", lambda *arguments, seconds: speed(*arguments, seconds=seconds / 100))
        yield

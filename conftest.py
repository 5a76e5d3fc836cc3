"""Lanes: every test stands in exactly one, and a lane that visits nobody fails."""

import os

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


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
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

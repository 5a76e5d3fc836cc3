"""What two processes do to one another when both make the same file, and what half precision does to large numbers."""

from __future__ import annotations

import sqlite3
import threading

import numpy as np
import pytest

from headstart.store import Store
from headstart.store.database import Database

pytestmark = pytest.mark.fast


def test_whoever_opens_a_file_that_another_is_making_waits(tmp_path):
    path = tmp_path / "index.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE other (x)")
    done = threading.Timer(0.2, lambda: (other.execute("COMMIT"), other.close()))
    done.start()
    try:
        with Database(path, 1, "CREATE TABLE ours (x)").connect() as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    finally:
        done.join()
    assert tables == {"other", "ours"}


def test_numbers_too_large_for_half_precision_stay_finite(tmp_path):
    shelf = Store("space", (3,), dtype="float16", folder=tmp_path)
    shelf.put(["00" * 32], np.array([[1e6, -1e9, 2.0]], dtype=np.float32))
    np.testing.assert_array_equal(shelf.get(["00" * 32])[0], np.array([[65504, -65504, 2]], dtype=np.float16))

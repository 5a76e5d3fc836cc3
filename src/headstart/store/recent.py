"""What the store gave lately, in memory: a run reads an array once, not again in each of its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.store.arrays import Store

LIMIT = 128 * 2**20
"""Bytes that are remembered at most; what was used longest ago is let go first, a whole space at a time."""

_Row = tuple[NDArray[Any], float]


class Recent:
    """Arrays that were read from the store, by space and example, for one process.

    Args:
        limit: bytes that are remembered at most.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._spaces: dict[Path, dict[str, _Row]] = {}  # the most recently used last

    def get(self, shelf: Store, keys: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.float64]]:
        """What `shelf.get(keys)` returns; only what is not remembered is read."""
        rows = self._spaces.get(shelf.folder, {})
        missing = [key for key in dict.fromkeys(keys) if key not in rows]
        if len(missing) * math.prod(shelf.shape) * shelf.dtype.itemsize > self._limit:
            return shelf.get(keys)
        if missing:
            arrays, have, seconds = shelf.get(missing)
            rows |= {key: (arrays[i], float(seconds[i])) for i, key in enumerate(missing) if have[i]}
        self._keep(shelf, rows)
        nothing = (np.zeros(shelf.shape, dtype=shelf.dtype), 0.0)
        held = [rows.get(key, nothing) for key in keys]
        # A copy: whoever asked may write into what it was given.
        arrays = np.stack([array for array, _ in held]) if held else np.zeros((0, *shelf.shape), dtype=shelf.dtype)
        have = np.array([key in rows for key in keys], dtype=bool)
        return arrays, have, np.array([cost for _, cost in held], dtype=np.float64)

    def _keep(self, shelf: Store, rows: dict[str, _Row]) -> None:
        self._spaces.pop(shelf.folder, None)
        self._spaces[shelf.folder] = rows
        while self._spaces and sum(map(_bytes, self._spaces.values())) > self._limit:
            self._spaces.pop(next(iter(self._spaces)))


def _bytes(rows: dict[str, _Row]) -> int:
    return len(rows) * next(iter(rows.values()))[0].nbytes if rows else 0

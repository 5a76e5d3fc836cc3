"""The Seal: it holds the test labels, and only judge opens it, once per finalist, on the record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headstart.errors import SealError
from headstart.target.inputs import Inputs
from headstart.target.split import folds, stratified_sample


class Seal:
    """A sealed test split. Its inputs can be predicted on; its labels cannot be seen without leaving a trace.

    The labels live in a closure, not in an attribute: no strategy can reach them by accident, and a Seal cannot be
    pickled with them inside.

    Args:
        inputs: the test inputs, N of them.
        labels: (N,) int64, positions in the target's classes.
        groups: (N,) int64 or None; :meth:`parts` keeps them whole.
    """

    def __init__(self, inputs: Inputs, labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> None:
        if len(inputs) != len(labels):
            raise ValueError(f"{len(inputs)} test inputs but {len(labels)} labels")
        self.inputs, self.groups = inputs, groups
        self.opened: list[str] = []
        held = np.array(labels, dtype=np.int64)
        self.digest = hashlib.sha256(held.tobytes()).hexdigest()
        self._reveal: Callable[[], NDArray[np.int64]] = lambda: held.copy()

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        return f"Seal({len(self)} test examples, opened for {self.opened or 'nobody'})"

    def __reduce__(self) -> str:
        raise SealError("a Seal does not leave its process: send its `inputs`, and open it where judge runs")

    def take(self, index: NDArray[np.int64]) -> Seal:
        """A seal over a part of the test split (chosen without looking at predictions)."""
        groups = None if self.groups is None else self.groups[index]
        return Seal(self.inputs.take(index), self._reveal()[index], groups)

    def without(self, index: NDArray[np.int64]) -> Seal | None:
        """A seal without the examples at `index`; None where a class would have none left."""
        kept = np.setdiff1d(np.arange(len(self)), index)
        labels = self._reveal()
        return self.take(kept) if len(np.unique(labels[kept])) == len(np.unique(labels)) else None

    def sample(self, size: int, *, seed: int) -> Seal:
        """A seal over a stratified sample of `size` test examples (all of them where `size` is larger)."""
        return self.take(stratified_sample(self._reveal(), size, seed=seed))

    def parts(self, most: int, *, seed: int) -> list[Seal]:
        """Seals over parts of the test split that have no example and no group in common, stratified by class.

        Args:
            most: so many parts, or the largest number below it at which each part has examples of every class.
            seed: the same seed gives the same parts.
        """
        labels = self._reveal()
        present = len(np.unique(labels))
        for k in range(min(most, int(np.unique(labels, return_counts=True)[1].min())), 1, -1):
            found = folds(labels, k, seed=seed, groups=self.groups)
            if all(len(np.unique(labels[part])) == present for part in found):
                return [self.take(part) for part in found]
        return [self]

    def open(self, finalist: str, record: Callable[[str, NDArray[np.int64]], None]) -> NDArray[np.int64]:
        """The test labels, for judging one finalist. `record` is called first, so that no opening goes unwritten.

        Args:
            finalist: the key of the finalist whose predictions will be compared.
            record: writes the opening into the ledger; called as `record(finalist, labels)`.

        Raises:
            SealError: it was opened for this finalist before.
        """
        if finalist in self.opened:
            raise SealError(f"the sealed test set was already opened for {finalist}")
        labels = self._reveal()
        record(finalist, labels)
        self.opened.append(finalist)
        return labels

"""A domain: inputs of one distribution, with labels or without. Two of them are what a shift is between."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import Problem, TargetError
from headstart.target.folder import read_flat
from headstart.target.hygiene import Progress
from headstart.target.inputs import Index, Inputs, as_inputs, joined
from headstart.target.modality import modality_of
from headstart.target.raw import Columns, Raw
from headstart.target.readers import READERS
from headstart.target.table import TABLES, read_table

FEWEST = 20
"""With fewer examples of a domain there is nothing to test, or to adapt to."""


@dataclass(frozen=True)
class Domain:
    """Inputs of one distribution.

    Args:
        name: what it is called.
        inputs: N inputs that can be read.
        labels: N labels, None where there is none.
        unreadable: (name, reason) of what was left out.
    """

    name: str
    inputs: Inputs
    labels: tuple[str | None, ...]
    unreadable: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def modality(self) -> str:
        """What its examples are made of: `image` or `text`."""
        return self.inputs.modality

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted by name."""
        return tuple(sorted({label for label in self.labels if label is not None}))

    @property
    def labelled(self) -> int:
        """How many examples have a label."""
        return sum(label is not None for label in self.labels)

    def codes(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """(N,) positions of the labels in `classes`; -1 where there is no label, or one that is not in it."""
        code = {name: at for at, name in enumerate(classes)}
        return np.array([-1 if label is None else code.get(label, -1) for label in self.labels], dtype=np.int64)

    def take(self, index: Index) -> Domain:
        """The examples at `index`, in that order."""
        rows = np.asarray(index, dtype=np.int64)
        return Domain(self.name, self.inputs.take(rows), tuple(self.labels[int(i)] for i in rows), self.unreadable)


def joined_domains(parts: Sequence[Domain]) -> Domain:
    """Several domains as one."""
    inputs = parts[0].inputs
    for part in parts[1:]:
        inputs = joined(inputs, part.inputs)
    labels = tuple(label for part in parts for label in part.labels)
    unreadable = tuple(one for part in parts for one in part.unreadable)
    return Domain(" + ".join(part.name for part in parts), inputs, labels, unreadable)


def shared(one: Domain, other: Domain) -> int:
    """How many examples stand in both, byte for byte."""
    return len(set(one.inputs.digests()) & set(other.inputs.digests()))


def load_domain(
    data: Any,
    *,
    label: str | None = None,
    input: str | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Domain:
    """Read a domain: everything that :func:`~headstart.target.readers.load_target` reads, and the same without labels.

    A split that was given means nothing here: all of its parts are of one domain.

    Args:
        data: as for `load_target`; or a folder of files, a table without a label column, or inputs alone (paths,
            texts, pictures, an array).
        label: the label column of a table; None: guessed, and there may be none.
        input: the column of inputs; None: guessed.
        name: what to call the domain; None: after the data.
        progress: called as `progress(examined, N)`.

    Raises:
        TargetError: it cannot be read, or nothing in it can.
    """
    raw = _read(data, Columns(label, input))
    modality = modality_of(raw.inputs)
    looked = modality.examine(raw.inputs, threads=min(8, os.cpu_count() or 1), progress=progress)
    kept = [i for i in range(len(raw.inputs)) if i not in looked.errors]
    unreadable = (*raw.unreadable, *((raw.inputs.name(i), why) for i, why in sorted(looked.errors.items())))
    called = name or raw.name
    if not kept:
        first = f" ({unreadable[0][0]} {unreadable[0][1]})" if unreadable else ""
        raise TargetError(Problem(f"none of the {modality.many} of {called} can be read{first}", modality.kinds))
    return Domain(called, raw.inputs.take(kept), tuple(raw.labels[i] for i in kept), unreadable)


def _read(data: Any, columns: Columns) -> Raw:
    if isinstance(data, str | Path) and not str(data).startswith("embedded:"):
        path = Path(data).expanduser()
        if path.is_file() and path.suffix.lower() in TABLES:
            return read_table(path, columns, labelled=False)
        if path.is_dir() and (flat := read_flat(path)) is not None:
            return flat
    if isinstance(data, tuple) and len(data) == 2:
        X, y = data
        if y is None:
            data = X
    reader = next((reader for reader in READERS if reader.claims(data)), None)
    if reader is not None:
        return reader.read(data, columns)
    inputs = as_inputs(data)
    return Raw("arrays", inputs, [None] * len(inputs))

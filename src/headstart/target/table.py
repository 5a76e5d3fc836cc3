"""Tables that list pictures: CSV, TSV, JSONL and Parquet, with a column of paths and a column of labels."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.errors import Problem, TargetError, unknown
from headstart.target.image import SUFFIXES
from headstart.target.inputs import PathInputs
from headstart.target.raw import Columns, Raw, Side, as_label, as_labels, as_sides, listed

TABLES = frozenset((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq"))
"""Suffixes of tables."""

LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "y")
"""Columns that are taken for the label, the likeliest first."""

_LOOK_AT = 200  # values of a column that are looked at when it is guessed


def read_table(path: Path, columns: Columns) -> Raw:
    """Read a table of image paths and labels. Paths are relative to the table's folder, or to the working directory.

    A column `split` (train, val, test) is honoured. Rows without a label are unlabelled examples.

    Raises:
        TargetError: the table cannot be read, or a column is missing or cannot be guessed.
    """
    table = _load(path)
    names = list(table)
    rows = len(table[names[0]]) if names else 0
    if not rows:
        raise TargetError(
            Problem(
                f"{path} has no rows", "a header line and a row for each picture", f"check how {path.name} was written"
            )
        )
    problems = [
        unknown(f"{what} column", wanted, names, next=f"name a column of {path.name}")
        for what, wanted in vars(columns).items()
        if wanted is not None and wanted not in table
    ]
    if problems:
        raise TargetError(problems)

    folders = (path.parent, Path.cwd())
    chosen = columns.input or _guess_input(table, folders, exclude={columns.label, columns.group})
    if chosen is None:
        problems.append(
            Problem(
                f"no column of {path} holds image paths (columns: {listed(names, 12)})",
                f"a column of paths relative to {path.parent} or to the working directory",
                "name it with --input COLUMN (input= in Python)",
            )
        )
    split = next((name for name in names if name.casefold() == "split" and name not in vars(columns).values()), None)
    label = columns.label or _guess_label(table, exclude={chosen, columns.group, split})
    if label is None:
        problems.append(
            Problem(
                f"the label column of {path} is not clear (columns: {listed(names, 12)})",
                f"a column named {', '.join(LABEL_NAMES[:3])}, or one other column with few values",
                "name it with --label COLUMN (label= in Python)",
            )
        )
    if problems or chosen is None or label is None:
        raise TargetError(problems)

    blank = [row for row in range(rows) if not str(table[chosen][row] or "").strip()]
    skip = set(blank)
    kept = [row for row in range(rows) if row not in skip]
    paths = [_resolve(str(table[chosen][row]), folders) for row in kept]
    labels = as_labels([table[label][row] for row in kept], f"column {label!r}")
    sides: list[Side] | None = None
    warnings: tuple[str, ...] = ()
    if split is not None:
        sides, warnings = as_sides([str(table[split][row] or "") for row in kept], labels, f"column {split!r}")
    groups = None if columns.group is None else [as_group(table[columns.group][row]) for row in kept]
    return Raw(
        path.stem,
        PathInputs(paths, path.parent),
        labels,
        sides,
        groups,
        unreadable=tuple((f"row {row + 1}", f"has no path in column {chosen!r}") for row in blank),
        warnings=warnings,
    )


def as_group(value: Any) -> str | None:
    """A group as text; any value will do, and a missing one is None."""
    try:
        return as_label(value)
    except (ValueError, OverflowError):
        return str(value)


def _load(path: Path) -> dict[str, Sequence[Any]]:
    """The table's columns."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return _load_parquet(path)
        text = _text(path.read_bytes())
        return _load_lines(text, path) if suffix in (".jsonl", ".ndjson") else _load_csv(text, suffix)
    except OSError as error:
        why = error.strerror or str(error)
        raise TargetError(Problem(f"{path} cannot be read ({why})", "a table that may be read")) from error
    except (csv.Error, ValueError) as error:
        raise TargetError(
            Problem(f"{path} is not a readable {suffix[1:].upper()} table ({error})", "a table with a header line")
        ) from error


def _load_parquet(path: Path) -> dict[str, Sequence[Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        # A plain file handle: names that are not UTF-8 are beyond Arrow's own.
        with path.open("rb") as stream:
            return dict(parquet.read_table(stream).to_pydict())
    except pyarrow.ArrowException as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _text(data: bytes) -> str:
    """Decoded text; bytes that are not UTF-8 are kept as they are, because they may be part of a file's name."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _load_csv(text: str, suffix: str) -> dict[str, Sequence[Any]]:
    header = text.split("\n", 1)[0]
    delimiter = "\t" if suffix == ".tsv" else max(",;\t", key=header.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row))]
    if not rows:
        return {}
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"two columns are named {listed([repr(name) for name in twice])}")
    return {name: [row[at] if at < len(row) else "" for row in rows[1:]] for at, name in enumerate(names)}


def _load_lines(text: str, path: Path) -> dict[str, Sequence[Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is a {type(row).__name__}, not an object")
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _resolve(value: str, folders: Sequence[Path]) -> Path:
    """The file that a table's value means: the first that exists, else the one in the table's folder."""
    for spelled in (value, value.strip(), value.strip().replace("\\", "/")):
        for folder in folders:
            if os.path.lexists(folder / spelled):
                return folder / spelled
    return folders[0] / value.strip()


def _sample(values: Sequence[Any]) -> list[str]:
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    return texts[:: max(1, len(texts) // _LOOK_AT)]


def _guess_input(table: dict[str, Sequence[Any]], folders: Sequence[Path], exclude: set[str | None]) -> str | None:
    """The column whose values are files most often, else one whose values look like image files."""
    best: tuple[float, str | None] = (0.0, None)
    for name, values in table.items():
        if name in exclude or not (sample := _sample(values)):
            continue
        files = sum(_resolve(value, folders).is_file() for value in sample)
        pictures = sum(Path(value).suffix.lower() in SUFFIXES for value in sample)
        share = (files + 0.01 * pictures) / len(sample)
        if share > best[0]:
            best = (share, name)
    return best[1]


def _guess_label(table: dict[str, Sequence[Any]], exclude: set[str | None]) -> str | None:
    """The column with a usual name, else the only other one with few values."""
    rest = [name for name in table if name not in exclude]
    for usual in LABEL_NAMES:
        for name in rest:
            if name.casefold() == usual:
                return name
    few = []
    for name in rest:
        values = [str(value) for value in table[name] if value is not None and str(value).strip()]
        if 1 <= len(set(values)) <= max(2, len(values) // 2):
            few.append(name)
    return few[0] if len(few) == 1 else None

"""Tables: CSV, TSV, JSONL and Parquet, with a column of texts, or of the paths of files, and a column of labels."""

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
from headstart.target.inputs import Inputs, StringInputs, are_pictures, sampled
from headstart.target.modality import IMAGE, MODALITIES, TEXT, Modality
from headstart.target.raw import Columns, Raw, Side, as_label, as_labels, as_sides, listed
from headstart.target.text import repaired

TABLES = frozenset((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq"))
"""Suffixes of tables."""

LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "y")
"""Columns that are taken for the label, the likeliest first."""

TEXT_NAMES = ("text", "sentence", "review", "content", "body", "message", "comment", "question", "document", "title")
"""Columns that are taken for the text, the likeliest first."""

LONGEST_CELL = 1 << 27
"""Characters that a cell of a CSV file may hold (Python's own limit is 131,072, less than a long report)."""


def read_table(path: Path, columns: Columns, *, labelled: bool = True) -> Raw:
    """Read a table of labels and of texts or paths; those are relative to the table's folder or the working directory.

    A column `split` (train, val, test) is honoured. Rows without a label are unlabelled examples; where `labelled` is
    False, so are those of a table without a label column.

    Raises:
        TargetError: the table cannot be read, or a column is missing or cannot be guessed.
    """
    return from_columns(_load(path), path, columns, labelled=labelled)


def read_tables(parts: Sequence[tuple[str, Path]], columns: Columns) -> Raw:
    """Read the parts of a given split from tables with the same columns.

    Args:
        parts: (word for the part, such as `test`; its table).
        columns: which columns mean what.

    Raises:
        TargetError: as :func:`read_table`, or the tables differ in their columns.
    """
    tables = [(word, path, _load(path)) for word, path in parts]
    _, first, whole = tables[0]
    problems = [
        Problem(
            f"{path.name} has the columns {listed(list(table), 12)}; {first.name} has {listed(list(whole), 12)}",
            "the same columns in all parts of a split",
        )
        for _, path, table in tables
        if set(table) != set(whole)
    ]
    if problems:
        raise TargetError(problems)
    sizes = [(word, path.name, len(next(iter(table.values()), ()))) for word, path, table in tables]
    joined: dict[str, Sequence[Any]] = {
        name: [value for _, _, table in tables for value in table[name]] for name in whole if name.casefold() != "split"
    }
    joined["split"] = [word for word, _, size in sizes for _ in range(size)]
    rows = [f"{name} row {row + 1}" for _, name, size in sizes for row in range(size)]
    return from_columns(joined, first.parent, columns, rows)


def from_columns(
    table: dict[str, Sequence[Any]], path: Path, columns: Columns, names: Sequence[str] = (), *, labelled: bool = True
) -> Raw:
    """The examples in a table that was loaded.

    Args:
        table: column -> values.
        path: of the table, or of the folder that holds its parts.
        columns: which columns mean what.
        names: of the rows; empty: `row 1` and so on.
        labelled: there must be a label column.
    """
    heads = list(table)
    rows = len(table[heads[0]]) if heads else 0
    if not rows:
        raise TargetError(
            Problem(
                f"{path} has no rows", "a header line and a row for each example", f"check how {path.name} was written"
            )
        )
    problems = [
        unknown(f"{what} column", wanted, heads, next=f"name a column of {path.name}")
        for what, wanted in vars(columns).items()
        if wanted is not None and wanted not in table
    ]
    if problems:
        raise TargetError(problems)

    folders = (path if path.is_dir() else path.parent, Path.cwd())
    split = next((name for name in heads if name.casefold() == "split" and name not in vars(columns).values()), None)
    chosen, modality, in_files = _find_input(table, folders, columns, {columns.label, columns.group, split})
    if chosen is None:
        problems.append(
            Problem(
                f"no column of {path} holds texts or the paths of pictures (columns: {listed(heads, 12)})",
                f"a column of texts, or of paths relative to {folders[0]} or to the working directory",
                "name it with --input COLUMN (input= in Python)",
            )
        )
    label = columns.label or _guess_label(table, exclude={chosen, columns.group, split})
    if label is None and labelled:
        problems.append(
            Problem(
                f"the label column of {path} is not clear (columns: {listed(heads, 12)})",
                f"a column named {', '.join(LABEL_NAMES[:3])}, or one other column with few values",
                "name it with --label COLUMN (label= in Python)",
            )
        )
    if problems or chosen is None:
        raise TargetError(problems)

    called = names or [f"row {row + 1}" for row in range(rows)]
    cells = ["" if value is None else str(value) for value in table[chosen]]
    kept = [row for row, cell in enumerate(cells) if cell.strip()]
    inputs: Inputs
    warnings: tuple[str, ...] = ()
    if in_files:
        inputs = modality.files([str(_resolve(cells[row], folders)) for row in kept], folders[0])
    else:
        texts, warnings = _texts([cells[row] for row in kept])
        inputs = StringInputs(texts, [called[row] for row in kept])
    labels: list[str | None] = [None] * len(kept)
    if label is not None:
        labels = as_labels([_repaired(table[label][row]) for row in kept], f"column {label!r}")
    sides: list[Side] | None = None
    if split is not None:
        sides, said = as_sides([str(table[split][row] or "") for row in kept], labels, f"column {split!r}")
        warnings += said
    groups = None if columns.group is None else [as_group(table[columns.group][row]) for row in kept]
    what = "path" if in_files else "text"
    return Raw(
        path.stem if not path.is_dir() else path.resolve().name,
        inputs,
        labels,
        sides,
        groups,
        unreadable=tuple(
            (called[row], f"has no {what} in column {chosen!r}") for row in range(rows) if not cells[row].strip()
        ),
        warnings=warnings,
    )


def texts_of(path: Path, column: str | None = None) -> list[str]:
    """The texts in a table, one a row, where there is one empty.

    Args:
        path: of the table.
        column: which column holds them; None: guessed.

    Raises:
        TargetError: the table cannot be read, or the column is missing or cannot be guessed.
    """
    table = _load(path)
    if column is not None and column not in table:
        raise TargetError(unknown("input column", column, table, next=f"name a column of {path.name}"))
    chosen = column or (next(iter(table)) if len(table) == 1 else _guess_text(table, set()))
    if chosen is None:
        raise TargetError(
            Problem(
                f"no column of {path} holds texts (columns: {listed(list(table), 12)})",
                "a column of texts",
                "name it with --input COLUMN",
            )
        )
    return _texts(["" if value is None else str(value) for value in table[chosen]])[0]


def _texts(cells: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Cells as texts, with bytes that were not UTF-8 decoded, and what is to be said about that."""
    texts = [repaired(cell) for cell in cells]
    foreign = sum(text is not cell for text, cell in zip(texts, cells, strict=True))
    if not foreign:
        return texts, ()
    which = "1 text is" if foreign == 1 else f"{foreign} texts are"
    return texts, (f"{which} not in UTF-8, and taken for Windows-1252 (Latin-1).",)


def _repaired(value: Any) -> Any:
    return repaired(value) if isinstance(value, str) else value


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
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
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


def _sample(values: Sequence[Any]) -> Sequence[str]:
    return sampled([value for value in values if isinstance(value, str) and value.strip()])


def _find_input(
    table: dict[str, Sequence[Any]], folders: Sequence[Path], columns: Columns, taken: set[str | None]
) -> tuple[str | None, Modality, bool]:
    """The column of inputs, what they are, and whether they are in files that the column names.

    The column whose values are files most often, or look like picture files; else the column of texts.
    """
    best: tuple[float, str | None, Modality] = (0.0, None, IMAGE)
    for name in table if columns.input is None else [columns.input]:
        if name in taken or not (sample := _sample(table[name])):
            continue
        for modality in MODALITIES.values():
            share = _share_of_files(sample, modality, folders)
            if share >= 0.5 and share > best[0]:
                best = (share, name, modality)
    if best[1] is not None:
        return best[1], best[2], True
    return columns.input or _guess_text(table, taken), TEXT, False


def _share_of_files(sample: Sequence[str], modality: Modality, folders: Sequence[Path]) -> float:
    """The share of values that name files of a modality; slightly more where those exist.

    A value that ends like a picture's name is one, though the picture may be missing; text files must be there, or a
    text that speaks of `notes.txt` would be one. Files without a known suffix are tried as pictures.
    """
    ends = [value for value in sample if _suffix(value) in modality.suffixes]
    if modality is IMAGE:
        others = frozenset[str]().union(*(other.suffixes for other in MODALITIES.values() if other is not IMAGE))
        files = [value for value in sample if _suffix(value) not in others and _is_file(value, folders)]
    else:
        files = [value for value in ends if _is_file(value, folders)]
        ends = []
    return (max(len(ends), len(files)) + 0.01 * len(files)) / len(sample)


def _suffix(value: str) -> str:
    """The suffix of what may be a path; texts with several lines are none."""
    return "" if "\n" in value else os.path.splitext(value.strip())[1].lower()


def _is_file(value: str, folders: Sequence[Path]) -> bool:
    try:
        return len(value) <= 4096 and _resolve(value, folders).is_file()
    except (OSError, ValueError):  # longer than names can be, or with a null byte
        return False


def _guess_text(table: dict[str, Sequence[Any]], taken: set[str | None]) -> str | None:
    """The column with a usual name that holds text, else the one with the longest texts, if those are of words."""
    rest = {name: _sample(values) for name, values in table.items() if name not in taken}
    for usual in TEXT_NAMES:
        for name, sample in rest.items():
            if name.casefold() == usual and sample:
                return name
    words = {
        name: sum(len(value.split()) for value in sample) / len(sample)
        for name, sample in rest.items()
        if sample and name.casefold() not in LABEL_NAMES and not are_pictures(sample)
    }
    longest = max(words, key=lambda name: words[name], default=None)
    return longest if longest is not None and words[longest] >= 2 else None


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

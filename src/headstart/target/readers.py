"""Reading a target: a reader for every kind of data turns it into one Raw, and one function does the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import OptionError, Problem, TargetError, unknown
from headstart.target.assemble import assemble
from headstart.target.embedded import EMBEDDED
from headstart.target.folder import read_folder
from headstart.target.hygiene import Progress
from headstart.target.inputs import DatasetInputs, Inputs, StringInputs, as_inputs
from headstart.target.raw import Columns, Raw, Side, as_labels, as_sides, listed
from headstart.target.table import TABLES, TEXT_NAMES, as_group, read_table
from headstart.target.target import Target


@dataclass(frozen=True)
class Reader:
    """A kind of data that can be read.

    Args:
        name: what it is called in messages.
        claims: whether some data is of this kind.
        read: turns such data into a :class:`~headstart.target.raw.Raw`.
    """

    name: str
    claims: Callable[[Any], bool]
    read: Callable[[Any, Columns], Raw]


def load_target(
    data: Any,
    *,
    label: str | None = None,
    input: str | None = None,
    group: str | Sequence[Any] | None = None,
    test_fraction: float = 0.25,
    seed: int = 0,
    name: str | None = None,
    progress: Progress | None = None,
) -> Target:
    """Read a target: leave out what cannot be used, say so, and seal what it will be judged on.

    Args:
        data: a folder (`root/class/*` or `root/{train,val,test}/class/*`); a CSV, TSV, JSONL or Parquet file with a
            column of texts or of the paths of pictures; a pair `(X, y)` of pictures, texts or paths and labels; a
            Hugging Face `Dataset` or `DatasetDict`; or `embedded:pictograms` or `embedded:digits`.
        label: the label column, where there are columns; None: guessed.
        input: the column of pictures or texts, where there are columns; None: guessed.
        group: the column of groups (for `(X, y)`: N groups); examples of one group never stand on both sides.
        test_fraction: how much to seal where no split was given.
        seed: for the split.
        name: what to call the target; None: after the data.
        progress: called as `progress(examined, N)` while the inputs are examined.

    Raises:
        TargetError: the data cannot be read, or there is too little of it; every reason at once.
        OptionError: an option is wrong.
    """
    groups: Sequence[Any] | None = None
    if group is not None and not isinstance(group, str):
        groups, group = list(group), None
    reader = next((reader for reader in READERS if reader.claims(data)), None)
    if reader is None:
        raise TargetError(
            Problem(
                f"a {type(data).__name__} as data",
                f"one of: {'; '.join(reader.name for reader in READERS)}",
                "give the path of a folder, or the pair (X, y)",
            )
        )
    raw = reader.read(data, Columns(label, input, group))
    if groups is not None:
        if len(groups) != len(raw.labels):
            raise OptionError(
                Problem(f"{len(groups)} groups for {len(raw.labels)} examples", "a group for each example")
            )
        raw = _replace(raw, groups=[as_group(value) for value in groups])
    if name is not None:
        raw = _replace(raw, name=name)
    target = assemble(raw, test_fraction=test_fraction, seed=seed, progress=progress)
    if not isinstance(data, str | Path) or groups is not None:
        return target
    embedded = isinstance(data, str) and data.startswith("embedded:")
    where = str(data) if embedded else str(Path(data).expanduser().absolute())
    columns = {"label": label, "input": input, "group": group}
    return replace(
        target, origin={"data": where, **columns, "test_fraction": test_fraction, "seed": seed, "name": name}
    )


def _replace(raw: Raw, **changes: Any) -> Raw:
    return Raw(**{**vars(raw), **changes})


def _read_path(data: str | Path, columns: Columns) -> Raw:
    path = Path(data).expanduser()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:
        raise TargetError(
            Problem(f"{str(data)!r} cannot be looked at ({error})", "the path of a folder or table")
        ) from error
    if is_folder:
        return read_folder(path, columns)
    suffix = path.suffix.lower()
    if not is_file:
        raise TargetError(_absent(path))
    if suffix in TABLES:
        return read_table(path, columns)
    archive = suffix in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
    raise TargetError(
        Problem(
            f"{path} is neither a folder nor a table",
            f"a folder with a folder for each class, or a {', '.join(sorted(TABLES))} file",
            f"unpack {path.name} and give the folder" if archive else "give the folder that holds the class folders",
        )
    )


def _absent(path: Path) -> Problem:
    try:
        close = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    except OSError:
        close = []
    hint = f" (did you mean {str(path.parent / close[0])!r}?)" if close else ""
    return Problem(
        f"{path} does not exist{hint}",
        "the path of a folder with a folder for each class, or of a table",
        f"check the path; the working directory is {Path.cwd()}",
    )


def _read_pair(data: tuple[Any, Any], columns: Columns) -> Raw:
    _no_columns(columns, "a pair (X, y) has no columns")
    inputs = as_inputs(data[0])
    labels = np.asarray(data[1]) if not isinstance(data[1], list | tuple) else data[1]
    if len(inputs) != len(labels):
        raise TargetError(
            Problem(f"{len(inputs)} examples in X but {len(labels)} labels in y", "as many labels as examples")
        )
    if not len(inputs):
        raise TargetError(Problem("X and y are empty", "at least two examples of two classes"))
    return Raw("arrays", inputs, as_labels(list(labels), "y"))


def _no_columns(columns: Columns, why: str) -> None:
    named = [f"{key}={value!r}" for key, value in vars(columns).items() if value is not None]
    if named:
        raise OptionError(Problem(f"{', '.join(named)}, but {why}", "no column names", "leave the option out"))


def _read_embedded(data: str, columns: Columns) -> Raw:
    _no_columns(columns, "embedded data has no columns")
    chosen = str(data).partition(":")[2]
    if chosen not in EMBEDDED:
        raise TargetError(unknown("embedded data set", chosen, EMBEDDED))
    return EMBEDDED[chosen]()


def _is_dataset(data: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "datasets" for kind in type(data).__mro__)


def _read_dataset(data: Any, columns: Columns) -> Raw:
    """A Hugging Face `Dataset` or `DatasetDict`: the columns of inputs and of labels are found from their types."""
    import datasets

    warnings: tuple[str, ...] = ()
    sides: list[Side] | None = None
    if isinstance(data, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise TargetError(
            Problem("a streamed data set", "one that can be read in any order", "load it with streaming=False")
        )
    words: list[str] = []
    names: list[str] | None = None
    if isinstance(data, datasets.DatasetDict):
        if not data:
            raise TargetError(Problem("an empty DatasetDict", "at least a train split"))
        words = [part for part, rows in data.items() for _ in range(len(rows))]
        names = [f"{part}[{row}]" for part, rows in data.items() for row in range(len(rows))]
        data = datasets.concatenate_datasets(list(data.values()))
    features = data.features
    problems = [
        unknown(f"{what} column", wanted, features)
        for what, wanted in vars(columns).items()
        if wanted is not None and wanted not in features
    ]
    if problems:
        raise TargetError(problems)
    pictures = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    texts = [name for name, feature in features.items() if getattr(feature, "dtype", "") in ("string", "large_string")]
    kinds = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    usual = [name for name in ("label", "labels", "class", "category", "target") if name in features]
    label = columns.label or (kinds[0] if len(kinds) == 1 else usual[0] if usual and not kinds else None)
    chosen = columns.input or _clear(pictures, texts, label)
    found = f"(columns: {listed(list(features), 12)})"
    if chosen is None or chosen not in (*pictures, *texts):
        expected = "one column of type Image, or one of texts"
        problems.append(Problem(f"the input column is not clear {found}", expected, "name it with input="))
    if label is None:
        problems.append(
            Problem(f"the label column is not clear {found}", "one ClassLabel column", "name it with label=")
        )
    if problems or chosen is None or label is None:
        raise TargetError(problems)

    values = data.with_format(None).select_columns([label])[:][label]
    kind = features[label]
    if isinstance(kind, datasets.ClassLabel):
        # Hubs mark a test split without labels by -1.
        values = [None if value is None or value < 0 else kind.int2str(value) for value in values]
    labels = as_labels(values, f"column {label!r}")
    if words:
        sides, warnings = as_sides(words, labels, "the DatasetDict")
    groups = None
    if columns.group is not None:
        groups = [as_group(value) for value in data.with_format(None).select_columns([columns.group])[:][columns.group]]
    one = data.with_format(None).select_columns([chosen])
    inputs: Inputs
    if chosen in pictures:
        encoded = one.cast_column(chosen, datasets.Image(decode=False))
        inputs = DatasetInputs(encoded, chosen, np.arange(len(labels)), names)
    else:
        called = names or [f"row {row}" for row in range(len(labels))]
        inputs = StringInputs([cell or "" for cell in one[:][chosen]], called)
    return Raw("dataset", inputs, labels, sides, groups, warnings=warnings)


def _clear(pictures: list[str], texts: list[str], label: str | None) -> str | None:
    """The column of inputs: the only one of pictures; else of those of texts the likeliest by name, or the only one."""
    if pictures:
        return pictures[0] if len(pictures) == 1 else None
    rest = [name for name in texts if name != label]
    usual = [name for likely in TEXT_NAMES for name in rest if name.casefold() == likely]
    return usual[0] if usual else rest[0] if len(rest) == 1 else None


READERS: tuple[Reader, ...] = (
    Reader("embedded data", lambda data: isinstance(data, str) and data.startswith("embedded:"), _read_embedded),
    Reader("a folder or table", lambda data: isinstance(data, str | Path), _read_path),
    Reader("a pair (X, y)", lambda data: isinstance(data, tuple) and len(data) == 2, _read_pair),
    Reader("a Hugging Face Dataset or DatasetDict", _is_dataset, _read_dataset),
)
"""Every kind of data that can be read; the first that claims the data reads it."""

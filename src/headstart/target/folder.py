"""Folders of pictures or of texts: `root/class/*`, or `root/{train,val,test}/class/*`."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from headstart.errors import OptionError, Problem, TargetError
from headstart.target.inputs import PathInputs
from headstart.target.modality import IMAGE, MODALITIES, Modality
from headstart.target.raw import SIDES, Columns, Raw, Side, as_label, as_sides, listed
from headstart.target.table import TABLES, read_table, read_tables

UNLABELLED = ("unlabelled", "unlabeled")
"""A folder of this name beside the parts of a split holds examples without labels."""

LOOK_AT = 1_000
"""So many files are looked at to find out whether a folder holds pictures or texts."""

_JUNK = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir"))


class _Walk:
    """Collects files of one modality under folders, and says what it could not use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modality: Modality = IMAGE
        self.paths: list[str] = []
        self.labels: list[str | None] = []
        self.words: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        self.ignored: list[str] = []

    def name(self, path: str) -> str:
        return PathInputs([path], self.root).name(0)

    def entries(self, folder: str | Path) -> list[os.DirEntry[str]]:
        """What lies in a folder, by name, without hidden things and the litter of file managers."""
        try:
            with os.scandir(folder) as entries:
                found = [e for e in entries if not e.name.startswith(".") and e.name.casefold() not in _JUNK]
        except OSError as error:
            self.unreadable.append((self.name(str(folder)), f"cannot be listed ({error.strerror})"))
            return []
        return sorted(found, key=lambda entry: entry.name)

    def files(self, folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
        """Every file under a folder; `seen` holds the folders that were entered, so that links cannot go round."""
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        for entry in self.entries(folder):
            if _is_folder(entry):
                yield from self.files(entry.path, seen)
            else:
                yield entry.path

    def add(self, folder: str, label: str | None, word: str) -> int:
        """Take all files of the modality under a folder; returns how many there are."""
        before = len(self.paths)
        for path in self.files(folder, self.seen()):
            self.add_file(path, label, word)
        return len(self.paths) - before

    def seen(self) -> set[tuple[int, int]]:
        """What :meth:`files` must not enter again: the root."""
        root = os.stat(self.root)
        return {(root.st_dev, root.st_ino)}

    def settle(self, folders: list[os.DirEntry[str]]) -> None:
        """Find out what there is most of, pictures or texts: the first files of every folder tell."""
        found: Counter[str] = Counter()
        unreadable = list(self.unreadable)
        for folder in folders:
            for path in itertools.islice(self.files(folder.path, self.seen()), max(20, LOOK_AT // len(folders))):
                suffix = os.path.splitext(path)[1].lower()
                found.update(m.name for m in MODALITIES.values() if suffix in m.suffixes | m.unsupported)
        self.unreadable = unreadable  # the walk itself will say so
        if found:
            self.modality = MODALITIES[found.most_common(1)[0][0]]

    def add_file(self, path: str, label: str | None, word: str) -> None:
        """Take one file, if it is of the modality."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix in self.modality.suffixes:
            self.paths.append(path)
            self.labels.append(label)
            self.words.append(word)
        elif suffix in self.modality.unsupported:
            why = f"is {suffix[1:].upper()}, which is not supported ({self.modality.convert})"
            self.unreadable.append((self.name(path), why))
        else:
            self.ignored.append(self.name(path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def read_folder(root: Path, columns: Columns) -> Raw:
    """Read `root/class/*` or `root/{train,val|valid|validation,test}/class/*`; class folders may be nested.

    A folder without class folders, with tables called `train.csv` and `test.csv` (or as the parts of a split are
    called otherwise, and of the other kinds of tables), is a table with a given split; with a single table, that table.

    Raises:
        TargetError: there are no pictures or texts, no class folders, or the parts of the split have different classes.
        OptionError: a column was named; folders have none.
    """
    if tables := _tables(root):
        return read_tables(tables, columns) if len(tables) > 1 else read_table(tables[0][1], columns)
    named = {key: value for key, value in vars(columns).items() if value is not None}
    if named:
        options = ", ".join(f"{key} {value!r}" for key, value in named.items())
        raise OptionError(
            Problem(
                f"{options} names a column, but {root} is a folder",
                "a CSV, TSV, JSONL or Parquet file where columns are named",
                "leave the option out, or list the files in a table",
            )
        )
    walk = _Walk(root)
    entries = walk.entries(root)
    if walk.unreadable:
        raise TargetError(Problem(f"the folder {root} {walk.unreadable[0][1]}", "a folder that may be read"))
    folders = [entry for entry in entries if _is_folder(entry)]
    files = [entry for entry in entries if not _is_folder(entry)]

    walk.settle(folders)
    parts = _parts(walk, folders)
    warnings: tuple[str, ...] = ()
    sides: list[Side] | None = None
    if parts is None:
        for folder in folders:
            walk.add(folder.path, as_label(folder.name), "train")
    else:
        warnings = _read_parts(walk, root, parts, folders)
    loose = [entry.path for entry in files if os.path.splitext(entry.name)[1].lower() in walk.modality.suffixes]
    walk.ignored.extend(walk.name(entry.path) for entry in files)
    _refuse_empty(walk, root, folders, loose)
    if parts is None:
        _refuse_nested(walk, root, folders)
    else:
        sides, said = as_sides(walk.words, walk.labels, str(root))
        warnings += said
    if loose:
        warnings += (f"{len(loose)} {walk.modality.many} lie beside the class folders and were ignored.",)
    return Raw(
        root.resolve().name,
        walk.modality.files(walk.paths, root),
        walk.labels,
        sides,
        unreadable=tuple(dict.fromkeys(walk.unreadable)),
        ignored=tuple(sorted(walk.ignored)),
        warnings=warnings,
    )


def read_flat(root: Path) -> Raw | None:
    """Read a folder of files without labels: those of the modality that most files are of.

    None where the folder holds folders (hidden ones aside) or a table: then it is no flat folder.
    """
    walk = _Walk(root)
    entries = walk.entries(root)
    if not entries or any(map(_is_folder, entries)) or _tables(root):
        return None
    suffixes = [os.path.splitext(entry.name)[1].lower() for entry in entries]
    most = Counter(m.name for m in MODALITIES.values() for suffix in suffixes if suffix in m.suffixes).most_common(1)
    if not most:
        return None
    walk.modality = MODALITIES[most[0][0]]
    for entry in entries:
        walk.add_file(entry.path, None, "train")
    return Raw(
        root.resolve().name,
        walk.modality.files(walk.paths, root),
        walk.labels,
        unreadable=tuple(walk.unreadable),
        ignored=tuple(sorted(walk.ignored)),
    )


def _tables(root: Path) -> list[tuple[str, Path]]:
    """The one table of a folder without folders, or those named after the parts of a split, training part first."""
    try:
        with os.scandir(root) as entries:
            visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError:  # said when it is walked
        return []
    if any(map(_is_folder, visible)):
        return []
    stems = [(*os.path.splitext(entry.name), entry) for entry in visible]
    found = [(stem, Path(e.path)) for stem, end, e in stems if stem.casefold() in SIDES and end.lower() in TABLES]
    sides = [SIDES[stem.casefold()] for stem, _ in found]
    if len(set(sides)) < len(sides) or "train" not in sides:
        every = [Path(e.path) for _, end, e in stems if end.lower() in TABLES]
        return [("train", every[0])] if len(every) == 1 and not found else []
    return sorted(found, key=lambda part: ("train", "validation", "test").index(SIDES[part[0].casefold()]))


def _parts(walk: _Walk, folders: list[os.DirEntry[str]]) -> dict[Side, os.DirEntry[str]] | None:
    """The folders that are parts of a given split, or None where the folders are classes."""
    named = [folder for folder in folders if folder.name.casefold() in SIDES]
    if not any(SIDES[f.name.casefold()] == "train" and any(map(_is_folder, walk.entries(f.path))) for f in named):
        return None
    others = [f.name for f in folders if f not in named and f.name.casefold() not in UNLABELLED]
    if len(named) == 1 and others:
        return None  # `train` is then a class, beside `bus` and `plane`
    parts: dict[Side, os.DirEntry[str]] = {}
    for folder in named:
        side = SIDES[folder.name.casefold()]
        if side in parts:
            raise TargetError(
                Problem(
                    f"both {parts[side].name}/ and {folder.name}/ in {walk.root}",
                    "one folder for each part of the split",
                    f"merge them, or move {folder.name}/ elsewhere",
                )
            )
        parts[side] = folder
    return parts


def _read_parts(
    walk: _Walk, root: Path, parts: dict[Side, os.DirEntry[str]], folders: list[os.DirEntry[str]]
) -> tuple[str, ...]:
    """Take the files of a given split; returns what is to be said about it."""
    said: list[str] = []
    classes: dict[str, set[str]] = {}
    for side, part in parts.items():
        inside = walk.entries(part.path)
        labelled = [entry for entry in inside if _is_folder(entry)]
        found: set[str] = set()
        for folder in labelled:
            label = as_label(folder.name)
            if walk.add(folder.path, label, side):
                found.add(str(label))
        if not labelled and inside:
            # As in many competitions: the test examples come without their labels.
            said.append(f"{part.name}/ has no class folders, so its {walk.modality.many} are taken as unlabelled.")
            walk.add(part.path, None, side)
            continue
        walk.ignored.extend(walk.name(entry.path) for entry in inside if entry not in labelled)
        if found:
            classes[part.name] = found
    every = set().union(*classes.values()) if classes else set()
    lacking = {part: sorted(every - found) for part, found in classes.items() if found != every}
    if lacking:
        raise TargetError(
            Problem(
                f"no {walk.modality.many} of {listed([repr(name) for name in missing])} in {root.name}/{part}/",
                f"the same classes in {' and '.join(f'{name}/' for name in classes)}",
                "add examples, take these classes out of the other parts, or merge the parts to have a split made",
            )
            for part, missing in lacking.items()
        )
    used = {part.name for part in parts.values()}
    for folder in folders:
        if folder.name.casefold() in UNLABELLED:
            walk.add(folder.path, None, "train")
        elif folder.name not in used:
            walk.ignored.append(f"{folder.name}/")
            said.append(f"{folder.name}/ stands beside the parts of the split and was ignored.")
    return tuple(said)


def _refuse_empty(walk: _Walk, root: Path, folders: list[os.DirEntry[str]], loose: list[str]) -> None:
    if walk.paths:
        return
    many = walk.modality.many
    if tables := [name for name in walk.ignored if os.path.splitext(name)[1].lower() in TABLES]:
        raise TargetError(
            Problem(
                f"{len(tables)} tables in {root}: {listed(sorted(tables))}",
                "one table, or tables called train and test",
                f"give the one that is meant, such as {root / min(tables)}",
            )
        )
    if loose:
        found = f"{len(loose)} {many} in {root}, but none in a class folder"
    elif walk.unreadable:
        found = f"no {many} that can be read in {root} ({listed([f'{n} {why}' for n, why in walk.unreadable], 3)})"
    elif folders or walk.ignored:
        found = f"no {many} in {root} ({len(folders)} folders, {len(walk.ignored)} other files)"
    else:
        found = f"the folder {root} is empty"
    raise TargetError(
        Problem(
            found,
            "a folder for each class with pictures or .txt files in it, such as cats/1.jpg and dogs/1.jpg",
            f"sort the {many} into folders named after their classes, or list them in a CSV with a label column",
        )
    )


def _refuse_nested(walk: _Walk, root: Path, folders: list[os.DirEntry[str]]) -> None:
    """One folder that holds the class folders is a likely mistake; say so."""
    if len(set(walk.labels)) > 1:
        return
    inside = [entry.name for entry in walk.entries(folders[0].path) if _is_folder(entry)] if len(folders) == 1 else []
    if len(inside) > 1:
        raise TargetError(
            Problem(
                f"{root} has a single class folder, {folders[0].name}/, which holds the folders {listed(inside)}",
                "at least two class folders",
                f"if those are the classes, give {root / folders[0].name} instead",
            )
        )

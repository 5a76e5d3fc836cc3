"""Raw: what every reader turns its data into, before anything is decoded, judged or divided."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headstart.errors import Problem, TargetError
from headstart.target.inputs import Inputs, printable

Side = Literal["train", "validation", "test"]

SIDES: dict[str, Side] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""What people call the parts of a split, and what they are here."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what; None: to be guessed (`group`: there is none)."""

    label: str | None = None
    input: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Raw:
    """Data as it was read.

    Args:
        name: what the target is called.
        inputs: N inputs, not decoded yet.
        labels: N labels; None where the label is missing.
        sides: the side of each input in the split that was given; None: no split was given.
        groups: a group for each input (None: a group of its own), or None.
        unreadable: (name, reason) of what the reader could not even list.
        ignored: names of what is no part of the data.
        warnings: plain sentences.
    """

    name: str
    inputs: Inputs
    labels: Sequence[str | None]
    sides: Sequence[Side] | None = None
    groups: Sequence[str | None] | None = None
    unreadable: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def as_label(value: Any) -> str | None:
    """A label as text: `True`, 3, 3.0 and `cat` become "True", "3", "3" and "cat"; None, NaN and blanks become None.

    Raises:
        ValueError: it is neither text nor a whole number.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        # Names from disks of different makers spell the same letter differently.
        text = printable(unicodedata.normalize("NFC", value)).strip()
        return text or None
    if isinstance(value, int | float):
        if math.isnan(value):
            return None
        if value == int(value):
            return str(value) if isinstance(value, bool) else str(int(value))
        raise ValueError(f"{value} is not a whole number")
    raise ValueError(f"a {type(value).__name__} is not a label")


def as_labels(values: Sequence[Any], where: str) -> list[str | None]:
    """:func:`as_label` of every value.

    Args:
        values: the labels as they were read.
        where: what they are called in messages.

    Raises:
        TargetError: some are neither text nor whole numbers.
    """
    labels: list[str | None] = []
    wrong: list[str] = []
    for row, value in enumerate(values):
        try:
            labels.append(as_label(value))
        except (ValueError, OverflowError) as error:
            wrong.append(f"row {row + 1}: {error}")
    if wrong:
        raise TargetError(
            Problem(
                f"{len(wrong)} of {len(values)} labels in {where} name no class ({listed(wrong, 3)})",
                "one class per example, as text or a whole number",
                "give another label column, or put numbers into classes first",
            )
        )
    return labels


def as_sides(
    words: Sequence[str], labels: Sequence[str | None], where: str
) -> tuple[list[Side] | None, tuple[str, ...]]:
    """What each example's word for its part of the split means, and what is to be said about it.

    A part without any label, as competitions publish their test parts, is unlabelled training data. Where there is no
    test part, the validation part is the test part. Without either, no split was given.

    Raises:
        TargetError: a word is unknown, or nothing is left to train on.
    """
    unknown = sorted({word for word in words if word.strip().casefold() not in SIDES})
    if unknown:
        raise TargetError(
            Problem(
                f"{where} has values that name no part of a split: {listed([repr(word) for word in unknown])}",
                "train, val (or valid, validation, dev) or test in every row",
                "correct them, or rename the column to have a split made",
            )
        )
    sides = [SIDES[word.strip().casefold()] for word in words]
    labelled = {side for side, label in zip(sides, labels, strict=True) if label is not None}
    sides = [side if side in labelled else "train" for side in sides]
    present = set(sides)
    if present and "train" not in present:
        raise TargetError(
            Problem(f"{where} names no training examples", "train and test (or val)", "mark some examples as train")
        )
    if present <= {"train"}:
        return None, ()
    if "test" not in present:
        return ["test" if side == "validation" else side for side in sides], (
            "There is no test split, so the validation split is sealed as the test split.",
        )
    return sides, ()


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a sentence: the first few, and how many more."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown

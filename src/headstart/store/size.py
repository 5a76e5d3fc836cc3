"""How large the store may become: sizes in words, and the user's limit."""

from __future__ import annotations

import os
import re

from headstart.errors import OptionError, Problem

DEFAULT_LIMIT = 20 * 2**30
"""Arrays may take this many bytes where `HEADSTART_CACHE_LIMIT` says nothing else."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str, what: str) -> int:
    """Bytes, from a number with or without a unit.

    >>> parse_size("1.5G", "a size"), parse_size("500 MB", "a size"), parse_size("1000", "a size")
    (1610612736, 524288000, 1000)

    Args:
        text: what the user wrote.
        what: what it is called in messages.

    Raises:
        OptionError: it is no size.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if match is None:
        raise OptionError(Problem(f"{what} of {text!r}", "bytes, or a number with a unit, such as 500M or 10G"))
    return int(float(match[1]) * _UNITS[match[2]])


def format_size(count: int) -> str:
    """A size for people.

    >>> format_size(0), format_size(1536), format_size(20 * 2**30)
    ('0 B', '1.5 KiB', '20.0 GiB')
    """
    value, units = float(count), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while value >= 1024 and unit != "GiB":
        value, unit = value / 1024, next(units)
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def limit() -> int:
    """The bytes that arrays may take: `$HEADSTART_CACHE_LIMIT`, else 20 GiB.

    Raises:
        OptionError: the variable holds no size.
    """
    text = os.environ.get("HEADSTART_CACHE_LIMIT", "").strip()
    return parse_size(text, "a HEADSTART_CACHE_LIMIT") if text else DEFAULT_LIMIT

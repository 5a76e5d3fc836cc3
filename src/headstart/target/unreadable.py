"""Inputs that cannot be read, whatever they are, and why not, in plain words."""

from __future__ import annotations

import errno
from pathlib import Path

EMPTY = "is empty (0 bytes)"
"""Why a file without bytes cannot be read."""


class Unreadable(Exception):  # noqa: N818 - what it is, not that it is an error
    """An input that cannot be read; the message is a short plain reason, without the input's name."""


def why_not(error: OSError, path: Path) -> str:
    """Why a file cannot be opened."""
    if error.errno == errno.ENOENT:
        return "is a broken link" if path.is_symlink() else "does not exist"
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be read (permission denied)"
    return (error.strerror or str(error)).lower()

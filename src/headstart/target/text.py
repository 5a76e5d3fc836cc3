"""Reading a text, whatever its encoding, or saying plainly why that cannot be done."""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

from headstart.target.unreadable import EMPTY, Unreadable, why_not

SUFFIXES = frozenset((".txt", ".text"))
"""Suffixes of files that are read as texts."""

UNSUPPORTED_SUFFIXES = frozenset((".pdf", ".doc", ".docx", ".odt", ".rtf", ".epub", ".pages"))
"""Suffixes of files that hold texts, but of a kind that is not read."""

MAX_CHARACTERS = 4_000_000
"""Longer texts are refused: a thick novel has a quarter as many characters."""


class UnreadableText(Unreadable):
    """A text that cannot be read."""


def plain(text: str) -> str:
    """A text as it is used: without white space around it.

    Raises:
        UnreadableText: it is empty, or too long.
    """
    text = text.strip().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    if not text:
        raise UnreadableText("is empty")
    if len(text) > MAX_CHARACTERS:
        raise UnreadableText(f"is too long (more than {MAX_CHARACTERS // 1_000_000} million characters)")
    return text


def decode(data: bytes) -> tuple[str, str]:
    r"""Bytes as text, and the encoding: that of a byte order mark, else UTF-8, else Windows-1252, else Latin-1.

    Windows-1252 is what most texts that are not UTF-8 are in, whatever they call it (so the WHATWG has browsers take
    `latin-1` for it); where bytes have no meaning in it, Latin-1, which has one for all.

    >>> decode("caf\u00e9".encode()), decode(b"caf\xe9"), decode(b"\x93caf\xe9\x94")
    (('café', 'UTF-8'), ('café', 'Windows-1252'), ('“café”', 'Windows-1252'))
    """
    for marks, encoding in (
        ((codecs.BOM_UTF8,), "utf-8-sig"),
        ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
    ):
        if data.startswith(marks):
            try:
                return data.decode(encoding), encoding.upper().removesuffix("-SIG")
            except UnicodeDecodeError:
                break
    for encoding, name in (("utf-8", "UTF-8"), ("cp1252", "Windows-1252")):
        try:
            return data.decode(encoding), name
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "Latin-1"


def repaired(text: str) -> str:
    r"""A text that was read as UTF-8 with its foreign bytes escaped (as surrogates), with those bytes decoded.

    >>> repaired(b"caf\xe9".decode("utf-8", "surrogateescape"))
    'café'
    """
    if text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text):
        return text
    try:
        return decode(text.encode("utf-8", "surrogateescape"))[0]
    except UnicodeEncodeError:  # other surrogates, from JSON: nothing that bytes could mean
        return text


def read_text(path: Path) -> tuple[str, str]:
    """A text file's text, and its encoding.

    Raises:
        UnreadableText: it is missing, forbidden, empty, too large, or no text.
    """
    try:
        about = os.stat(path)
        # Opening a named pipe would wait for ever.
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableText("is a folder" if stat.S_ISDIR(about.st_mode) else "is not an ordinary file")
        if about.st_size > 4 * MAX_CHARACTERS:
            raise UnreadableText(f"is too long (more than {MAX_CHARACTERS // 1_000_000} million characters)")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableText(why_not(error, path)) from error
    except ValueError as error:  # a null byte in the name
        raise UnreadableText("has an impossible file name") from error
    if not data:
        raise UnreadableText(EMPTY)
    text, encoding = decode(data)
    if encoding != "UTF-16" and "\0" in text:
        raise UnreadableText("is not a text (it holds null bytes)")
    return plain(text), encoding

"""Opening a picture, whatever it is, as an upright 8-bit RGB image, or saying plainly why that cannot be done."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 179_000_000
"""Pictures with more pixels than this are refused before they are decoded: they are decompression bombs or scans."""

SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff")) | frozenset(
    (".webp", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2")
)
"""Suffixes of files that are read as pictures."""

UNSUPPORTED_SUFFIXES = frozenset((".heic", ".heif", ".svg", ".eps", ".psd", ".jxl", ".dcm")) | frozenset(
    (".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")
)
"""Suffixes of files that are pictures, but of a kind that is not read."""

_filters = threading.Lock()


class UnreadableImage(Exception):  # noqa: N818 - what it is, not that it is an error
    """A picture that cannot be read; the message is a short plain reason, without the picture's name."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings from Pillow's reading of headers: what matters is said by :class:`UnreadableImage`.

    The warning filters belong to the whole process, so threads take turns; headers are short.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_image(
    source: str | Path | BinaryIO | np.ndarray[Any, Any] | Image.Image, *, at_least: int | None = None
) -> Image.Image:
    """A picture as an upright 8-bit RGB image.

    EXIF orientation is applied, transparency is laid on white, animations give their first frame, and grey values of
    more than 8 bits are scaled by the smallest of 8, 12 and 16 bits that holds the brightest one (other ranges are
    stretched from the darkest to the brightest).

    Args:
        source: a file, an open binary stream, a PIL image, or a uint8 array (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4).
        at_least: the caller needs neither side to be longer than this many pixels; a JPEG may then be decoded smaller,
            which is several times faster. None: full size.

    Raises:
        UnreadableImage: it is missing, forbidden, empty, not a picture, damaged, cut short, or too large to open
            safely.
    """
    if isinstance(source, str | Path):
        return _open_path(Path(source), at_least)
    if isinstance(source, np.ndarray):
        return _upright(_from_array(source), at_least)
    if isinstance(source, Image.Image):
        return _upright(source, at_least)
    if not hasattr(source, "read"):
        raise UnreadableImage(f"a {type(source).__name__} is not a picture (give a path, a PIL image or a uint8 array)")
    return _open_stream(source, at_least)


def _open_path(path: Path, at_least: int | None) -> Image.Image:
    try:
        # Opening a named pipe would wait for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableImage("is a folder" if path.is_dir() else "is not an ordinary file")
        with path.open("rb") as stream:
            return _open_stream(stream, at_least)
    except OSError as error:
        raise UnreadableImage(_why_not(error, path)) from error
    except ValueError as error:  # a null byte in the name
        raise UnreadableImage("has an impossible file name") from error


def _why_not(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOENT:
        return "is a broken link" if path.is_symlink() else "does not exist"
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be read (permission denied)"
    return (error.strerror or str(error)).lower()


def _open_stream(stream: BinaryIO, at_least: int | None) -> Image.Image:
    try:
        head = stream.read(512)
        stream.seek(-len(head), os.SEEK_CUR)
        if not head:
            raise UnreadableImage("is empty (0 bytes)")
        with _quiet():
            picture = Image.open(stream)
    except UnidentifiedImageError as error:
        raise UnreadableImage(_not_a_picture(head)) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(_too_large()) from error
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise UnreadableImage("is damaged") from error
    return _upright(picture, at_least)


def _not_a_picture(head: bytes) -> str:
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"):
        return "is HEIC, which is not supported (convert it to JPEG or PNG)"
    if head[:2] == b"\xff\xd8" or head[:8] == b"\x89PNG\r\n\x1a\n":
        return "is damaged"
    if b"<svg" in head:
        return "is SVG, which is not supported (convert it to PNG)"
    with contextlib.suppress(UnicodeDecodeError):
        if head.decode("utf-8").isprintable() or b"\n" in head:
            return "is text, not a picture"
    return "is not a picture of a known format"


def _too_large() -> str:
    return f"is too large to open safely (more than {MAX_PIXELS // 1_000_000} megapixels)"


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    if array.dtype != np.uint8:
        advice = " (scale it to 0..255 and convert it)" if array.dtype.kind == "f" else ""
        raise UnreadableImage(f"is an array of {array.dtype}, expected uint8{advice}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        advice = "; the channels go last: array.transpose(1, 2, 0)" if first else ""
        raise UnreadableImage(f"is an array of shape {array.shape}, expected (H, W), (H, W, 3) or (H, W, 4){advice}")
    if 0 in array.shape:
        raise UnreadableImage(f"has no pixels (shape {array.shape})")
    return Image.fromarray(np.ascontiguousarray(array))


def _upright(picture: Image.Image, at_least: int | None) -> Image.Image:
    width, height = picture.size
    if width < 1 or height < 1:
        raise UnreadableImage("has no pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(_too_large())
    try:
        if at_least is not None:
            picture.draft(None, (at_least, at_least))
        picture.load()
        with _quiet():
            orientation = picture.getexif().get(0x0112, 1)
            if orientation in range(2, 9):
                picture = ImageOps.exif_transpose(picture)
            return _rgb(picture)
    except MemoryError as error:
        raise UnreadableImage("does not fit in memory") from error
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        short = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise UnreadableImage("is cut short" if short else "is damaged") from error


def _rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture.copy()
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(_to_8_bit(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _to_8_bit(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Grey values of any range as uint8."""
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        values, full = values - low, high - low
    elif np.all(values == np.floor(values)):
        full = next(full for full in (255.0, 4095.0, 65535.0) if high <= full)
    else:
        full = 1.0 if high <= 1 else 255.0 if high <= 255 else 65535.0
    return np.round(values * 255.0 / full).astype(np.uint8)

"""Opening a picture, whatever it is, as an upright 8-bit RGB image, or saying plainly why that cannot be done."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from headstart.target.unreadable import EMPTY, Unreadable, why_not

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

READ_AT_ONCE = 1 << 26
"""Files up to so many bytes (64 MiB) are read in one go; larger ones (slides, series of scans) only where needed."""

EXTENT = "_headstart_extent"
"""The attribute for :func:`extent`. Not in `info`, which Pillow hands on to pictures that are cropped or turned."""


class UnreadableImage(Unreadable):
    """A picture that cannot be read."""


class _Hushed(threading.local):
    """Stands in a warning filter where the text to match would: it matches every text, in the threads that set `on`."""

    on = False
    pattern = r"(?!)"
    """Scikit-learn and others copy filters as patterns, into threads and processes: the copy matches nothing."""

    def match(self, text: str) -> bool:
        """Whether the warning is ignored."""
        return self.on

    def __reduce__(self) -> tuple[Any, ...]:
        return re.compile, (self.pattern,)


_SIDES = {
    1: (0, 1, 2, 3),
    2: (2, 1, 0, 3),
    3: (2, 3, 0, 1),
    4: (0, 3, 2, 1),
    5: (1, 0, 3, 2),
    6: (3, 0, 1, 2),
    7: (3, 2, 1, 0),
    8: (1, 2, 3, 0),
}
"""By EXIF orientation: which sides of the stored picture (left, top, right, bottom) become those of the upright one."""

_hushed = _Hushed()
_hush: Any = ("ignore", _hushed, Warning, None, 0)
_first = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings from Pillow in this thread: what matters is said by :class:`UnreadableImage`.

    `warnings.catch_warnings` swaps the filters of the whole process: threads would have to take turns, the warnings of
    other threads would be lost, and if one of those swaps filters meanwhile, all warnings would be lost from then on.
    So one filter is put first, stays there, and acts only in the threads that are in here.
    """
    if getattr(sys.flags, "context_aware_warnings", False):  # Python 3.14: each thread may have its own filters
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    filters: Any = warnings.filters
    if not filters or filters[0] is not _hush:
        with _first, contextlib.suppress(ValueError):
            filters.insert(0, _hush)
            del filters[filters.index(_hush, 1)]  # where it was before others were put in front of it
    before, _hushed.on = _hushed.on, True
    try:
        yield
    finally:
        _hushed.on = before


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
        at_least: what the caller needs of each side, in pixels. Neither side of the result is shorter than this, or
            than it is in the file where that is less; within that, JPEG files are decoded at 1/2, 1/4 or 1/8 of
            their size (scaled while still frequencies, so without aliasing), which is faster. Other formats, arrays
            and PIL images keep their size. Use :func:`extent` to resize the result. None: full size.

    Raises:
        UnreadableImage: it is missing, forbidden, empty, not a picture, damaged, cut short, or too large to open
            safely.
    """
    if isinstance(source, str | Path):
        return _open_path(Path(source), at_least)
    if isinstance(source, np.ndarray):
        return _upright(_from_array(source), mine=False)
    if isinstance(source, Image.Image):
        return _upright(source, mine=False)  # no draft: that would shrink the caller's own picture
    if not hasattr(source, "read"):
        raise UnreadableImage(f"a {type(source).__name__} is not a picture (give a path, a PIL image or a uint8 array)")
    return _open_stream(source, at_least)


def extent(picture: Image.Image) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what a picture of :func:`open_image` shows, in its pixels: the `box` for resizing.

    That is all of it, but for a photo decoded smaller: 375 rows at a half are 187.5, kept in 188. To take them for 188
    would shift the photo's last rows by half a pixel, which costs more than all else in decoding smaller.
    """
    width, height = picture.size
    found: tuple[float, float, float, float] = getattr(picture, EXTENT, (0.0, 0.0, float(width), float(height)))
    return found


def _open_path(path: Path, at_least: int | None) -> Image.Image:
    try:
        about = os.stat(path)
        # Opening a named pipe would wait for ever.
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableImage("is a folder" if stat.S_ISDIR(about.st_mode) else "is not an ordinary file")
        if about.st_size > READ_AT_ONCE:
            with path.open("rb") as stream:
                return _open_stream(stream, at_least)
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(why_not(error, path)) from error
    except ValueError as error:  # a null byte in the name
        raise UnreadableImage("has an impossible file name") from error
    return _open_stream(io.BytesIO(content), at_least)


def _open_stream(stream: BinaryIO, at_least: int | None) -> Image.Image:
    try:
        with _quiet():
            picture = Image.open(stream)
    except UnidentifiedImageError as error:
        raise UnreadableImage(_not_a_picture(_head(stream))) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(_too_large()) from error
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise UnreadableImage("is damaged" if _head(stream) else EMPTY) from error
    if picture.format in ("JPEG", "MPO") and isinstance(stream, io.BytesIO):
        picture.decodermaxblock = READ_AT_ONCE  # all in one call of the decoder, without the interpreter in between
    return _upright(picture, mine=True, at_least=at_least)


def _head(stream: BinaryIO) -> bytes:
    """The first bytes of what could not be opened."""
    try:
        stream.seek(0)
        return bytes(stream.read(512))
    except Exception:  # whatever a caller's stream raises: it is being refused already
        return b"?"


def _not_a_picture(head: bytes) -> str:
    if not head:
        return EMPTY
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


def _upright(picture: Image.Image, *, mine: bool, at_least: int | None = None) -> Image.Image:
    """The picture decoded and turned; `mine`: it was opened here, nobody else holds it."""
    width, height = picture.size
    if width < 1 or height < 1:
        raise UnreadableImage("has no pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(_too_large())
    try:
        with _quiet():
            reduced = None
            if at_least is not None:
                # Before it is turned: for a square it does not matter which side will be which.
                reduced = picture.draft(None, (max(1, at_least), max(1, at_least)))
            picture.load()
            size = picture.size
            orientation = picture.getexif().get(0x0112, 1)
            orientation = orientation if orientation in _SIDES else 1
            if orientation > 1:
                picture, mine = ImageOps.exif_transpose(picture), True
            opened = _rgb(picture, mine)
            if reduced is not None:
                beyond = (0.0, 0.0, size[0] - reduced[1][2], size[1] - reduced[1][3])
                left, top, right, bottom = (beyond[side] for side in _SIDES[orientation])
                setattr(opened, EXTENT, (left, top, opened.width - right, opened.height - bottom))
            return opened
    except MemoryError as error:
        raise UnreadableImage("does not fit in memory") from error
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        short = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise UnreadableImage("is cut short" if short else "is damaged") from error


def _rgb(picture: Image.Image, mine: bool) -> Image.Image:
    """Any mode to RGB."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        # What `copy` returns, without the copying: a plain picture that holds on to no file.
        return picture._new(picture.im) if mine else picture.copy()
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

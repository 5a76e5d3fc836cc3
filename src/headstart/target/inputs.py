"""Inputs: a sequence of examples' raw inputs, read one at a time, so that 50,000 photos cost no memory."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.machine import cores
from headstart.store import file_digests
from headstart.target.image import SUFFIXES, open_image
from headstart.target.text import SUFFIXES as TEXT_SUFFIXES
from headstart.target.text import plain, read_text
from headstart.target.unreadable import Unreadable

if TYPE_CHECKING:
    from PIL import Image

Index = Sequence[int] | NDArray[np.int64]
_Inputs = TypeVar("_Inputs", bound="Inputs")

_DIGEST = hashlib.sha256().digest_size
_UNKNOWN = bytes(_DIGEST)  # no content has this digest


def printable(text: str) -> str:
    r"""Text that can be written as UTF-8: bytes of file names that are not UTF-8 are shown as `\xNN`."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, from JSON or Windows
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Inputs(ABC):
    """What the examples are made of: N inputs, addressed 0..N-1, decoded only when asked for.

    What an input is once it is decoded, a picture or a text, is a matter of its modality: :class:`ImageInputs` and
    :class:`TextInputs` say how to get it.
    """

    modality: ClassVar[str]
    """The name of one of :data:`headstart.target.modality.MODALITIES`."""

    _known: NDArray[np.uint8] | None = None  # (N, 32): the digests that were computed; zeros for the others

    @abstractmethod
    def __len__(self) -> int:
        """How many inputs there are."""

    @abstractmethod
    def name(self, i: int) -> str:
        """What input `i` is called in messages, predictions and the ledger (a path relative to the target's root)."""

    @abstractmethod
    def content(self, i: int) -> bytes:
        """The bytes that identify input `i`; two inputs with equal content are the same example."""

    @abstractmethod
    def take(self, index: Index) -> Inputs:
        """The inputs at `index`, in that order."""

    def path(self, i: int) -> Path | None:
        """The file behind input `i`, if there is one."""
        return None

    def digest(self, i: int) -> str:
        """SHA-256 of :meth:`content`, in hexadecimal: the address of everything that is cached for this example.

        It is computed once: a file that changes afterwards is another example for whoever reads the target anew.
        """
        known = _UNKNOWN if self._known is None else bytes(self._known[i])
        if known != _UNKNOWN:
            return known.hex()
        return hashlib.sha256(self.content(i)).hexdigest()

    def digests(self) -> list[str]:
        """:meth:`digest` of all inputs; they are remembered, 32 bytes each.

        Raises:
            OSError: a file cannot be read.
            headstart.target.unreadable.Unreadable: a picture in memory is none.
        """
        found = self.find_digests()
        for digest in found:
            if isinstance(digest, Exception):
                raise digest
        return [digest for digest in found if isinstance(digest, str)]

    def find_digests(self, index: Index | None = None) -> list[str | OSError | Unreadable]:
        """:meth:`digest` of the inputs at `index` (None: of all); in the place of one that cannot be read, why."""
        rows = np.arange(len(self)) if index is None else np.asarray(index, dtype=np.int64)
        if self._known is None:
            self._known = np.zeros((len(self), _DIGEST), dtype=np.uint8)
        known = self._known
        missing = rows[~known[rows].any(axis=1)]
        failed: dict[int, OSError | Unreadable] = {}
        if len(missing):
            for i, digest in zip(missing.tolist(), self._compute_digests(missing.tolist()), strict=True):
                if isinstance(digest, str):
                    known[i] = np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)
                else:
                    failed[i] = digest
        text, width = known[rows].tobytes().hex(), 2 * _DIGEST
        found: list[str | OSError | Unreadable]
        found = [text[at * width : (at + 1) * width] for at in range(len(rows))]
        if failed:
            found = [failed.get(i, digest) for i, digest in zip(rows.tolist(), found, strict=True)]
        return found

    def unchanged(self, index: Sequence[int]) -> list[bool]:
        """Whether the inputs at `index` still have the content that their digests were computed from."""
        return [True] * len(index)  # what lies in memory does not change

    def _compute_digests(self, index: list[int]) -> Sequence[str | OSError | Unreadable]:
        def one(i: int) -> str | OSError | Unreadable:
            try:
                return self.digest(i)
            except (OSError, Unreadable) as error:
                return error

        with ThreadPoolExecutor(min(cores(), len(index))) as pool:
            return list(pool.map(one, index))

    def _taken(self, taken: _Inputs, index: Index) -> _Inputs:
        """`taken`, the inputs at `index`, with the digests that are known here."""
        if self._known is not None:
            taken._known = self._known[np.asarray(index, dtype=np.int64)]
        return taken


def _is_plain(path: str) -> bool:
    """Whether a relative path reads the same after normalisation."""
    return bool(path) and os.sep == "/" and not path.endswith("/") and "//" not in path and "/." not in path


class ImageInputs(Inputs):
    """Inputs that are pictures."""

    modality = "image"

    @abstractmethod
    def image(self, i: int) -> Image.Image:
        """Input `i` as an upright 8-bit RGB picture.

        Raises:
            headstart.target.image.UnreadableImage: it is not a picture, is cut short, or is too large to open safely.
        """

    def preview(self, i: int, at_least: int) -> Image.Image:
        """Input `i` as :meth:`image` gives it, or, where that is faster, smaller, but at least so large on each side.

        Raises:
            headstart.target.image.UnreadableImage: as :meth:`image`.
        """
        return self.image(i)


class TextInputs(Inputs):
    """Inputs that are texts."""

    modality = "text"

    @abstractmethod
    def read(self, i: int) -> tuple[str, str]:
        """Input `i` as text, without white space around it, and not empty; and its encoding.

        Raises:
            headstart.target.text.UnreadableText: it is empty, too long, or no text.
        """

    def text(self, i: int) -> str:
        """The text that :meth:`read` gives."""
        return self.read(i)[0]


def pictures_in(inputs: Inputs) -> ImageInputs:
    """`inputs`, which are pictures.

    Raises:
        TypeError: they are something else.
    """
    if not isinstance(inputs, ImageInputs):
        raise TypeError(f"pictures are needed, and the inputs are of modality {inputs.modality}")
    return inputs


def texts_in(inputs: Inputs) -> TextInputs:
    """`inputs`, which are texts.

    Raises:
        TypeError: they are something else.
    """
    if not isinstance(inputs, TextInputs):
        raise TypeError(f"texts are needed, and the inputs are of modality {inputs.modality}")
    return inputs


class _Files(Inputs):
    """Inputs that are files, addressed by the digests of their bytes.

    Args:
        paths: the files.
        root: names are given relative to it; None: the paths as they are.
    """

    def __init__(self, paths: Sequence[str | Path], root: Path | None = None) -> None:
        self._paths = [str(path) for path in paths]
        self._root = root
        self._prefix = "" if root is None or str(root) in (".", os.sep) else str(root) + os.sep

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, i: int) -> Path:
        """The file of input `i`."""
        return Path(self._paths[i])

    def name(self, i: int) -> str:
        """The path of input `i` relative to the root; bytes that are not UTF-8 are shown escaped."""
        text = self._paths[i]
        rest = text[len(self._prefix) :]
        # Most names are plain, and a hundred thousand of them are asked for: pathlib takes ten times as long.
        if self._prefix and text.startswith(self._prefix) and not rest.startswith((".", "/")) and _is_plain(rest):
            return printable(rest)
        path = Path(text)
        if self._root is not None and path.is_relative_to(self._root):
            path = path.relative_to(self._root)
        return printable(str(path))

    def content(self, i: int) -> bytes:
        """The file's bytes."""
        return Path(self._paths[i]).read_bytes()

    def take(self, index: Index) -> Self:
        """The files at `index`."""
        return self._taken(type(self)([self._paths[int(i)] for i in index], self._root), index)

    def unchanged(self, index: Sequence[int]) -> list[bool]:
        """Whether the files at `index` still have the digests that were computed; settled ones are not read again."""
        now = file_digests([self._paths[i] for i in index])
        return [digest == self.digest(i) for i, digest in zip(index, now, strict=True)]

    def _compute_digests(self, index: list[int]) -> Sequence[str | OSError | Unreadable]:
        return file_digests([self._paths[i] for i in index])


class PathInputs(_Files, ImageInputs):
    """Image files."""

    def image(self, i: int) -> Image.Image:
        """The file, decoded upright to RGB."""
        return open_image(Path(self._paths[i]))

    def preview(self, i: int, at_least: int) -> Image.Image:
        """The file, decoded upright to RGB, from a JPEG perhaps smaller."""
        return open_image(Path(self._paths[i]), at_least=at_least)


class TextFileInputs(_Files, TextInputs):
    """Text files, a text in each."""

    def read(self, i: int) -> tuple[str, str]:
        """The file, decoded; see :func:`headstart.target.text.read_text`."""
        return read_text(Path(self._paths[i]))


class StringInputs(TextInputs):
    """Texts in memory.

    Args:
        texts: N of them, as they are: an empty one is found when it is asked for.
        names: what each is called; None: `text[i]`.
    """

    def __init__(self, texts: Sequence[str], names: Sequence[str] | None = None) -> None:
        self._texts = texts
        self._names = names

    def __len__(self) -> int:
        return len(self._texts)

    def name(self, i: int) -> str:
        """The name given, else `text[i]`."""
        return self._names[i] if self._names is not None else f"text[{i}]"

    def content(self, i: int) -> bytes:
        """The text in UTF-8, without white space around it."""
        return self._texts[i].strip().encode("utf-8", "surrogatepass")

    def read(self, i: int) -> tuple[str, str]:
        """The text."""
        return plain(self._texts[i]), "UTF-8"

    def take(self, index: Index) -> StringInputs:
        """The texts at `index`."""
        rows = [int(i) for i in index]
        return self._taken(StringInputs([self._texts[i] for i in rows], [self.name(i) for i in rows]), index)

    def _compute_digests(self, index: list[int]) -> Sequence[str | OSError | Unreadable]:
        return [hashlib.sha256(self.content(i)).hexdigest() for i in index]  # threads would only wait


class ArrayInputs(ImageInputs):
    """Pictures in memory: uint8 arrays (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or PIL images."""

    def __init__(self, items: Sequence[Any] | NDArray[np.uint8], names: Sequence[str] | None = None) -> None:
        self._items = items
        self._names = names

    def __len__(self) -> int:
        return len(self._items)

    def name(self, i: int) -> str:
        """The name given, else `array[i]`."""
        return self._names[i] if self._names is not None else f"array[{i}]"

    def content(self, i: int) -> bytes:
        """Shape and pixels of the decoded picture (so that a PIL image and its array are the same example)."""
        pixels = np.asarray(self.image(i))
        return repr(pixels.shape).encode() + pixels.tobytes()

    def image(self, i: int) -> Image.Image:
        """The picture as RGB."""
        return open_image(self._items[i])

    def take(self, index: Index) -> ArrayInputs:
        """The pictures at `index`."""
        names = [self.name(int(i)) for i in index]
        rows = np.asarray(index, dtype=np.int64)
        items: Any = self._items[rows] if isinstance(self._items, np.ndarray) else [self._items[i] for i in rows]
        return self._taken(ArrayInputs(items, names), rows)


class DatasetInputs(ImageInputs):
    """An image column of a Hugging Face `datasets.Dataset`, undecoded until asked for.

    Args:
        dataset: the data set, with `column` cast to `Image(decode=False)`.
        column: the image column.
        rows: which rows, in which order.
        names: what each row of the whole data set is called; None: `row R`.
    """

    def __init__(self, dataset: Any, column: str, rows: Index, names: Sequence[str] | None = None) -> None:
        self._dataset, self._column, self._rows = dataset, column, np.asarray(rows, dtype=np.int64)
        self._names = names

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, i: int) -> str:
        """The name given, else `row R` of the data set."""
        row = int(self._rows[i])
        return f"row {row}" if self._names is None else self._names[row]

    def content(self, i: int) -> bytes:
        """The encoded image's bytes."""
        cell = self._dataset[int(self._rows[i])][self._column]
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        return Path(cell["path"]).read_bytes()

    def image(self, i: int) -> Image.Image:
        """The encoded image, decoded upright to RGB."""
        return open_image(io.BytesIO(self.content(i)))

    def preview(self, i: int, at_least: int) -> Image.Image:
        """The encoded image, decoded upright to RGB, from a JPEG perhaps smaller."""
        return open_image(io.BytesIO(self.content(i)), at_least=at_least)

    def take(self, index: Index) -> DatasetInputs:
        """The rows at `index`."""
        rows = np.asarray(index, dtype=np.int64)
        return self._taken(DatasetInputs(self._dataset, self._column, self._rows[rows], self._names), rows)


def as_inputs(items: Any, modality: str | None = None) -> Inputs:
    """Inputs from what a user has at hand: paths, texts, PIL images, uint8 arrays, or one (N, H, W, C) array.

    Args:
        items: `Path` objects are files. Strings are texts or paths: where the modality is not known, they are paths if
            most of them are files or end like picture files.
        modality: `image` or `text`, where it is known.

    Raises:
        headstart.errors.TargetError: the items are of no known kind, or of another modality.
    """
    from headstart.errors import Problem, TargetError

    if isinstance(items, Inputs):
        if modality not in (None, items.modality):
            raise TargetError(Problem(f"inputs of modality {items.modality}", f"{modality} inputs"))
        return items
    if isinstance(items, str | Path):
        items = [items]
    if isinstance(items, np.ndarray) and (items.dtype.kind in "US" or (items.dtype == object and items.ndim == 1)):
        items = items.tolist()
    if not isinstance(items, np.ndarray):
        items = list(items)
        files = [item for item in items if isinstance(item, Path)]
        texts = [item for item in items if isinstance(item, str)]
        if len(files) + len(texts) == len(items) and items:
            if modality is None:
                modality = "image" if are_pictures([str(item) for item in items]) else "text"
                if modality == "text" and texts and len(texts) < len(items):
                    raise TargetError(Problem("paths and texts mixed in one list", "all paths, or all texts"))
            if modality == "image":
                return PathInputs(items)
            if not files:
                are_files = are_text_files(texts)
                return TextFileInputs(texts) if are_files else StringInputs(texts)
            if not texts:
                return TextFileInputs(files)
            raise TargetError(Problem("paths and texts mixed in one list", "all paths, or all texts"))
        if files or texts:
            raise TargetError(Problem("paths and pictures mixed in one list", "all paths, or all pictures"))
    if modality == "text":
        kind = f"an array of {items.dtype}" if isinstance(items, np.ndarray) else f"a list with a {_kind(items)}"
        if len(items):
            raise TargetError(Problem(f"{kind} as texts", "a list of str, or of the paths of text files"))
        return StringInputs([])
    return ArrayInputs(items)


def joined(one: Inputs, other: Inputs) -> Inputs:
    """The inputs of both, one after the other."""
    if isinstance(one, TextInputs) and isinstance(other, TextInputs):
        texts = [_text(part, i) for part in (one, other) for i in range(len(part))]
        return StringInputs(texts, [part.name(i) for part in (one, other) for i in range(len(part))])
    paths = [part.path(i) for part in (one, other) for i in range(len(part))]
    files = [path for path in paths if path is not None]
    if len(files) == len(paths):
        return PathInputs(files)
    return ArrayInputs(
        [pictures_in(part).image(i) for part in (one, other) for i in range(len(part))],
        [part.name(i) for part in (one, other) for i in range(len(part))],
    )


def _text(inputs: TextInputs, i: int) -> str:
    try:
        return inputs.text(i)
    except (OSError, Unreadable):
        return ""


def _kind(items: Sequence[Any]) -> str:
    return type(next((item for item in items if not isinstance(item, str | Path)), None)).__name__


_LOOK_AT = 200  # strings that are looked at to tell paths from texts


def sampled(items: Sequence[str]) -> Sequence[str]:
    """About `_LOOK_AT` of the items, evenly spread."""
    return items[:: max(1, len(items) // _LOOK_AT)]


def are_pictures(strings: Sequence[str]) -> bool:
    """Whether most of the strings are the paths of picture files (which may be absent)."""
    sample = sampled(strings)
    return 2 * sum(_suffix(text) in SUFFIXES for text in sample) > len(sample)


def are_text_files(strings: Sequence[str]) -> bool:
    """Whether most of the strings are the paths of text files that exist."""
    sample = sampled(strings)
    return 2 * sum(_suffix(text) in TEXT_SUFFIXES and os.path.isfile(text) for text in sample) > len(sample)


def _suffix(text: str) -> str:
    """The suffix of what may be a path; texts with several lines are none."""
    return "" if len(text) > 4096 or "\n" in text else os.path.splitext(text.strip())[1].lower()

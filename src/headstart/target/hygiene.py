"""What is wrong with the data, and what was done about it.

Near duplicates are found in two steps. A 64-bit perceptual hash (the signs of the lowest frequencies of a 32x32 grey
thumbnail, after Zauner 2010, "Implementation and benchmarking of perceptual image hash functions") proposes pairs;
the 32x32 colour thumbnails decide. A hash alone would call most clock faces, sketches and digits copies of one another.

Two tests decide. Thumbnails that agree everywhere, up to brightness and contrast, are copies. Where both pictures are
detailed all over, as photos are, thumbnails whose edges agree after a small shift are copies, too: that finds slightly
cropped ones. Drawings and digits, whose few edges may well agree by chance, are not put to the second test.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.target.image import UnreadableImage
from headstart.target.inputs import Inputs

SIDE = 32
"""Thumbnails are this many pixels wide and high."""

HASH_DISTANCE = 10
"""Pairs whose hashes differ in more bits are not looked at (re-encoded and resized copies differ in 0 to 6)."""

CORRELATION = 0.985
"""Copies' thumbnails correlate at least this well."""

RESIDUAL = 32.0
"""No value of a copy's thumbnail is further than this (of 255) from the original's, after matching of brightness."""

EDGE_CORRELATION = 0.8
"""Edges of slightly cropped photos correlate at least this well. Of some 2,000 photos, no two unrelated ones did."""

SHIFT = 2
"""How far thumbnails are shifted, in pixels of 32, when their edges are compared."""

DETAILED = 0.5
"""A picture is detailed if this share of its thumbnail's pixels differs visibly from a neighbour."""

TEXTURE = 4.0
"""Thumbnails with a smaller standard deviation (of 255) are blank: there is nothing to recognise a copy by."""

MOST_CANDIDATES = 1_000_000
"""The search for near duplicates ends after this many proposed pairs: the pictures are then all alike."""

GREY = np.array([0.299, 0.587, 0.114])
"""How bright red, green and blue are (ITU-R BT.601)."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Hygiene:
    """What was found wrong with a target's data and what was done about it. Everything is called by its name.

    Args:
        unreadable: (name, reason) of every input that could not be read; left out.
        ignored: files that are not pictures or stand in no class folder; left out.
        unlabelled: inputs without a label; never judged on, offered to strategies as unlabelled inputs.
        exact_duplicates: inputs with the same content, together; of those on one side with one label, one was kept.
        near_duplicates: pairs that are re-encoded, resized or slightly changed copies of one another.
        across_splits: (name, name, `exact` or `near`): pairs with a copy on each side of a split that was given.
        duplicates_were: `moved`: the split was made here and keeps all copies on one side; `reported`: the split was
            given and was left as it is.
        conflicting: inputs with the same content and different labels, together; none of them is trained on.
        counts: class -> number of usable examples in `train`, `validation` and `test` (cross-fitted: all in `train`).
        imbalance: the largest class count divided by the smallest.
        warnings: plain sentences, the most important things to know.
    """

    unreadable: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    exact_duplicates: tuple[tuple[str, ...], ...] = ()
    near_duplicates: tuple[tuple[str, str], ...] = ()
    across_splits: tuple[tuple[str, str, str], ...] = ()
    duplicates_were: Literal["moved", "reported"] = "moved"
    conflicting: tuple[tuple[str, ...], ...] = ()
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    imbalance: float = 1.0
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return asdict(self)


@dataclass(frozen=True)
class Record:
    """What looking once at an input tells: either `error`, or the rest.

    Args:
        error: why it cannot be read, or None.
        digest: SHA-256 of its content, in hexadecimal.
        hash: its 64-bit perceptual hash.
        thumbnail: (32, 32, 3) uint8.
        detailed: whether it is detailed all over and large enough for its details to be its own.
    """

    error: str | None
    digest: str = ""
    hash: int = 0
    thumbnail: NDArray[np.uint8] | None = None
    detailed: bool = False


def examine(inputs: Inputs, *, threads: int = 4, progress: Progress | None = None) -> list[Record]:
    """Decode every input once, and keep 3 kB of each.

    Args:
        inputs: N inputs.
        threads: how many are decoded at a time (Pillow releases the interpreter's lock while it decodes).
        progress: called as `progress(done, N)` from time to time.
    """

    def one(i: int) -> Record:
        try:
            return record(inputs.preview(i, 2 * SIDE), inputs.digest(i))
        except (UnreadableImage, OSError) as error:
            return Record(str(error))

    records: list[Record] = []
    with ThreadPoolExecutor(threads) as pool:
        # In portions, so that an interrupt does not wait for 50,000 pictures.
        for start in range(0, len(inputs), 256):
            records.extend(pool.map(one, range(start, min(start + 256, len(inputs)))))
            if progress is not None:
                progress(len(records), len(inputs))
    return records


def record(picture: Image.Image, digest: str) -> Record:
    """The record of one decoded picture."""
    thumbnail = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    detailed = min(picture.size) >= 2 * SIDE and _detail(thumbnail) >= DETAILED
    return Record(None, digest, perceptual_hash(thumbnail), thumbnail, detailed)


def _detail(thumbnail: NDArray[np.uint8]) -> float:
    """The share of pixels that differ from the neighbour to the right and the one below by more than 4 (of 255)."""
    grey = thumbnail @ GREY
    difference = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    return float((difference > 4).mean())


@functools.cache
def _cosines() -> NDArray[np.float64]:
    """(8, 32): the eight lowest rows of the orthonormal discrete cosine transform (type II)."""
    rows, columns = np.arange(8)[:, None], np.arange(SIDE)[None, :]
    matrix: NDArray[np.float64] = np.sqrt(2 / SIDE) * np.cos(np.pi * (columns + 0.5) * rows / SIDE)
    matrix[0] /= np.sqrt(2)
    return matrix


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> int:
    """The 64-bit perceptual hash of a (32, 32, 3) uint8 thumbnail.

    Each bit says whether one of the 8 x 8 lowest frequencies of the grey thumbnail is above their median (the mean
    brightness is left out: its bit is 0). Copies differ in few bits, unrelated pictures in about 32.
    """
    grey = thumbnail @ GREY
    frequencies = (_cosines() @ grey @ _cosines().T).ravel()[1:]
    bits = np.append(False, frequencies > np.median(frequencies))
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicates(records: Sequence[Record]) -> tuple[list[tuple[int, int]], bool]:
    """Pairs of positions whose pictures are copies of one another, but not byte for byte.

    Of inputs with equal digests only the first is compared; unreadable and blank ones are not.

    Returns:
        The pairs, each with the smaller position first, and whether all pairs were looked at.
    """
    first: dict[str, int] = {}
    for i, entry in enumerate(records):
        if entry.thumbnail is not None and entry.thumbnail.std() >= TEXTURE:
            first.setdefault(entry.digest, i)
    index = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    if len(index) < 2:
        return [], True
    hashes = np.array([records[i].hash for i in index], dtype=np.uint64)

    detailed = np.array([records[i].detailed for i in index])

    def thumbnails(chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([t for i in index[chosen] if (t := records[i].thumbnail) is not None])

    pairs: list[tuple[int, int]] = []
    looked_at = 0
    for start in range(0, len(index) - 1, 256):
        rows = hashes[start : start + 256, None]
        distance = np.bitwise_count(rows ^ hashes[None, start:])
        left, right = np.nonzero(distance <= HASH_DISTANCE)
        left, right = left[left < right] + start, right[left < right] + start
        for portion in range(0, len(left), 4096):
            a, b = left[portion : portion + 4096], right[portion : portion + 4096]
            one, other = thumbnails(a), thumbnails(b)
            same = are_copies(one, other)
            photos = detailed[a] & detailed[b] & ~same
            same[photos] = are_shifted_copies(one[photos], other[photos])
            pairs.extend(zip(index[a[same]].tolist(), index[b[same]].tolist(), strict=True))
        looked_at += len(left)
        if looked_at > MOST_CANDIDATES:
            return pairs, False
    return pairs, True


def are_copies(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether thumbnails `a` and `b`, each (N, 32, 32, 3) uint8, show copies of one picture; (N,) bool."""
    x = a.reshape(len(a), -1).astype(np.float32)
    y = b.reshape(len(b), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    xx, yy, xy = (x * x).sum(axis=1), (y * y).sum(axis=1), (x * y).sum(axis=1)
    correlation = xy / np.sqrt(np.maximum(xx * yy, 1e-9))
    # The darker or flatter of the two, fitted to the other, would hide differences: so both ways.
    ahead = np.abs(y - (xy / np.maximum(xx, 1e-9))[:, None] * x).max(axis=1)
    back = np.abs(x - (xy / np.maximum(yy, 1e-9))[:, None] * y).max(axis=1)
    copies: NDArray[np.bool_] = (correlation >= CORRELATION) & (np.maximum(ahead, back) <= RESIDUAL)
    return copies


def are_shifted_copies(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether the edges of thumbnails `a` and `b`, each (N, 32, 32, 3) uint8, agree after a small shift; (N,) bool."""
    x, y = _edges(a), _edges(b)
    size = SIDE - 2 - 2 * SHIFT
    x = x[:, :, SHIFT : SHIFT + size, SHIFT : SHIFT + size]
    xx = (x * x).sum(axis=(1, 2, 3))
    best = np.zeros(len(x), dtype=np.float32)
    for down in range(2 * SHIFT + 1):
        for right in range(2 * SHIFT + 1):
            z = y[:, :, down : down + size, right : right + size]
            norm = np.sqrt(np.maximum(xx * (z * z).sum(axis=(1, 2, 3)), 1e-9))
            best = np.maximum(best, (x * z).sum(axis=(1, 2, 3)) / norm)
    agree: NDArray[np.bool_] = best >= EDGE_CORRELATION
    return agree


def _edges(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 2, 30, 30): the horizontal and vertical differences of grey thumbnails."""
    grey = thumbnails.astype(np.float32) @ GREY.astype(np.float32)
    right = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
    down = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    return np.stack([right, down], axis=1)

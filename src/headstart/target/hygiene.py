"""What is wrong with the data, and what was done about it.

Near duplicates are found in two steps. A 64-bit perceptual hash (the signs of the lowest frequencies of a 32x32 grey
thumbnail, after Zauner 2010, "Implementation and benchmarking of perceptual image hash functions") proposes pairs;
the 32x32 colour thumbnails decide. A hash alone would call most clock faces, sketches and digits copies of one another.

Two tests decide. Thumbnails that agree everywhere, up to brightness and contrast, are copies. Where both pictures are
detailed all over, as photos are, thumbnails whose edges agree after a small shift are copies, too: that finds slightly
cropped ones. Drawings and digits, whose few edges may well agree by chance, are not put to the second test.

What looking at a picture tells is kept in the store by the picture's content: nothing is decoded twice for it. Hashes
that differ in at most 10 of 64 bits agree in one of their four 16-bit words up to 2 bits, so only pairs that do are
compared (multi-index hashing: Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space").
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from headstart.store import Store
from headstart.target.inputs import ImageInputs
from headstart.target.unreadable import Unreadable

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

EXAMINED = 1
"""Version of what is kept of a picture that was looked at; raise it when the same picture would give another record."""

BLOCK = 1024
"""So many inputs are looked up in the store at a time."""

PORTION = 256
"""So many pictures are decoded between two writes to the store, so that an interrupt does not wait for 50,000."""

IN_MEMORY = 4096
"""So many thumbnails of new pictures are kept in memory (12 MiB); others are read from the store when compared."""

COMPARED_AT_ONCE = 256
"""So many pairs of thumbnails are compared in one step: what it needs then stays in the processor's cache."""

FEW = 2048
"""Among so few hashes each is compared with each."""

CANDIDATES_AT_ONCE = 2**21
"""Pairs of hashes compared in one step, which takes some 50 MiB."""

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
        moved: whether a given test or the unlabelled examples are unlike what is learned from, one for each part; empty
            until somebody has looked: see :mod:`headstart.search.moved`.
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
    moved: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return asdict(self)


@dataclass(frozen=True)
class Record:
    """What looking once at a picture tells: either `error`, or the rest.

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

    @property
    def textured(self) -> bool:
        """Whether there is anything to recognise a copy by."""
        return self.thumbnail is not None and bool(self.thumbnail.std() >= TEXTURE)


class Records:
    """What looking at N inputs tells, by column; thumbnails are fetched when they are asked for.

    Args:
        n: how many inputs.
        thumbnails: gives a new thumbnail for a position; called for those that are neither in memory nor in `store`.
        store: of thumbnails, by digest.

    Attributes:
        errors: position -> why the input cannot be read.
        digests: N SHA-256 in hexadecimal; blank where there is an error.
        hashes: (N,) uint64, perceptual hashes.
        detailed: (N,) bool, as in :class:`Record`.
        textured: (N,) bool, as in :class:`Record`; False where there is an error.
    """

    def __init__(
        self, n: int, thumbnails: Callable[[int], NDArray[np.uint8] | None], store: Store | None = None
    ) -> None:
        self.errors: dict[int, str] = {}
        self.digests = [""] * n
        self.hashes = np.zeros(n, dtype=np.uint64)
        self.detailed = np.zeros(n, dtype=bool)
        self.textured = np.zeros(n, dtype=bool)
        self._look, self._store = thumbnails, store
        self._kept: dict[str, NDArray[np.uint8]] = {}

    @classmethod
    def of(cls, records: Sequence[Record]) -> Records:
        """Records that are all in memory."""
        made = cls(len(records), lambda i: records[i].thumbnail)
        for i, one in enumerate(records):
            made.enter(i, one)
        return made

    def __len__(self) -> int:
        return len(self.digests)

    def notes(self) -> list[str]:
        """What is to be said about the pictures as a whole: nothing."""
        return []

    def enter(self, i: int, one: Record) -> None:
        """Write down what is known of input `i`."""
        if one.error is not None:
            self.errors[i] = one.error
            return
        self.digests[i] = one.digest
        self.hashes[i], self.detailed[i], self.textured[i] = one.hash, one.detailed, one.textured
        if one.thumbnail is not None and len(self._kept) < IN_MEMORY:
            self._kept[one.digest] = one.thumbnail

    def thumbnails(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n, 32, 32, 3): the thumbnails at `index`; black where a picture can no longer be read."""
        made = np.zeros((len(index), SIDE, SIDE, 3), dtype=np.uint8)
        missing = []
        for at, i in enumerate(index.tolist()):
            kept = self._kept.get(self.digests[i])
            if kept is None:
                missing.append(at)
            else:
                made[at] = kept
        if missing and self._store is not None:
            made[missing], found, _ = self._store.get([self.digests[i] for i in index[missing].tolist()])
            missing = [at for at, here in zip(missing, found.tolist(), strict=True) if not here]
        for at in missing:
            thumbnail = self._look(int(index[at]))
            if thumbnail is not None:
                made[at] = thumbnail
        return made


class _Memory:
    """What is kept of pictures that were looked at: small fields and thumbnails, by digest.

    One row of fields: 8 bytes of hash, a byte of flags, a byte that tells the length of the error, and the error.
    """

    WIDTH, TEXT = 128, 10
    READABLE, DETAILED, TEXTURED = 1, 2, 4

    def __init__(self) -> None:
        # Another Pillow may decode differently.
        space = {"extractor": EXAMINED, "side": SIDE, "pillow": PIL.__version__}
        self.fields = Store({**space, "features": "fields"}, (self.WIDTH,), dtype="uint8", kind="examined")
        self.thumbnails = Store({**space, "features": "thumbnails"}, (SIDE, SIDE, 3), dtype="uint8", kind="examined")

    def recall(self, records: Records, rows: NDArray[np.int64], digests: Sequence[str]) -> NDArray[np.bool_]:
        """Enter what is known of the inputs at `rows`; (n,) bool, which of them are."""
        fields, found, _ = self.fields.get(digests)
        readable = found & (fields[:, 8] & self.READABLE > 0)
        at = rows[readable]
        records.hashes[at] = np.ascontiguousarray(fields[readable, :8]).view("<u8")[:, 0]
        records.detailed[at] = fields[readable, 8] & self.DETAILED > 0
        records.textured[at] = fields[readable, 8] & self.TEXTURED > 0
        for n in np.flatnonzero(readable).tolist():
            records.digests[rows[n]] = digests[n]
        for n in np.flatnonzero(found & ~readable).tolist():
            text = fields[n, self.TEXT : self.TEXT + fields[n, 9]].tobytes()
            records.errors[int(rows[n])] = text.decode("utf-8", "replace")
        return found

    def keep(self, records: Sequence[Record]) -> None:
        """Keep records; those of unreadable pictures have a digest, too."""
        seen = [one for one in records if one.thumbnail is not None]
        # Thumbnails first: whoever finds the fields may count on them.
        self.thumbnails.put([one.digest for one in seen], np.array([one.thumbnail for one in seen], dtype=np.uint8))
        rows = np.zeros((len(records), self.WIDTH), dtype=np.uint8)
        for row, one in zip(rows, records, strict=True):
            text = (one.error or "").encode()
            row[:8] = np.frombuffer(one.hash.to_bytes(8, "little"), dtype=np.uint8)
            row[8] = self.READABLE * (not text) + self.DETAILED * one.detailed + self.TEXTURED * one.textured
            row[9] = len(text)
            row[self.TEXT : self.TEXT + len(text)] = np.frombuffer(text, dtype=np.uint8)
        self.fields.put([one.digest for one in records], rows)

    def may_keep(self, error: Unreadable) -> bool:
        """Whether the content is at fault, and will be next time."""
        cause = error.__cause__
        fleeting = isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno is not None)
        return not fleeting and len(str(error).encode()) <= self.WIDTH - self.TEXT


def examine(inputs: ImageInputs, *, threads: int = 4, progress: Progress | None = None) -> Records:
    """Look at every input: those with a content that was looked at before are not decoded again.

    Args:
        inputs: N inputs.
        threads: how many are decoded at a time (Pillow releases the interpreter's lock while it decodes).
        progress: called as `progress(done, N)` from time to time.
    """
    memory = _Memory()

    def look(i: int) -> tuple[Record, bool]:
        """The record of input `i`, and whether it may be kept."""
        try:
            return record(inputs.preview(i, 2 * SIDE), inputs.digest(i)), True
        except Unreadable as error:
            return Record(str(error), inputs.digest(i)), memory.may_keep(error)
        except OSError as error:
            return Record(str(error)), False

    def thumbnail(i: int) -> NDArray[np.uint8] | None:
        return look(i)[0].thumbnail

    def why_not(i: int, error: OSError | Unreadable) -> str:
        """Why an input without a digest cannot be read: opening it says so in better words."""
        try:
            inputs.preview(i, 2 * SIDE)
        except (Unreadable, OSError) as better:
            return str(better)
        return str(error)

    records = Records(len(inputs), thumbnail, memory.thumbnails)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(inputs), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(inputs)))
            digests: list[str] = []
            for i, digest in zip(rows.tolist(), inputs.find_digests(rows), strict=True):
                if isinstance(digest, str):
                    digests.append(digest)
                else:
                    records.errors[i] = why_not(i, digest)
            rows = np.array([i for i in rows.tolist() if i not in records.errors], dtype=np.int64)
            new: dict[str, list[int]] = {}  # equal contents are decoded once
            for n in np.flatnonzero(~memory.recall(records, rows, digests)).tolist():
                new.setdefault(digests[n], []).append(int(rows[n]))
            done = min(start + BLOCK, len(inputs)) - len(new)
            for portion in range(0, len(new), PORTION):
                same = list(itertools.islice(new.values(), portion, portion + PORTION))
                firsts = [first for first, *_ in same]
                looked = list(pool.map(look, firsts))
                for where, (one, _) in zip(same, looked, strict=True):
                    for i in where:
                        records.enter(i, one)
                # A file may have been replaced between hashing and decoding.
                still = inputs.unchanged(firsts)
                memory.keep([one for (one, keep), fine in zip(looked, still, strict=True) if keep and fine])
                done += len(same)
                if progress is not None:
                    progress(done, len(inputs))
            if not new and progress is not None:
                progress(done, len(inputs))
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


def near_duplicates(records: Records, among: NDArray[np.bool_] | None = None) -> tuple[list[tuple[int, int]], bool]:
    """Pairs of positions whose pictures are copies of one another, but not byte for byte.

    Of inputs with equal digests only the first is compared; unreadable and blank ones are not.

    Args:
        records: of N inputs.
        among: (N,) bool, which of them are compared; None: all.

    Returns:
        The pairs, each with the smaller position first, and whether all pairs were looked at.
    """
    first: dict[str, int] = {}
    for i in np.flatnonzero(records.textured if among is None else records.textured & among).tolist():
        first.setdefault(records.digests[i], i)
    index = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    left, right, whole = alike(records.hashes[index])
    pairs: list[tuple[int, int]] = []
    for portion in range(0, len(left), IN_MEMORY):
        a, b = index[left[portion : portion + IN_MEMORY]], index[right[portion : portion + IN_MEMORY]]
        needed, at = np.unique(np.concatenate([a, b]), return_inverse=True)
        thumbnails = records.thumbnails(needed)
        one, other = thumbnails[at[: len(a)]], thumbnails[at[len(a) :]]
        same = _in_steps(are_copies, one, other)
        photos = records.detailed[a] & records.detailed[b] & ~same
        same[photos] = _in_steps(are_shifted_copies, one[photos], other[photos])
        pairs.extend(zip(a[same].tolist(), b[same].tolist(), strict=True))
    return pairs, whole


def _in_steps(
    test: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.bool_]],
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """`test(a, b)`, a few pairs at a time."""
    steps = range(0, len(a), COMPARED_AT_ONCE)
    parts = [test(a[start : start + COMPARED_AT_ONCE], b[start : start + COMPARED_AT_ONCE]) for start in steps]
    return np.concatenate([np.zeros(0, dtype=bool), *parts])


Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def alike(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Pairs of hashes that differ in at most HASH_DISTANCE bits, in order; and whether these are all such pairs."""
    found = _by_words(hashes) if len(hashes) > FEW else None
    left, right = _one_by_one(hashes) if found is None else found
    end = len(left)
    if end > MOST_CANDIDATES:
        # Ended after a whole block of rows, so that it does not matter how the pairs were found.
        last = left[MOST_CANDIDATES] // PORTION
        end = int(np.searchsorted(left, (last + 1) * PORTION))
    return left[:end], right[:end], end <= MOST_CANDIDATES


def _one_by_one(hashes: NDArray[np.uint64]) -> Pairs:
    """Each hash compared with each; ends after the block of rows in which there are too many pairs."""
    found: list[Pairs] = []
    count = 0
    for start in range(0, len(hashes) - 1, PORTION):
        distance = np.bitwise_count(hashes[start : start + PORTION, None] ^ hashes[None, start:])
        left, right = np.nonzero(distance <= HASH_DISTANCE)
        later = left < right
        found.append((left[later] + start, right[later] + start))
        count += len(found[-1][0])
        if count > MOST_CANDIDATES:
            break
    return _joined(found)


def _by_words(hashes: NDArray[np.uint64]) -> Pairs | None:
    """Only hashes that agree in one of their four words, up to 2 bits, are compared; None: that are too many."""
    bits = [1 << bit for bit in range(16)]
    flips = np.array([0, *bits, *(a | b for a, b in itertools.combinations(bits, 2))], dtype=np.int32)
    n = len(hashes)
    found: list[Pairs] = []
    compared = pairs = 0
    for words in np.ascontiguousarray(hashes).view(np.uint16).reshape(n, 4).T:
        order = np.argsort(words, kind="stable")
        word, sorted_hashes = words[order].astype(np.int32), hashes[order]
        count = np.bincount(word, minlength=1 << 16)
        start = np.cumsum(count) - count
        step = 4096
        row = 0
        while row < n:
            own = word[row : row + step]
            other = own[:, None] ^ flips  # (rows, 137): the words that are near
            size = np.where(own[:, None] < other, count[other], 0)  # of two words, the smaller one looks for the other
            begin = start[other]
            begin[:, 0] = np.arange(row, row + len(own)) + 1  # hashes with the same word: those behind it
            size[:, 0] = start[own] + count[own] - begin[:, 0]
            total = int(size.sum())
            if total > CANDIDATES_AT_ONCE and len(own) > 1:
                step = len(own) // 2
                continue
            compared += total
            if compared > n * n // 8:
                return None
            chosen = np.flatnonzero(size)
            many = size.ravel()[chosen]
            left = np.repeat(row + chosen // len(flips), many)
            behind = np.arange(total) - np.repeat(np.cumsum(many) - many, many)
            right = np.repeat(begin.ravel()[chosen], many) + behind
            near = np.bitwise_count(sorted_hashes[left] ^ sorted_hashes[right]) <= HASH_DISTANCE
            a, b = order[left[near]], order[right[near]]
            found.append((np.minimum(a, b), np.maximum(a, b)))
            pairs += len(a)
            if pairs > 4 * MOST_CANDIDATES:  # each pair at most four times: too many
                return None
            row += len(own)
    left, right = _joined(found)
    codes = np.unique(left * n + right)  # a pair may agree in several words
    return codes // n, codes % n


def _joined(found: list[Pairs]) -> Pairs:
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate([left for left, _ in found]), np.concatenate([right for _, right in found])


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

"""What is wrong with the data, and what was done about it.

What looking at a picture tells is kept in the store by the picture's content: nothing is decoded twice for it. Which
pictures are copies of one another is told by :mod:`headstart.target.copies`.
"""

from __future__ import annotations

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
from headstart.target.copies import GREY, SIDE, alike, decide, perceptual_hash
from headstart.target.inputs import ImageInputs
from headstart.target.unreadable import Unreadable

DETAILED = 0.5
"""A picture is detailed if this share of its thumbnail's pixels differs visibly from a neighbour."""

TEXTURE = 4.0
"""Thumbnails with a smaller standard deviation (of 255) are blank: there is nothing to recognise a copy by."""

EXAMINED = 1
"""Version of what is kept of a picture that was looked at; raise it when the same picture would give another record."""

BLOCK = 1024
"""So many inputs are looked up in the store at a time."""

PORTION = 256
"""So many pictures are decoded between two writes to the store, so that an interrupt does not wait for 50,000."""

IN_MEMORY = 4096
"""So many thumbnails of new pictures are kept in memory (12 MiB); others are read from the store when compared."""

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
        same = decide(one, other, records.detailed[a] & records.detailed[b])
        pairs.extend(zip(a[same].tolist(), b[same].tolist(), strict=True))
    return pairs, whole

"""What is wrong with texts: which cannot be read, which are nearly the same, which scripts and languages there are.

Two texts are nearly the same if, without case, punctuation and accents of writing, they share at least four fifths of
their runs of five characters (Jaccard similarity of shingles). Pairs that may be are found by MinHash signatures cut
into bands (Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3); the shingles themselves decide. A pair as similar as the threshold is missed by the bands
about once in 4,600 times.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.target.inputs import TextInputs
from headstart.target.unreadable import Unreadable

SHINGLE = 5
"""Characters in a shingle."""

SIMILAR = 0.8
"""Copies share at least this part of all their shingles (of both together)."""

HASHES, BANDS = 64, 16
"""Length of a signature, and how many bands it is cut into."""

MOST_CANDIDATES = 1_000_000
"""The search ends after this many proposed pairs: the texts are then all alike."""

CHARACTERS_AT_ONCE = 1 << 20
"""So many characters are hashed at a time, which takes some 50 MiB."""

CROWD = 64
"""Of more texts than this with one band in common, each is compared with the first only."""

# Multiples of 2^64 divided by the golden ratio: they lie far apart.
_SEEDS = np.arange(1, HASHES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)

Progress = Callable[[int, int], None]


class TextRecords:
    """What reading N texts tells.

    Args:
        n: how many.

    Attributes:
        errors: position -> why the text cannot be read.
        digests: N SHA-256 in hexadecimal; blank where there is an error.
        signatures: (N, 64) uint32, MinHash signatures.
        encodings: encoding -> how many texts are in it.
        scripts: script -> how many texts are mostly in it.
        languages: language -> how many texts have most of their commonest words from it, of those where that is clear.
    """

    def __init__(self, n: int, text: Callable[[int], str]) -> None:
        self.errors: dict[int, str] = {}
        self.digests = [""] * n
        self.signatures = np.zeros((n, HASHES), dtype=np.uint32)
        self.encodings: Counter[str] = Counter()
        self.scripts: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.text = text

    def __len__(self) -> int:
        return len(self.digests)

    def notes(self) -> list[str]:
        """What is to be said about the texts as a whole."""
        said = [
            f"{_texts_are(count)} not in UTF-8, and taken for {encoding}."
            for encoding, count in sorted(self.encodings.items())
            if not encoding.startswith("UTF")
        ]
        for what, found in (("scripts", self.scripts), ("languages, by their commonest words", self.languages)):
            total = sum(found.values())
            shares = [(name, count / total) for name, count in found.most_common() if count >= max(2, 0.02 * total)]
            if len(shares) > 1:
                listed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)
                said.append(f"The texts are in several {what}: {listed}.")
        main = self.languages.most_common(1)
        if main and main[0][0] != "English" and main[0][1] > 0.5 * max(1, sum(self.languages.values())):
            said.append(f"Most texts seem to be in {main[0][0]}; a source that was trained on English may not help.")
        return said


def _texts_are(count: int) -> str:
    return "1 text is" if count == 1 else f"{count:,} texts are"


def examine(inputs: TextInputs, *, threads: int = 1, progress: Progress | None = None) -> TextRecords:
    """Read every text once.

    Args:
        inputs: N texts.
        threads: unused: there is nothing to wait for.
        progress: called as `progress(done, N)` from time to time.
    """
    n = len(inputs)
    records = TextRecords(n, inputs.text)
    block: list[tuple[int, str]] = []
    size = 0

    def flush() -> None:
        if block:
            rows = [i for i, _ in block]
            records.signatures[rows] = signatures([text for _, text in block])
            block.clear()

    for i, digest in enumerate(inputs.find_digests()):
        try:
            text, encoding = inputs.read(i)
        except (Unreadable, OSError) as error:
            records.errors[i] = str(error)
            continue
        if not isinstance(digest, str):
            records.errors[i] = str(digest)
            continue
        records.digests[i] = digest
        records.encodings[encoding] += 1
        records.scripts[script(text)] += 1
        if (spoken := language(text)) is not None:
            records.languages[spoken] += 1
        block.append((i, canonical(text)))
        size += len(text)
        if size >= CHARACTERS_AT_ONCE:
            flush()
            size = 0
            if progress is not None:
                progress(i + 1, n)
    flush()
    if progress is not None:
        progress(n, n)
    return records


def canonical(text: str) -> str:
    r"""A text without what does not tell texts apart: case, punctuation, and the amount of white space.

    >>> canonical("  Où est\tMA carte ?! "), canonical("!?")
    ('où est ma carte', '!?')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", folded).strip() or " ".join(text.split())


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all runs of `SHINGLE` characters of each text (padded to one at least), and where each text's begin."""
    padded = [text.ljust(SHINGLE) for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    ends = np.cumsum(lengths)
    hashes = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for k in range(SHINGLE):
        hashes = hashes * np.uint64(1_000_003) + codes[k : k + len(hashes)]
    # Runs that begin so late in a text that they reach into the next one are none.
    inside = np.ones(len(hashes), dtype=bool)
    for k in range(1, SHINGLE):
        inside[ends[:-1] - k] = False
    counts = lengths - SHINGLE + 1
    return _mixed(hashes[inside]), np.cumsum(counts) - counts


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the result depends on every bit of the value (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures (N, 64) of canonical texts: the share of equal entries estimates the Jaccard similarity."""
    hashes, starts = _shingles(texts)
    found = np.empty((len(texts), HASHES), dtype=np.uint32)
    for k in range(HASHES):
        drawn = (_mixed(hashes + _SEEDS[k]) >> np.uint64(32)).astype(np.uint32)
        found[:, k] = np.minimum.reduceat(drawn, starts)
    return found


def near_duplicates(records: TextRecords, among: NDArray[np.bool_]) -> tuple[list[tuple[int, int]], bool]:
    """Pairs of positions whose texts are nearly the same, but not equal.

    Args:
        records: of N texts.
        among: (N,) bool, which of them are compared. Of equal texts only the first is.

    Returns:
        The pairs, each with the smaller position first, in order, and whether all pairs were looked at.
    """
    first: dict[str, int] = {}
    for i in np.flatnonzero(among).tolist():
        if i not in records.errors:
            first.setdefault(records.digests[i], i)
    index = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    candidates, whole = _candidates(records.signatures[index])
    left, right = index[candidates[:, 0]], index[candidates[:, 1]]
    alike = (records.signatures[left] == records.signatures[right]).mean(axis=1)
    likely = alike >= SIMILAR - 0.2  # four standard errors of an estimate from 64 hashes
    kept: dict[int, NDArray[np.uint64]] = {}

    def shingles(i: int) -> NDArray[np.uint64]:
        if i not in kept:
            if len(kept) > 10_000:
                kept.clear()
            kept[i] = np.unique(_shingles([canonical(records.text(i))])[0])
        return kept[i]

    pairs = []
    for a, b in zip(left[likely].tolist(), right[likely].tolist(), strict=True):
        one, other = shingles(a), shingles(b)
        shared = len(np.intersect1d(one, other, assume_unique=True))
        if shared >= SIMILAR * (len(one) + len(other) - shared):
            pairs.append((a, b))
    return pairs, whole


def _candidates(found: NDArray[np.uint32]) -> tuple[NDArray[np.int64], bool]:
    """Pairs (M, 2) of rows that agree in a whole band, the smaller first, in order; and whether these are all."""
    n, width = len(found), HASHES // BANDS
    codes: set[int] = set()
    for band in range(BANDS):
        part = np.ascontiguousarray(found[:, band * width : (band + 1) * width]).view(f"V{4 * width}").ravel()
        _, bucket, size = np.unique(part, return_inverse=True, return_counts=True)
        order = np.argsort(bucket, kind="stable")
        starts = np.cumsum(size) - size
        for begin, many in zip(starts[size > 1].tolist(), size[size > 1].tolist(), strict=True):
            rows = order[begin : begin + many].tolist()
            if many > CROWD:
                codes.update(rows[0] * n + row for row in rows[1:])
            else:
                codes.update(a * n + b for at, a in enumerate(rows) for b in rows[at + 1 :])
        if len(codes) > MOST_CANDIDATES:
            break
    whole = len(codes) <= MOST_CANDIDATES
    ordered = np.array(sorted(codes), dtype=np.int64)
    return np.stack([ordered // max(1, n), ordered % max(1, n)], axis=1).astype(np.int64), whole


_SCRIPTS = (
    ("Latin", 0x0000, 0x02FF),
    ("Greek", 0x0370, 0x03FF),
    ("Cyrillic", 0x0400, 0x052F),
    ("Hebrew", 0x0590, 0x05FF),
    ("Arabic", 0x0600, 0x077F),
    ("Devanagari", 0x0900, 0x097F),
    ("Thai", 0x0E00, 0x0E7F),
    ("Korean", 0x1100, 0x11FF),
    ("Latin", 0x1E00, 0x1EFF),
    ("Greek", 0x1F00, 0x1FFF),
    ("Japanese", 0x3040, 0x30FF),
    ("Chinese", 0x3400, 0x9FFF),
    ("Korean", 0xAC00, 0xD7AF),
)
_SCRIPT_SAMPLE = 500  # characters that are looked at


def script(text: str) -> str:
    """The script that most letters of a text are in.

    >>> script("Where is my card?"), script("Где моя карта?"), script("42"), script("カードはどこですか")
    ('Latin', 'Cyrillic', 'none', 'Japanese')
    """
    if (head := text[:_SCRIPT_SAMPLE]).isascii():
        return "Latin" if any(map(str.isalpha, head)) else "none"
    found: Counter[str] = Counter()
    for character in head:
        if character.isalpha():
            point = ord(character)
            found[next((name for name, low, high in _SCRIPTS if low <= point <= high), "another")] += 1
    if found["Japanese"]:  # its texts hold Chinese characters, too
        return "Japanese"
    return found.most_common(1)[0][0] if found else "none"


_COMMON = {
    "English": "the and of to is that it was for you with this are not have what how my",
    "German": "der die und das ist nicht ich zu den mit von auf ein eine für wie sie es",
    "French": "le la les et des une est pas je vous que qui dans pour ce du sur au",
    "Spanish": "el los las y que una es por con para no se lo como más pero su del",
    "Italian": "il di che è per non un una con sono del la mi ho come della anche più",
    "Portuguese": "o os não uma que é com para por como mais mas do da no na em eu",
    "Dutch": "de het een en van is niet dat ik op te zijn voor met je maar er hoe",
}
_LANGUAGES: dict[str, tuple[str, ...]] = {}
for _name, _words in _COMMON.items():
    for _word in _words.split():
        _LANGUAGES[_word] = (*_LANGUAGES.get(_word, ()), _name)


def language(text: str) -> str | None:
    """The language that most of a text's commonest words belong to; None where that is not clear.

    >>> language("What is the capital of Peru?"), language("Wo ist die Karte und der Zug?"), language("OK")
    ('English', 'German', None)
    """
    found: Counter[str] = Counter()
    for word in re.findall(r"[^\W\d_]+", text[:_SCRIPT_SAMPLE].lower()):
        found.update(_LANGUAGES.get(word, ()))
    (name, most), *rest = found.most_common(2) or [("", 0)]
    return name if most >= 2 and (not rest or most > 1.5 * rest[0][1]) else None

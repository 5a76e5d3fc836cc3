"""Which pictures are copies of one another, by their thumbnails.

Near duplicates are found in two steps. A 64-bit perceptual hash (the signs of the lowest frequencies of a 32x32 grey
thumbnail, after Zauner 2010, "Implementation and benchmarking of perceptual image hash functions") proposes pairs;
the 32x32 colour thumbnails decide. A hash alone would call most clock faces, sketches and digits copies of one another.

Two tests decide. Thumbnails that agree everywhere, up to brightness and contrast, are copies. Where both pictures are
detailed all over, as photos are, thumbnails whose edges agree after a small shift are copies, too: that finds slightly
cropped ones. Drawings and digits, whose few edges may well agree by chance, are not put to the second test.

Hashes that differ in at most 10 of 64 bits agree in one of their four 16-bit words up to 2 bits, so only pairs that do
are compared (multi-index hashing: Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space").
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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

MOST_CANDIDATES = 1_000_000
"""The search for near duplicates ends after this many proposed pairs: the pictures are then all alike."""

ROWS = 256
"""Hashes that are compared with all others in one step."""

COMPARED_AT_ONCE = 256
"""So many pairs of thumbnails are compared in one step: what it needs then stays in the processor's cache."""

FEW = 2048
"""Among so few hashes each is compared with each."""

CANDIDATES_AT_ONCE = 2**21
"""Pairs of hashes compared in one step, which takes some 50 MiB."""

GREY = np.array([0.299, 0.587, 0.114])
"""How bright red, green and blue are (ITU-R BT.601)."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


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


def alike(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Pairs of hashes that differ in at most HASH_DISTANCE bits, in order; and whether these are all such pairs."""
    found = _by_words(hashes) if len(hashes) > FEW else None
    left, right = _one_by_one(hashes) if found is None else found
    end = len(left)
    if end > MOST_CANDIDATES:
        # Ended after a whole block of rows, so that it does not matter how the pairs were found.
        last = left[MOST_CANDIDATES] // ROWS
        end = int(np.searchsorted(left, (last + 1) * ROWS))
    return left[:end], right[:end], end <= MOST_CANDIDATES


def _one_by_one(hashes: NDArray[np.uint64]) -> Pairs:
    """Each hash compared with each; ends after the block of rows in which there are too many pairs."""
    found: list[Pairs] = []
    count = 0
    for start in range(0, len(hashes) - 1, ROWS):
        distance = np.bitwise_count(hashes[start : start + ROWS, None] ^ hashes[None, start:])
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


def decide(a: NDArray[np.uint8], b: NDArray[np.uint8], detailed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether thumbnails `a` and `b`, each (N, 32, 32, 3) uint8, show copies of one picture, by both tests; (N,) bool.

    Args:
        a: one of each pair.
        b: the other.
        detailed: (N,) bool, whether both pictures are detailed all over.
    """
    same = _in_steps(are_copies, a, b)
    photos = detailed & ~same
    same[photos] = _in_steps(are_shifted_copies, a[photos], b[photos])
    return same


def _in_steps(
    test: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.bool_]],
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """`test(a, b)`, a few pairs at a time."""
    steps = range(0, len(a), COMPARED_AT_ONCE)
    parts = [test(a[start : start + COMPARED_AT_ONCE], b[start : start + COMPARED_AT_ONCE]) for start in steps]
    return np.concatenate([np.zeros(0, dtype=bool), *parts])


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

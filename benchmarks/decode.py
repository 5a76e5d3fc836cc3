"""Is opening a photo as fast as Pillow's bare decoder, and what does decoding large ones smaller save and cost?"""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.bundled_weights import iter_leading_digits, pretrained
from benchmarks.common import DATA, target
from headstart.target.image import open_image

ROUNDS = 7
LARGE = (3000, 2250)
AT_LEAST = 512
"""Twice the shorter side, 256, to which lite0's preprocessing brings a photo."""
TIMED = 150
"""How many photos of a folder are timed."""
TIMED_LARGE = 40
HASHED = 1 << 21
"""Bytes whose SHA-256 takes about as long as opening a photo."""
SMALL_INPUT = 56
"""An input so small that photos of 500 x 375 are decoded at a half: they have fine detail, enlarged ones have not."""

Read = Callable[[Path], object]


def main() -> dict[str, Any]:
    folders = [DATA / "imagenet_sample", DATA / "ants_bees"]
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        return {"skipped": f"no bench data in {', '.join(missing)}"}
    sample, ants = (sorted(p for p in f.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg")) for f in folders)
    module, how = pretrained("efficientnet_lite0")
    opening = {folder.name: against_bare(paths[:TIMED]) for folder, paths in zip(folders, (sample, ants), strict=True)}
    threads = two_threads(ants[:TIMED])
    with tempfile.TemporaryDirectory() as folder:
        large = enlarged(sample, Path(folder))
        large_photos = speed_of_smaller(large[:TIMED_LARGE], how)
        views = [from_whole_and_smaller(path, how, AT_LEAST) for path in large]
    tolerance = differences(views)
    little = dataclasses.replace(how, size=SMALL_INPUT)
    detail = differences([from_whole_and_smaller(path, little, 2 * int(SMALL_INPUT / how.crop)) for path in ants])
    accuracy = classified(module, how, sample, views)
    worst = max(part["ratio"] for part in opening.values())
    lost = accuracy["top1_whole"] - accuracy["top1_smaller"]
    return {
        "open_image_vs_bare_pillow": opening,
        "two_threads_vs_one": threads,
        "large": {"size": LARGE, "at_least": AT_LEAST, "images": min(TIMED_LARGE, len(large))} | large_photos,
        "difference_of_255": {"enlarged": tolerance, "ants_bees_to_56": detail},
        "accuracy": accuracy,
        "targets": [
            target("open_image within 15 % of Pillow's bare decode", worst <= 1.15, f"{worst:.3f} times"),
            target(
                "a second thread decodes as fast as a second core allows: >= 85 % of what hashing gains",
                threads["share_of_hashing"] >= 0.85,
                f"{threads['open_image']:.2f} times one thread; hashing {threads['hashing']:.2f}",
            ),
            target(
                "large photos to the network's input >= 2 times as fast from smaller ones",
                large_photos["to_pixels"]["ratio"] >= 2,
                f"{large_photos['to_pixels']['ratio']:.2f}",
            ),
            target(
                "mean difference <= 1 of 255",
                tolerance["mean"] <= 1 and detail["mean"] <= 1,
                f"{tolerance['mean']:.2f} (enlarged), {detail['mean']:.2f} (photos to 56 pixels)",
            ),
            target("at most 1 point of top-1 lost", lost <= 0.01, f"{100 * lost:+.1f} points"),
        ],
    }


def bare(path: Path) -> Image.Image:
    """What Pillow needs for the pixels alone: no orientation, no transparency, no checks."""
    return Image.open(path).convert("RGB")


def smaller(path: Path) -> Image.Image:
    """A large photo, decoded no larger than lite0's preprocessing needs."""
    return open_image(path, at_least=AT_LEAST)


def _seconds(read: Read, path: Path) -> float:
    began = time.perf_counter()
    read(path)
    return time.perf_counter() - began


def compared(one: Read, other: Read, paths: list[Path]) -> tuple[float, float, float]:
    """Milliseconds per photo of each, and the ratio one / other: medians of rounds in which they take turns."""
    rounds = []
    for number in range(ROUNDS + 1):
        total = {one: 0.0, other: 0.0}
        for i, path in enumerate(paths):
            for read in (one, other) if (i + number) % 2 else (other, one):
                total[read] += _seconds(read, path)
        rounds.append((total[one], total[other], total[one] / total[other]))
    ones, others, ratios = zip(*rounds[1:], strict=True)  # the first warms the files up
    each = 1e3 / len(paths)
    return statistics.median(ones) * each, statistics.median(others) * each, statistics.median(ratios)


def against_bare(paths: list[Path]) -> dict[str, Any]:
    ours, pillow, ratio = compared(open_image, bare, paths)
    return {
        "images": len(paths),
        "open_image_ms": round(ours, 3),
        "bare_ms": round(pillow, 3),
        "ratio": round(ratio, 3),
    }


def two_threads(paths: list[Path]) -> dict[str, Any]:
    """How many times as fast two threads open the photos as one.

    Beside it the bare decoder, and hashing, which holds no lock: what this machine's second core gives at the time.
    """
    block = bytes(HASHED)

    def hashed(_: Path) -> None:
        hashlib.sha256(block).digest()

    def seconds(read: Read, threads: int) -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(read, paths):
                pass
        return time.perf_counter() - began

    rounds = [[seconds(read, 1) / seconds(read, 2) for read in (open_image, bare, hashed)] for _ in range(ROUNDS)]
    ours, pillow, machine = (statistics.median(column) for column in zip(*rounds, strict=True))
    share = statistics.median(one[0] / one[2] for one in rounds)
    return {
        "open_image": round(ours, 2),
        "bare": round(pillow, 2),
        "hashing": round(machine, 2),
        "share_of_hashing": round(share, 2),
    }


def enlarged(paths: list[Path], folder: Path) -> list[Path]:
    """The photos as JPEG files of 3000 x 2250 (upright ones 2250 x 3000), cut to that shape."""

    def one(path: Path) -> Path:
        picture = open_image(path)
        size = LARGE if picture.width >= picture.height else LARGE[::-1]
        ImageOps.fit(picture, size, Image.Resampling.BILINEAR).save(folder / f"{path.stem}.jpg", quality=90)
        return folder / f"{path.stem}.jpg"

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, paths))


def speed_of_smaller(paths: list[Path], how: Any) -> dict[str, Any]:
    """Milliseconds for a large photo, whole and smaller: decoding alone, and all the way to the network's input."""
    from headstart.features.preprocess import to_pixels

    decoding = compared(open_image, smaller, paths)
    pixels = compared(lambda path: to_pixels(open_image(path), how), lambda path: to_pixels(smaller(path), how), paths)
    return {
        name: {"whole_ms": round(whole, 2), "smaller_ms": round(part, 2), "ratio": round(ratio, 2)}
        for name, (whole, part, ratio) in {"decode": decoding, "to_pixels": pixels}.items()
    }


def from_whole_and_smaller(path: Path, how: Any, at_least: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The network's input pixels from the photo decoded whole, and from the photo decoded smaller."""
    from headstart.features.preprocess import to_pixels

    return to_pixels(open_image(path), how), to_pixels(open_image(path, at_least=at_least), how)


def differences(views: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> dict[str, Any]:
    """Absolute differences of the pixel values between the two ways of all photos."""
    counts = np.zeros(256, np.int64)
    for whole, part in views:
        counts += np.bincount(np.abs(whole.astype(np.int16) - part).ravel(), minlength=256)
    share = np.cumsum(counts) / counts.sum()
    return {
        "images": len(views),
        "mean": round(float(counts @ np.arange(256) / counts.sum()), 3),
        "p99_9": int(np.searchsorted(share, 0.999)),
        "max": int(np.flatnonzero(counts).max()),
    }


def classified(
    module: Any, how: Any, named: list[Path], views: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> dict[str, Any]:
    """Top-1 through both ways, and on how many photos the two name different classes."""
    import torch

    from headstart.features.preprocess import normalise

    truth = np.array([int("".join(iter_leading_digits(path.name))) for path in named])
    named_class = np.zeros((2, len(views)), np.int64)
    for i, view in enumerate(views):
        with torch.inference_mode():
            named_class[:, i] = module(torch.from_numpy(normalise(np.stack(view), how))).argmax(1).numpy()
    right = named_class == truth
    return {
        "images": len(views),
        "top1_whole": round(float(right[0].mean()), 4),
        "top1_smaller": round(float(right[1].mean()), 4),
        "disagreements": int((named_class[0] != named_class[1]).sum()),
        "right_only_whole": int((right[0] & ~right[1]).sum()),
        "right_only_smaller": int((right[1] & ~right[0]).sum()),
    }

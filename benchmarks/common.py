"""What several benchmarks share: the data, generated pictures, commands in processes of their own, and peers."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DATA = Path(os.environ.get("HEADSTART_BENCH_DATA", ROOT.parent / "shared" / "data"))
PEERS = Path(__file__).parent / "peers"
STYLES = ("photo", "art_painting", "cartoon", "sketch")  # of PACS
SETS = {  # of photos and texts, where they are below DATA
    "textures": "textures",
    "ants_bees": "ants_bees",
    "flowers": "flowers",
    **{f"pacs_{name}": f"pacs/{name}" for name in STYLES},
    "customer_reviews": "customer_reviews/all.csv",
    "trec": "trec/train.csv",
    "sst2": "sst2/train.csv",
    "sms_spam": "sms_spam/all.csv",
    "subjectivity": "subjectivity/all.csv",
}
EVERY = 0.05  # seconds between two looks at a process
CLASSES, SIDE = 10, 96  # of generated pictures


@dataclass(frozen=True)
class Ran:
    """A finished command: exit code, output, wall seconds, highest resident memory in MiB."""

    code: int
    out: str
    err: str
    seconds: float
    peak_mb: float


def headstart(
    *arguments: str,
    cache: Path,
    limit: float = 900,
    watch: Callable[[float], None] | None = None,
    **environment: str,
) -> Ran:
    """Run the command line in a process of its own, and end it after `limit` seconds."""
    environment = {"HEADSTART_CACHE": str(cache), "COLUMNS": "120"} | environment
    return process("-m", "headstart", *arguments, folder=cache.parent, limit=limit, watch=watch, **environment)


def process(
    *arguments: str, folder: Path, limit: float, watch: Callable[[float], None] | None = None, **environment: str
) -> Ran:
    """Run this Python with `arguments` in a process of its own, and end it after `limit` seconds.

    Args:
        arguments: of the interpreter.
        folder: where it runs, and where its output is kept.
        limit: seconds.
        watch: called with the seconds since the start, every `EVERY` seconds and once after the end.
        environment: variables beside those of this process.
    """
    out, err = folder / "stdout", folder / "stderr"
    began, peak = time.perf_counter(), 0
    with out.open("wb") as stdout, err.open("wb") as stderr:
        running = subprocess.Popen(
            [sys.executable, *arguments], stdout=stdout, stderr=stderr, env=os.environ | environment, cwd=folder
        )
        try:
            while running.poll() is None:
                if time.perf_counter() - began > limit:
                    running.kill()
                with contextlib.suppress(psutil.Error):
                    peak = max(peak, psutil.Process(running.pid).memory_info().rss)
                if watch is not None:
                    watch(time.perf_counter() - began)
                time.sleep(EVERY)
        finally:
            running.kill()  # where it is still there, because this process was interrupted
            code = running.wait()
    seconds = time.perf_counter() - began
    if watch is not None:
        watch(seconds)
    text = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Ran(code, text[0], text[1], round(seconds, 1), round(peak / 2**20, 1))


def peer(python: Path, name: str, out: Path, *arguments: object, limit: float = 600) -> dict[str, Any]:
    """What a peer measured of itself, and the wall seconds of its process.

    Raises:
        subprocess.SubprocessError: it failed, or took more than `limit` seconds and was ended.
    """
    command = [str(python), str(PEERS / f"{name}.py"), *map(str, arguments), "--json", str(out)]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=limit)
    took = time.perf_counter() - began
    return {**json.loads(out.read_text(encoding="utf-8")), "wall": took}


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def labelled_texts(path: Path) -> list[tuple[str, str]]:
    """The texts of a table and their labels."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [(row["text"], row["label"]) for row in csv.DictReader(stream)]


def kept(place: str, parts: Iterable[bytes], made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `made` gives, from the user's cache where it was made of the same parts before.

    Args:
        place: folder of the benchmarks' cache.
        parts: bytes of everything that it depends on.
        made: makes it.
    """
    from headstart.files import cache_directory, write_json

    digest = hashlib.sha256(b"".join(parts)).hexdigest()[:32]
    path = cache_directory() / "benchmarks" / place / f"{digest}.json"
    if not path.is_file():
        found = made()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays to a compressed `.npz`, whole or not at all, and its folder where there is none."""
    import io

    import numpy as np

    from headstart.files import write_bytes

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    write_bytes(path, stream.getvalue())


def generate(folder: Path, count: int, seed: int = 0) -> None:
    """Add `count` coloured pictures to `folder`, in a folder for each class; another seed gives other pictures.

    Noise whose hue tells the class, with some overlap: cheap to make, and not trivial to learn.
    """
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    for c in range(CLASSES):
        (folder / f"class_{c}").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        c = i % CLASSES
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8).astype(np.int64)
        coarse[..., c % 3] = coarse[..., c % 3] // 2 + 12 * c
        picture = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        picture.save(folder / f"class_{c}" / f"{seed}_{i:06d}.jpg", quality=85)


def target(what: str, met: bool, found: str) -> dict[str, object]:
    """One line of what a benchmark must show."""
    return {"what": what, "met": bool(met), "found": found}

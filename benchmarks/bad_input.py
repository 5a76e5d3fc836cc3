"""Bad input, tried as a new user would: each ends in a clear line, the good part is used, nothing is lost."""

from __future__ import annotations

import io
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import Ran, headstart, target

FIT = ("--trials", "4", "--strategy", "probe", "--source", "efficientnet_lite0")


def picture(seed: int, c: int, side: int = 48) -> Image.Image:
    """A blob whose colour tells the class."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 200, (6, 6, 3), dtype=np.uint8)
    pixels[..., c % 3] = 255
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def good(folder: Path, classes: int = 2, each: int = 15) -> Path:
    """A plain target."""
    for c in range(classes):
        (folder / f"class_{c}").mkdir(parents=True)
        for i in range(each):
            picture(100 * c + i, c).save(folder / f"class_{c}" / f"{i}.jpg")
    return folder


def huge_png() -> bytes:
    """A valid 20,000 x 20,000 PNG of zeros, in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(20_001)) for _ in range(20_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def odd_files(folder: Path) -> None:
    """Every odd picture the issue names, added to a good target."""
    good(folder)
    inside = folder / "class_0"
    (inside / "empty.jpg").write_bytes(b"")
    whole = (inside / "0.jpg").read_bytes()
    (inside / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (inside / "text.jpg").write_text("this is not a picture\n")
    (inside / "huge.png").write_bytes(huge_png())
    picture(1, 0).convert("CMYK").save(inside / "cmyk.jpg")
    Image.fromarray(np.asarray(picture(2, 0).convert("L")).astype(np.uint16) * 257).save(inside / "deep.png")
    picture(3, 0).quantize(16).save(inside / "palette.png")
    frames = [picture(4, 0), picture(5, 0)]
    frames[0].save(inside / "animated.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(6, 0).resize((60, 30)).save(inside / "rotated.jpg", exif=exif)
    picture(7, 0, 1).save(inside / "one.png")
    picture(8, 0).save(inside / "größe 写真.jpg")
    buffer = io.BytesIO()
    picture(9, 0).save(buffer, "JPEG")
    with open(os.fsencode(inside) + b"/caf\xe9.jpg", "wb") as stream:
        stream.write(buffer.getvalue())
    os.symlink(folder, inside / "loop")
    os.symlink("nowhere.jpg", inside / "dangling.jpg")
    (inside / "notes.txt").write_text("ignore me")


def full_disk(folder: Path) -> Ran:
    """A run whose files may not grow beyond a limit that the ledger reaches, as on a full disk."""
    data = good(folder / "data")
    cache = folder / "cache"
    command = [sys.executable, "-m", "headstart", "fit", str(data), *FIT, "--out", str(folder / "run")]

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    ran = subprocess.run(
        command,
        env=os.environ | {"HEADSTART_CACHE": str(cache)},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=300,
    )
    first = Ran(ran.returncode, ran.stdout, ran.stderr, 0, 0)
    again = headstart("fit", str(data), *FIT, "--out", str(folder / "run"), cache=cache, limit=300)
    resumed = "with room again, the same command resumes" if again.code == 0 and "resuming" in again.err else again.err
    return Ran(first.code, first.out, f"{first.err}\n[{resumed}]", 0, 0)


Case = tuple[str, Callable[[Path], Ran], int, tuple[str, ...]]


def fit(make: Callable[[Path], object], *arguments: str, sub: str = "data") -> Callable[[Path], Ran]:
    """A case that makes something and fits it."""

    def run(folder: Path) -> Ran:
        make(folder / sub)
        more = arguments or FIT
        return headstart(
            "fit", str(folder / sub), *more, "--out", str(folder / "run"), cache=folder / "cache", limit=300
        )

    return run


def table(rows: list[str]) -> Callable[[Path], object]:
    """A CSV beside a good target."""

    def make(path: Path) -> None:
        good(path.parent / "pictures")
        path.write_text("\n".join(rows) + "\n")

    return make


def csv_rows(missing_files: bool = False, missing_labels: bool = False) -> list[str]:
    """Rows of a CSV over the good target."""
    rows = ["path,label"]
    rows += [f"pictures/class_{c}/{i}.jpg,class_{c}" for c in range(2) for i in range(15)]
    if missing_files:
        rows += ["pictures/gone.jpg,class_0", "pictures/also_gone.jpg,class_1"]
    if missing_labels:
        rows = [
            row.rpartition(",")[0] + "," if row.endswith(("3.jpg,class_0", "4.jpg,class_1")) else row for row in rows
        ]
    return rows


def read_only(folder: Path) -> Ran:
    """An output folder that cannot be made (a file stands in its way: permissions do not stop root)."""
    good(folder / "data")
    (folder / "file").write_text("")
    out = folder / "file" / "run"
    return headstart("fit", str(folder / "data"), *FIT, "--out", str(out), cache=folder / "cache")


def unreadable(folder: Path) -> Ran:
    """Files without permission to read, read by somebody who is not root."""
    data = good(folder / "data")
    (data / "class_0" / "0.jpg").chmod(0)
    if os.geteuid() == 0:
        code = (
            "import os, sys, encodings.idna, sklearn.model_selection, headstart.api; from headstart.cli import main;"
            "os.setegid(65534); os.seteuid(65534); sys.argv = ['headstart', 'check', sys.argv[1]]; main()"
        )
        folder.chmod(0o755)
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        ran = subprocess.run([sys.executable, "-c", code, str(data)], capture_output=True, text=True, timeout=120)
        return Ran(ran.returncode, ran.stdout, ran.stderr, 0, 0)
    return headstart("check", str(data), cache=folder / "cache")


CASES: list[Case] = [
    ("an empty folder", fit(lambda p: p.mkdir()), 2, ("is empty", "expected", "next")),
    ("one class", fit(lambda p: good(p, classes=1)), 2, ("class",)),
    (
        "a class with one picture",
        fit(lambda p: (good(p), (p / "class_2").mkdir(), picture(1, 2).save(p / "class_2/a.png"))),
        2,
        ("class_2",),
    ),
    (
        "0 bytes, truncated, text as .jpg, bomb, CMYK, 16-bit, palette, GIF, EXIF, 1x1, odd names, loops",
        fit(odd_files),
        0,
        ("unreadable",),
    ),
    ("CSV with missing files", fit(table(csv_rows(missing_files=True)), sub="data.csv"), 0, ("unreadable",)),
    ("CSV with missing labels", fit(table(csv_rows(missing_labels=True)), sub="data.csv"), 0, ("label",)),
    (
        "CSV without a label column",
        fit(table([r.partition(",")[0] for r in csv_rows()]), sub="data.csv"),
        2,
        ("label",),
    ),
    ("unreadable permissions", unreadable, 0, ("0.jpg", "ermission")),
    ("an output folder that cannot be written", read_only, 2, ("cannot be written", "--out")),
    ("a full disk", full_disk, 2, ("ledger", "resumes")),
    ("a misspelt source", fit(good, "--source", "eficientnet_lite0"), 2, ("did you mean", "efficientnet_lite0")),
    ("a misspelt strategy", fit(good, "--strategy", "prob"), 2, ("did you mean", "probe")),
    ("a wrong budget", fit(good, "--budget", "soon"), 2, ("budget",)),
]


def main() -> dict[str, Any]:
    cases = []
    for what, run, code, words in CASES:
        folder = Path(tempfile.mkdtemp(prefix="headstart-bad-"))
        try:
            ran = run(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        said = (ran.out + ran.err).replace(str(folder), "FOLDER")
        clear = all(word in said for word in words) and "Traceback" not in said
        lines = [
            line for line in said.splitlines() if line.strip() and not line.startswith(("  transfer", "  baseline"))
        ]
        cases.append({"what": what, "exit_code": ran.code, "expected": code, "clear": clear, "said": lines[:16]})
    return {
        "cases": cases,
        "targets": [
            target(c["what"], c["exit_code"] == c["expected"] and c["clear"], f"exit {c['exit_code']}") for c in cases
        ],
    }

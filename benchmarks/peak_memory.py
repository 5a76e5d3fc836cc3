"""Peak memory of `headstart fit` on 50,000 generated pictures."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import headstart, target

PICTURES, CLASSES, SIDE = 50_000, 10, 96
LIMIT_MB = 2048


def main() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "pictures")
        ran = headstart(
            *("fit", str(folder / "pictures"), "--budget", "3m", "--out", str(folder / "run")),
            cache=folder / "cache",
            limit=900,
        )
        found: dict[str, Any] = {"exit_code": ran.code, "seconds": ran.seconds, "peak_mb": ran.peak_mb}
        if ran.code == 0:
            evidence = json.loads((folder / "run" / "evidence.json").read_text(encoding="utf-8"))
            found |= {
                key: evidence[key] for key in ("verdict", "gain", "target", "n_test", "warnings", "seconds_total")
            }
        else:
            found["stderr"] = ran.err[-2000:]
    met = ran.code == 0 and ran.peak_mb < LIMIT_MB
    return {
        "pictures": PICTURES,
        **found,
        "targets": [target(f"{PICTURES:,} pictures under {LIMIT_MB} MiB", met, f"{ran.peak_mb:.0f} MiB")],
    }


def generate(folder: Path) -> None:
    """Coloured noise whose hue tells the class, with some overlap: cheap to make, and not trivial to learn."""
    random = np.random.default_rng(0)
    for c in range(CLASSES):
        (folder / f"class_{c}").mkdir(parents=True)
    for i in range(PICTURES):
        c = i % CLASSES
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8).astype(np.int64)
        coarse[..., c % 3] = coarse[..., c % 3] // 2 + 12 * c
        picture = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        picture.save(folder / f"class_{c}" / f"{i:05d}.jpg", quality=85)

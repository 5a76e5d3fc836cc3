"""Small photo-like pictures, made in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def make_picture(seed: int, side: int = 48) -> Image.Image:
    """A picture with structure at every scale, as photos have; every seed gives an unrelated one."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for scale in (2, 4, 8, 16):
        coarse = rng.integers(0, 256, (scale, scale, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray((total / 4).astype(np.uint8))


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    return make_picture


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Writes `root/class/N.png`; every picture differs from every other."""
    state = {"seed": 0}

    def write(name: str = "photos", **classes: int) -> Path:
        root = tmp_path / name
        for label, count in classes.items():
            folder = root / label
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                state["seed"] += 1
                make_picture(state["seed"]).save(folder / f"{number:03}.png")
        return root

    return write

"""A body whose vectors anyone can compute by hand, and which counts its work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.features import Body
from headstart.features.body import Forward, Part


class MeanBody(Body):
    """The mean of each channel; `computed` counts the pictures it was asked for."""

    width = 3

    def __init__(self, revision: str = "1") -> None:
        self.revision = revision
        self.computed: list[int] = []

    def compute(self, inputs, index, progress=None):
        self.computed += [int(i) for i in index]
        vectors = [np.asarray(inputs.image(int(i)), dtype=np.float32).mean(axis=(0, 1)) for i in index]
        return Forward(np.array(vectors, dtype=np.float32).reshape(-1, 3), {})

    def spec(self):
        return {"kind": "mean", "revision": self.revision}

    def parts(self):
        return [Part("mean", self.spec(), (3,))]


@pytest.fixture
def mean_body():
    return MeanBody


@pytest.fixture
def pictures(tmp_path: Path):
    """Writes `count` different PNG files and returns their paths."""

    def write(count: int, first: int = 0, folder: str = "pictures") -> list[Path]:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        paths = []
        for seed in range(first, first + count):
            pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
            paths.append(root / f"{seed:04}.png")
            Image.fromarray(pixels).save(paths[-1])
        return paths

    return write

"""The command line in this process: what it prints, and what it ends with."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.testing import Planted, positive


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def headstart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`headstart("check", folder)` as the shell would run it."""
    from headstart.cli import main

    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["headstart", *map(str, arguments)])
        logger = logging.getLogger("headstart")
        handlers = list(logger.handlers)
        capsys.readouterr()
        try:
            with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
                main()
        finally:
            logger.handlers[:] = handlers
        printed = capsys.readouterr()
        return Said(int(ended.value.code or 0), printed.out, printed.err)

    return call


def write_folder(planted: Planted, root: Path) -> Path:
    for i, (picture, label) in enumerate(zip(planted.pictures, planted.labels, strict=True)):
        path = root / ("train" if i < planted.train else "test") / label / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures on which transfer from `toy:detail` helps."""
    return write_folder(positive(60, 60), tmp_path_factory.mktemp("cli") / "photos")


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[str], Path]:
    """Writes one random picture."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")
        return path

    return write

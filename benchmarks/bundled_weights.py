"""Do the bundled weights, as loaded here, classify ImageNet photos? Top-1 on a sample of 250."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import DATA, target


def main() -> dict[str, Any]:
    folder = DATA / "imagenet_sample"
    if not folder.is_dir():
        return {"skipped": f"no bench data in {folder}"}
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    measured = {name: top1(name, paths) for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")}
    lite0 = measured["efficientnet_lite0"]
    return {
        "images": len(paths),
        "top1": measured,
        "targets": [target("efficientnet_lite0 top-1 >= 89 %", lite0 >= 0.89, f"{100 * lite0:.1f} %")],
    }


def top1(name: str, paths: list[Path]) -> float:
    """Share of `paths` whose most probable ImageNet class is the index that the file's name begins with."""
    import torch

    from headstart.features.preprocess import decoded, normalise
    from headstart.target import PathInputs

    module, how = pretrained(name)
    right = 0
    for i, pixels in decoded(PathInputs(paths), how, np.arange(len(paths))):
        with torch.inference_mode():
            predicted = int(module(torch.from_numpy(normalise(pixels[None], how))).argmax())
        digits = "".join(iter_leading_digits(paths[i].name))
        right += predicted == int(digits)
    return right / len(paths)


def pretrained(name: str) -> tuple[Any, Any]:
    """The whole network with its ImageNet classifier, and its preprocessing."""
    import timm

    from headstart.source import weights
    from headstart.source.bundled import BundledSource

    source = BundledSource(f"bundled:{name}")
    module = timm.create_model(source.card.architecture, pretrained=False)
    weights.load(module, weights.rename_by_order(weights.read(source.path()), module, name), name)
    return module.eval(), source.card.preprocessing


def iter_leading_digits(name: str) -> list[str]:
    """The digits a file's name begins with."""
    leading = []
    for letter in name:
        if not letter.isdigit():
            break
        leading.append(letter)
    return leading

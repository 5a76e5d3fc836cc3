"""What a GPU does of what it could: pictures a second of the frozen forward pass, and their share of its bf16 peak.

The peak is the most that a product of two large bf16 matrices gives in the same run, not what a data sheet promises.
Two networks: the bundled one, whose depthwise convolutions wait for memory on any GPU, and a vision transformer, which
is nearly all matrix products; its weights are random, on which its speed does not depend. Each is run as the engine of
the product runs it, in batches from arrays of the host to arrays of the host, and alone on one batch that stays on the
device: the first without the second says what the transfer costs. Without a GPU there is nothing to measure.
"""

from __future__ import annotations

import copy
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import seconds, target

if TYPE_CHECKING:
    from headstart.source.card import Preprocessing

BUNDLED, LARGE = "efficientnet_lite0", "vit_base_patch16_224"
REPEATS = 5
PRODUCT = 8_192  # rows and columns of the matrices of the peak
AGREE = 0.99  # least cosine between features in bf16 on the GPU and in fp32 on the CPU


def main(pictures: int = 8_192) -> dict[str, Any]:
    """All rows, on the first CUDA device.

    Args:
        pictures: through each engine, per repeat.
    """
    import torch

    if not torch.cuda.is_available():
        return {"skipped": "no CUDA device"}
    return measure("cuda", pictures, PRODUCT)


def measure(device: str, pictures: int, product: int) -> dict[str, Any]:
    """The rows on a device; on a CPU, where it is only tried, all is in the precision of the engine there."""
    import timm
    import torch

    from headstart.source import find
    from headstart.source.card import Preprocessing

    peak = _peak(device, product)
    bundled = find(BUNDLED)
    transformer = timm.create_model(LARGE, num_classes=0, pretrained=False)
    how = bundled.card.preprocessing
    assert isinstance(how, Preprocessing)
    modules = {BUNDLED: bundled.module(), LARGE: transformer}
    networks = {name: _network(module, how, device, pictures, peak) for name, module in modules.items()}
    cuda = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if cuda else device,
        "cuda": torch.version.cuda if cuda else None,
        "peak_tflops": round(peak / 1e12, 2),
        "networks": networks,
        "targets": [
            target(
                f"features of {name} agree with those of the CPU: cosine at least {AGREE:g}",
                found["cosine"] >= AGREE,
                f"{found['cosine']:.5f}; {found['images_per_second']:,.0f} images/s, of which the device alone "
                f"{found['resident_images_per_second']:,.0f} ({found['share_of_peak']:.0%} of its bf16 peak)",
            )
            for name, found in networks.items()
        ],
    }


def _network(module: Any, how: Preprocessing, device: str, pictures: int, peak: float) -> dict[str, Any]:
    """One network: images a second through the engine and on the device alone, and whether it computes the same."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from headstart.features.engine import POOLED, TorchEngine

    plain = module.eval()
    moved = copy.deepcopy(plain).to(device, memory_format=torch.channels_last)
    engine = TorchEngine(moved, (), (POOLED,), how, device, pictures)
    size = how.size
    pixels = np.random.default_rng(0).integers(0, 256, (engine.batch, size, size, 3), dtype=np.uint8)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        width = plain(torch.zeros(1, 3, size, size)).shape[1]
    flops = counter.get_total_flops()
    into = [np.empty((engine.batch, width), dtype=np.float32)]
    rounds = max(1, pictures // engine.batch)

    def through() -> None:
        for _ in range(rounds):
            engine.start(pixels, range(engine.batch), into)
        engine.finish()

    alone = engine._input(pixels)

    def resident() -> None:
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=engine.cuda):
            for _ in range(rounds):
                engine._module(alone)
        _wait(device)

    through(), resident()
    whole = rounds * engine.batch / median(seconds(through) for _ in range(REPEATS))
    inner = rounds * engine.batch / median(seconds(resident) for _ in range(REPEATS))
    reference = TorchEngine(plain.to(memory_format=torch.channels_last), (), (POOLED,), how)
    few = min(reference.batch, engine.batch)
    expected = [np.empty((few, width), dtype=np.float32)]
    reference.start(pixels[:few], range(few), expected)
    mine, theirs = into[0][:few], expected[0]
    cosine = (mine * theirs).sum(1) / (np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1))
    return {
        "batch": engine.batch,
        "gflops_per_image": round(flops / 1e9, 3),
        "images_per_second": round(whole, 1),
        "resident_images_per_second": round(inner, 1),
        "share_of_peak": round(inner * flops / peak, 4),
        "cosine": round(float(cosine.min()), 6),
    }


def _peak(device: str, side: int) -> float:
    """Floating-point operations a second of a product of two random bf16 matrices, the best of some."""
    import torch

    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))

    def product() -> None:
        a @ b
        _wait(device)

    product()
    return float(2 * side**3 / min(seconds(product) for _ in range(2 * REPEATS)))


def _wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)

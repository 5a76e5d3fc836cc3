"""Frozen features of a folder of pictures with timm, eager PyTorch in channels-last, and a DataLoader with workers.

With --forward-only N: the pure forward pass on N synthetic batches instead.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

BATCH, WORKERS = 32, 2
WARM_UP = 3  # batches run before any is timed: the first ones choose kernels and allocate


def load() -> nn.Module:
    """The pretrained body, ready to extract features on a CPU."""
    weights = common.renamed(common.stored())
    model: nn.Module = timm.create_model(
        common.ARCHITECTURE, pretrained=True, num_classes=0, pretrained_cfg_overlay={"state_dict": weights}
    )
    common.verify(model, weights)
    return model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def preprocessing(model: nn.Module) -> Callable[[Any], torch.Tensor]:
    """The transform that the model's pretrained configuration asks for."""
    transform: Callable[[Any], torch.Tensor] = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )
    return transform


def extract(
    model: nn.Module, data: ImageFolder, *, batch: int = BATCH, workers: int = WORKERS
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (N, 1280) and labels (N,) of a folder, in the order of its files."""
    features, labels = [], []
    with torch.inference_mode():
        for images, targets in DataLoader(data, batch_size=batch, num_workers=workers):
            features.append(model(images.to(memory_format=torch.channels_last)))
            labels.append(targets)
    return torch.cat(features).numpy(), torch.cat(labels).numpy()


def forward_seconds(model: nn.Module, batches: int, batch: int) -> list[float]:
    """Seconds of each of so many forward passes on a synthetic batch."""
    _, height, width = timm.data.resolve_model_data_config(model)["input_size"]
    images = torch.randn(batch, 3, height, width).to(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            model(images)
        for _ in range(batches):
            began = time.perf_counter()
            model(images)
            seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    watch = common.Stopwatch()
    parser = common.parser(__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="a folder with a folder for each class")
    parser.add_argument("--forward-only", type=int, metavar="N", help="time N synthetic batches, and read no files")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--save", type=Path, metavar="NPZ", help="keep features, labels and the files' names")
    given = parser.parse_args()
    if (given.data is None) == (given.forward_only is None):
        parser.error("give a folder, or --forward-only N")
    if given.forward_only is not None and given.forward_only < 1:
        parser.error("--forward-only needs at least one batch")

    watch.lap("arguments")
    model = load()
    watch.lap("model")
    measured: dict[str, Any] = {"batch": given.batch}
    if given.forward_only is not None:
        seconds = forward_seconds(model, given.forward_only, given.batch)
        measured |= {
            "forward_seconds": seconds,
            "images_per_second": given.batch / statistics.median(seconds),
        }
    else:
        data = ImageFolder(str(given.data), preprocessing(model))
        features, labels = extract(model, data, batch=given.batch, workers=given.workers)
        seconds_features = watch.lap("features")
        if given.save is not None:
            names = [str(Path(path).relative_to(given.data)) for path, _ in data.samples]
            np.savez(given.save, features=features, labels=labels, names=np.array(names))
        measured |= {
            "workers": given.workers,
            "images": len(features),
            "width": features.shape[1],
            "images_per_second": len(features) / seconds_features,
        }
    watch.seconds["process"] = common.process_seconds()
    common.report("timm_features", measured | {"seconds": watch.seconds}, given.json)


if __name__ == "__main__":
    main()

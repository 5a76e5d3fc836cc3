"""Fine-tuning of the last stage with timm: the frozen prefix is run anew in every epoch, as every tutorial does."""

from __future__ import annotations

import time
from pathlib import Path

import common
import timm
import timm_features
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

LAST = ("blocks.6.", "conv_head.", "bn2.", "classifier.")  # what is trained
RATE, DECAY, WARM_UP = 1e-3, 0.05, 0.1  # AdamW; the share of the steps over which the rate rises
SMALLEST_CROP = 0.4  # share of a picture's area; the default of 0.08 is made for long training on ImageNet
SMOOTHING = 0.1


def load(classes: int) -> nn.Module:
    """The pretrained body with a new head, everything before the last stage frozen."""
    weights = common.renamed(common.stored())
    model: nn.Module = timm.create_model(
        common.ARCHITECTURE, pretrained=True, num_classes=classes, pretrained_cfg_overlay={"state_dict": weights}
    )
    common.verify(model, weights)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(LAST)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def train_mode(model: nn.Module) -> None:
    """Training mode, except for batch norm, which keeps the statistics of ImageNet."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def train_epoch(
    model: nn.Module,
    batches: DataLoader[tuple[torch.Tensor, torch.Tensor]],
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over the training pictures; returns the mean loss."""
    measure = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    train_mode(model)
    total = 0.0
    for images, labels in batches:
        loss = measure(model(images.to(memory_format=torch.channels_last)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += float(loss.detach()) * len(labels)
    return total / len(batches.dataset)  # type: ignore[arg-type]


def accuracy(model: nn.Module, batches: DataLoader[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Share of the pictures that are classified right."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for images, labels in batches:
            right += int((model(images.to(memory_format=torch.channels_last)).argmax(1) == labels).sum())
    return right / len(batches.dataset)  # type: ignore[arg-type]


def main() -> None:
    watch = common.Stopwatch()
    parser = common.parser(__doc__)
    parser.add_argument("train", type=Path, help="a folder with a folder for each class")
    parser.add_argument("test", type=Path, help="the same classes")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=timm_features.BATCH)
    parser.add_argument("--workers", type=int, default=timm_features.WORKERS)
    given = parser.parse_args()
    if given.epochs < 1:
        parser.error("--epochs must be at least 1")

    watch.lap("arguments")
    torch.manual_seed(given.seed)
    train, test = ImageFolder(str(given.train)), ImageFolder(str(given.test))
    if train.classes != test.classes:
        parser.error(f"the classes differ: {train.classes} and {test.classes}")
    model = load(len(train.classes))
    config = timm.data.resolve_model_data_config(model)
    train.transform = timm.data.create_transform(
        **config, is_training=True, scale=(SMALLEST_CROP, 1.0), hflip=0.5, color_jitter=0.0
    )
    test.transform = timm_features.preprocessing(model)
    # The workers live through all epochs: starting them anew would cost the peer time that it need not spend.
    batches = DataLoader(
        train, given.batch, shuffle=True, num_workers=given.workers, persistent_workers=given.workers > 0
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=given.epochs * len(batches), pct_start=WARM_UP, cycle_momentum=False
    )
    watch.lap("model")
    seconds, losses = [], []
    for _ in range(given.epochs):
        began = time.perf_counter()
        losses.append(train_epoch(model, batches, optimiser, schedule))
        seconds.append(time.perf_counter() - began)
    watch.lap("training")
    found = accuracy(model, DataLoader(test, given.batch, num_workers=given.workers))
    watch.lap("test")
    watch.seconds["process"] = common.process_seconds()
    measured = {
        "batch": given.batch,
        "workers": given.workers,
        "seed": given.seed,
        "train_images": len(train),
        "test_images": len(test),
        "trained_parameters": sum(parameter.numel() for parameter in trained),
        "epoch_seconds": seconds,
        "epoch_losses": losses,
        "accuracy": found,
    }
    common.report("timm_frozen_finetune", measured | {"seconds": watch.seconds}, given.json)


if __name__ == "__main__":
    main()

"""The `fine_tune` of fastai on the same pretrained weights: test accuracy against seconds since the process began."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import common
import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.vision.all import (
    Callback,
    CategoryBlock,
    DataBlock,
    DataLoaders,
    FuncSplitter,
    ImageBlock,
    Learner,
    Resize,
    accuracy,
    aug_transforms,
    default_device,
    get_files,
    parent_label,
    set_seed,
    vision_learner,
)
from torchvision.datasets.folder import IMG_EXTENSIONS

BATCH = 64  # fastai's default
PICTURES = set(IMG_EXTENSIONS)  # ImageFolder's, so that all peers see the same files: get_image_files adds .gif
SIDE, CROP = 256, 224  # each picture to 256 x 256, then augmented in batches to the network's 224


class Timeline(Callback):  # type: ignore[misc]
    """Notes, after every epoch, the seconds since the process began and the accuracy on the test folder."""

    order = 60  # after the Recorder, which is 50

    def __init__(self) -> None:
        self.points: list[dict[str, Any]] = []

    def after_epoch(self) -> None:
        """Read what the Recorder has just measured."""
        train_loss, test_loss, found = (float(value) for value in self.learn.recorder.values[-1])
        point = {
            "seconds": common.process_seconds(),
            "accuracy": found,
            "phase": "frozen" if self.learn.opt.frozen_idx else "unfrozen",
            "train_loss": train_loss,
            "test_loss": test_loss,
        }
        self.points.append(point)
        print(f"{point['seconds']:7.1f} s  {100 * found:5.1f} %  {point['phase']}", file=sys.stderr, flush=True)


def loaders(train: Path, test: Path, batch: int, seed: int) -> DataLoaders:
    """The two folders, prepared as fastai's documentation prepares pictures."""
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda _: get_files(train, PICTURES) + get_files(test, PICTURES),
        splitter=FuncSplitter(lambda path: path.is_relative_to(test)),
        get_y=parent_label,
        item_tfms=Resize(SIDE),
        batch_tfms=aug_transforms(size=CROP),
    )
    set_seed(seed, reproducible=True)
    return block.dataloaders(train, bs=batch)


def learner(data: DataLoaders, timeline: Timeline) -> tuple[Learner, int]:
    """A learner on the pretrained body, and how many tensors of the body were found equal to the package's."""
    weights = common.renamed(common.stored())
    learn = vision_learner(
        data,
        common.ARCHITECTURE,
        metrics=accuracy,
        cbs=[ChannelsLast(), timeline],
        pretrained_cfg_overlay={"state_dict": weights},
    )
    return learn, common.verify(learn.model[0].model, weights)


def main() -> None:
    watch = common.Stopwatch()
    parser = common.parser(__doc__)
    parser.add_argument("train", type=Path, help="a folder with a folder for each class")
    parser.add_argument("test", type=Path, help="the same classes")
    parser.add_argument("--epochs", type=int, default=3, help="after one with the body frozen")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=BATCH)
    given = parser.parse_args()
    if given.epochs < 1:
        parser.error("--epochs must be at least 1")

    watch.lap("arguments")
    default_device(use=False)  # the comparison is on processor cores, whatever else the machine has
    data = loaders(given.train, given.test, given.batch, given.seed)
    watch.lap("data")
    timeline = Timeline()
    learn, verified = learner(data, timeline)
    watch.lap("model")
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(given.epochs)
    watch.lap("training")
    watch.seconds["process"] = common.process_seconds()
    measured = {
        "batch": given.batch,
        "workers": data.train.fake_l.num_workers,
        "seed": given.seed,
        "train_images": len(data.train_ds),
        "test_images": len(data.valid_ds),
        "pretrained_tensors_verified": verified,
        "channels_last": all(
            parameter.is_contiguous(memory_format=torch.channels_last)
            for parameter in learn.model[0].parameters()
            if parameter.dim() == 4
        ),
        "timeline": timeline.points,
        "accuracy": timeline.points[-1]["accuracy"],
    }
    common.report("fastai_finetune", measured | {"seconds": watch.seconds}, given.json)


if __name__ == "__main__":
    main()

"""Training a classifier network on a view: what fine-tuning and training from scratch share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart.budget import Budget
from headstart.features import NetworkBody
from headstart.predictor import LinearHead, Predictor
from headstart.source.card import Preprocessing, Source
from headstart.strategy.contract import Bench
from headstart.target.split import holdout
from headstart.target.view import Examples, TrainView
from headstart.train import Augmentation, Classification, Pictures, Plan, Trainable, train

STOPPING_SHARE = 0.15  # of the training examples, held out for early stopping
STOPPING_MINIMUM = 40  # below this many examples nothing is held out, and all epochs are run


class Classifier(nn.Module):
    """A trunk that keeps timm's contract, and a linear head on its pooled output."""

    def __init__(self, trunk: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to logits (B, C)."""
        trunk: Any = self.trunk
        logits: torch.Tensor = self.head(trunk.forward_head(trunk.forward_features(x), pre_logits=True))
        return logits


def fit(
    source: Source,
    view: TrainView,
    *,
    preprocessing: Preprocessing,
    plan: Plan,
    trainable: Trainable,
    augmentation: Augmentation,
    smoothing: float,
    batch: int,
    budget: Budget,
    seed: int,
    bench: Bench,
    words: str,
    stop_early: bool,
    start: LinearHead | None = None,
) -> Predictor:
    """Train a network on `view` and return it as a predictor.

    With `stop_early`, a stratified part of the view is held out, and the weights of the epoch with the smallest mean
    cross-entropy on it are kept.

    Args:
        source: gives the trunk.
        view: what may be learned from.
        preprocessing: how pictures become inputs.
        plan: how to train; its seed is `seed`.
        trainable: what to train.
        augmentation: of the training pictures.
        smoothing: of the labels.
        batch: pictures per batch.
        budget: of this trial.
        seed: everything random.
        bench: device, checkpoint, progress.
        words: what the progress display says.
        stop_early: see above; else everything is trained on, for all epochs.
        start: initial head; None: random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Classifier(source.module(seed), source.card.features, len(view.classes))
    if start is not None:
        with torch.no_grad():
            module.head.weight.copy_(torch.from_numpy(start.weight))
            module.head.bias.copy_(torch.from_numpy(start.bias))
    module = module.to(bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    fitted, stopping = view.examples, None
    if stop_early and len(view) >= STOPPING_MINIMUM:
        kept, held = holdout(view.examples.labels, STOPPING_SHARE, seed=seed, groups=view.examples.groups)
        fitted, stopping = view.examples.take(kept), view.examples.take(held)
    pictures = Pictures(fitted, preprocessing, augmentation, batch=batch, device=bench.device)
    if bench.device.startswith("cuda"):
        plan = replace(plan, precision="bf16")
    history = train(
        module,
        Classification(smoothing),
        pictures.training,
        len(pictures.cuts()),
        plan,
        trainable,
        budget=budget,
        evaluate=None if stopping is None else _mean_loss(module, stopping, preprocessing, batch, bench.device),
        checkpoint=bench.checkpoint,
        progress=bench.saying(words),
    )
    body = NetworkBody(module.trunk, source.card.architecture, preprocessing, source.card.features, device=bench.device)
    weight, bias = (p.detach().cpu().numpy().astype(np.float32) for p in (module.head.weight, module.head.bias))
    training = {"epochs": len(history.losses), "best_epoch": history.best_epoch + 1, "stopped_by": history.stopped}
    return Predictor(view.classes, body, LinearHead(weight, bias), provenance={"training": training})


def _mean_loss(module: nn.Module, examples: Examples, how: Preprocessing, batch: int, device: str) -> Any:
    batches: list[Any] = []

    def evaluate() -> float:
        if not batches:  # few enough to keep: a stopping set is 15 % of a small target
            batches.extend(Pictures(examples, how, batch=batch, device=device).evaluation())
        total = sum(float(functional.cross_entropy(module(x), y, reduction="sum")) for x, y in batches)
        return total / len(examples)

    return evaluate

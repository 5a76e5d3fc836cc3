"""What is trainable is a value, not a mutation: patterns over parameter names, each with a share of the rate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Trainable:
    """Which parameters are trained, and how fast.

    The first pattern that matches a parameter's name decides; a parameter that no pattern matches is frozen.

    Args:
        shares: (regular expression, share of the learning rate) pairs; a share of 0 freezes.
        batch_norm: `train`: batch statistics are used and running ones updated; `frozen`: running statistics are used
            as they are, which small batches and small targets need.
        later: (regular expression, epoch) pairs: gradual unfreezing (Howard & Ruder 2018). Until that epoch, counted
            from 0, the parameters that match stay as they are.
    """

    shares: tuple[tuple[str, float], ...] = ((r".*", 1.0),)
    batch_norm: str = "train"
    later: tuple[tuple[str, int], ...] = ()

    def share(self, name: str) -> float:
        """The share of the learning rate for the parameter called `name`."""
        return next((share for pattern, share in self.shares if re.match(pattern, name)), 0.0)

    def groups(self, module: nn.Module, rate: float, decay: float) -> list[dict[str, object]]:
        """Optimiser groups. Biases and normalisation weights (one dimension) get no weight decay."""
        sorted_: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            if share := self.share(name):
                key = (rate * share, decay if parameter.ndim > 1 else 0.0)
                sorted_.setdefault(key, []).append(parameter)
        return [{"params": p, "lr": lr, "weight_decay": wd} for (lr, wd), p in sorted(sorted_.items(), reverse=True)]

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """`requires_grad` and the modes of the layers as this value says, put back afterwards."""
        before = {name: p.requires_grad for name, p in module.named_parameters()}
        training = {name: m.training for name, m in module.named_modules()}
        try:
            self.begin(module, 0)
            yield
        finally:
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(before[name])
            for name, child in module.named_modules():
                child.training = training[name]

    def begin(self, module: nn.Module, epoch: int) -> None:
        """What epoch number `epoch` trains, and the modes of the layers; the optimiser skips what has no gradient."""
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(self.share(name) > 0 and self._first(name) <= epoch)
        self.modes(module)

    def _first(self, name: str) -> int:
        return next((epoch for pattern, epoch in self.later if re.match(pattern, name)), 0)

    def modes(self, module: nn.Module) -> None:
        """Training mode, except for batch norm where it is frozen."""
        module.train()
        if self.batch_norm == "frozen":
            for child in module.modules():
                if isinstance(child, nn.modules.batchnorm._BatchNorm):
                    child.eval()

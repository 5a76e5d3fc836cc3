"""What is trainable is a value, not a mutation: patterns over parameter names, each with a share of the rate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import nn

Part = Literal["all", "norm", "bias"]


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
        parts: (regular expression, part) pairs: of the parameters that match, only those of this part are trained.
            `norm`: the scales and shifts of normalisation layers (Frankle et al. 2021); `bias`: what is added, in
            whatever layer (BitFit, Zaken et al. 2022).
    """

    shares: tuple[tuple[str, float], ...] = ((r".*", 1.0),)
    batch_norm: str = "train"
    later: tuple[tuple[str, int], ...] = ()
    parts: tuple[tuple[str, Part], ...] = ()

    def share(self, name: str) -> float:
        """The share of the learning rate for the parameter called `name`, whatever part it is of."""
        return next((share for pattern, share in self.shares if re.match(pattern, name)), 0.0)

    def trained(self, module: nn.Module) -> dict[str, float]:
        """The share of the learning rate of every parameter that is trained, by its name."""
        norms = _of_norms(module) if self.parts else set()
        shares = {name: self.share(name) for name, _ in module.named_parameters()}
        return {name: share for name, share in shares.items() if share and self._in_part(name, norms)}

    def _in_part(self, name: str, norms: set[str]) -> bool:
        part = next((part for pattern, part in self.parts if re.match(pattern, name)), "all")
        return part == "all" or (name in norms if part == "norm" else name.endswith("bias"))

    def groups(self, module: nn.Module, rate: float, decay: float) -> list[dict[str, object]]:
        """Optimiser groups. Biases and normalisation weights (one dimension) get no weight decay."""
        sorted_: dict[tuple[float, float], list[nn.Parameter]] = {}
        trained = self.trained(module)
        for name, parameter in module.named_parameters():
            if share := trained.get(name):
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
        trained = self.trained(module)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in trained and self._first(name) <= epoch)
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


def _of_norms(module: nn.Module) -> set[str]:
    """Names of the parameters of normalisation layers, which every library derives or names after what they do."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, child in module.named_modules()
        if "norm" in type(child).__name__.lower()
        for name, _ in child.named_parameters(recurse=False)
    }

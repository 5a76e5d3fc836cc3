"""What our own networks have in common: a classifier on pooled features, which can be exchanged, as timm has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Network(nn.Module):
    """A network that keeps timm's contract; subclasses give features, pool them, and group their parameters.

    They set `num_features`, the width D of the pooled features, before :meth:`reset_classifier` is called.
    """

    num_features: int
    classifier: nn.Module

    def forward_features(self, x: torch.Tensor) -> Any:
        """Inputs to what :meth:`forward_head` takes."""
        raise NotImplementedError

    def forward_head(self, x: Any, pre_logits: bool = False) -> torch.Tensor:
        """Pooling to (B, D), then, unless `pre_logits`, the classifier."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """A new last layer for `num_classes` (0: none)."""
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

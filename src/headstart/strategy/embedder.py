"""A text network that is trained for its vectors, not for a classifier on them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from headstart.source.encoder import TextNetwork

PARTS = 4


class Embedder(nn.Module):
    """The pooled output of a text network, scaled to length 1.

    All texts of a contrastive batch must be embedded before there is a loss. So that one long text does not make the
    others as dear as itself, they are read in parts of about equal length, each padded only as far as it must be.

    Args:
        trunk: of the source.
        parts: how many.
    """

    def __init__(self, trunk: TextNetwork, parts: int = PARTS) -> None:
        super().__init__()
        self.trunk, self.parts = trunk, parts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Token numbers (B, L) to (B, D)."""
        lengths = (x != 0).sum(1).clamp(min=1)
        order = lengths.argsort(stable=True)
        found = [
            self.trunk.forward_head(self.trunk.forward_features(x[rows, : int(lengths[rows].max())]), pre_logits=True)
            for rows in order.chunk(self.parts)
        ]
        return functional.normalize(torch.cat(found)[order.argsort()], dim=1)

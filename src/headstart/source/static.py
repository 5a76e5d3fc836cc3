"""Static embeddings as a network: a vector for each token, and their mean. No attention, no layers."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from headstart.source.encoder import Read, TextNetwork, masked_mean

PREFIX = "static:"


def name_of(tokens: int, width: int) -> str:
    """The architecture's name."""
    return f"{PREFIX}{tokens}x{width}"


def build(name: str) -> StaticEmbedding:
    """The network that :func:`name_of` names, with random vectors."""
    tokens, width = name.removeprefix(PREFIX).split("x")
    return StaticEmbedding(int(tokens), int(width))


class StaticEmbedding(TextNetwork):
    """The mean of the vectors of a text's tokens.

    Token numbers (B, L) from 1, with 0 where a text has ended, to (B, D).

    Args:
        tokens: V, how many there are.
        width: D.
    """

    counts: torch.Tensor
    """(V + 1,) float32: 1 for a token that is counted in the mean, 0 for padding and the unknown token."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(tokens + 1, width, padding_idx=0)
        counts = torch.ones(tokens + 1)
        counts[0] = 0
        self.register_buffer("counts", counts)
        self.num_features = self.head_hidden_size = width
        self.reset_classifier(0)

    def read(self, x: torch.Tensor) -> list[Read]:
        """(B, L) to (B, L, D), and which tokens are counted."""
        return [(self.words(x), self.counts[x] > 0)]

    def pool(self, read: Read) -> torch.Tensor:
        """The mean over the tokens that are counted."""
        return masked_mean(*read)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """One group."""
        return {"stem": r"^words"}


def filled(name: str, table: torch.Tensor, unknown: int) -> StaticEmbedding:
    """The network that :func:`name_of` names, with its vectors.

    Args:
        name: of the architecture.
        table: (V, D) float32, by the tokenizer's numbers, which are one less than the network's.
        unknown: the number of the token that is not counted; -1: there is none.
    """
    with torch.random.fork_rng(devices=[]):  # it draws vectors that are replaced below
        network = build(name)
    with torch.no_grad():
        network.words.weight[1:] = table
        if unknown >= 0:
            network.words.weight[1 + unknown] = 0
            network.counts[1 + unknown] = 0
    return network


def unknown_in(document: str) -> int:
    """The number of the token that a `tokenizer.json` puts in the place of what it does not know; -1: there is none."""
    model = json.loads(document)["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    vocabulary, word = model.get("vocab"), model.get("unk_token")
    return int(vocabulary.get(word, -1)) if isinstance(vocabulary, dict) and word is not None else -1

"""Networks that read texts: a transformer encoder (BERT's architecture) and a small convolutional one.

Both take token numbers (B, L) with 0 where a text has ended, and keep timm's contract: what `forward_features` gives,
`forward_head` takes. No vector depends on how far a text was padded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from headstart.source.network import Network

Read = tuple[torch.Tensor, torch.Tensor]
"""Values at each position (B, L, D), and whether there is a token (B, L) bool."""


class TextNetwork(Network):
    """What the two have in common: a classifier on pooled features."""

    stages: tuple[str, ...] = ()
    resumes = False
    """Whether :meth:`read_to` and :meth:`resume` are there."""

    def forward_features(self, x: torch.Tensor) -> Read:
        """(B, L) to values at each position."""
        return self.read(x)[-1]

    def read(self, x: torch.Tensor) -> list[Read]:
        """(B, L) to the values at the end of each stage."""
        raise NotImplementedError

    def read_to(self, x: torch.Tensor, stage: str) -> Read:
        """(B, L) to the values at the end of a stage, and no further."""
        raise NotImplementedError

    def resume(self, read: Read, stage: str) -> Read:
        """From the values at the end of a stage to those at the end: what follows :meth:`read_to`."""
        raise NotImplementedError

    def pool(self, read: Read) -> torch.Tensor:
        """Values at each position to (B, D)."""
        raise NotImplementedError

    def forward_head(self, x: Read, pre_logits: bool = False) -> torch.Tensor:
        """Pooling, then, unless `pre_logits`, the classifier."""
        pooled = self.pool(x)
        if pre_logits:
            return pooled
        logits: torch.Tensor = self.classifier(pooled)
        return logits


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the positions that count: (B, L, D) and (B, L) to (B, D); zeros where none does."""
    weight = mask.unsqueeze(-1).to(values.dtype)
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)


def _dense(inner: int, width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)})


class _Layer(nn.Module):
    """One layer: attention, then two dense layers, each added to what came in and normalised (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        # The names are those of the checkpoints that the weights come from.
        attention: Any = nn.Module()
        attention.self = nn.ModuleDict({part: nn.Linear(width, width) for part in ("query", "key", "value")})
        attention.output = nn.ModuleDict(
            {"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=1e-12)}
        )
        self.attention = attention
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = _dense(inner, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, L, D) and (B, 1, 1, L) bool to (B, L, D)."""
        attend, after = self.attention.self, self.attention.output
        split = [attend[part](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in ("query", "key", "value")]
        mixed = functional.scaled_dot_product_attention(split[0], split[1], split[2], attn_mask=mask)
        x = after["LayerNorm"](x + after["dense"](mixed.transpose(1, 2).flatten(2)))
        inner = functional.gelu(self.intermediate["dense"](x))
        normalised: torch.Tensor = self.output["LayerNorm"](x + self.output["dense"](inner))
        return normalised


class BertEncoder(TextNetwork):
    """The encoder of BERT (Devlin et al. 2019) with the mean over tokens as its pooled output; without dropout.

    Args:
        vocabulary: token numbers there are.
        width: D of the values at each position.
        layers: how many.
        heads: of attention in each.
        inner: width between the two dense layers.
        positions: longest input, tokens.
    """

    resumes = True

    def __init__(
        self,
        vocabulary: int = 30_522,
        width: int = 384,
        layers: int = 6,
        heads: int = 12,
        inner: int = 1_536,
        positions: int = 512,
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(vocabulary, width),
                "position_embeddings": nn.Embedding(positions, width),
                "token_type_embeddings": nn.Embedding(2, width),
                "LayerNorm": nn.LayerNorm(width, eps=1e-12),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer(width, heads, inner) for _ in range(layers))})
        self.num_features = self.head_hidden_size = width
        self.stages = tuple(f"encoder.layer.{k}" for k in range(layers))
        self.reset_classifier(0)

    def read(self, x: torch.Tensor) -> list[Read]:
        """(B, L) to (B, L, D) after each layer."""
        return self._through(self._embedded(x), 0, len(self.stages))

    def read_to(self, x: torch.Tensor, stage: str) -> Read:
        """(B, L) to (B, L, D) after a layer."""
        return self._through(self._embedded(x), 0, self.stages.index(stage) + 1)[-1]

    def resume(self, read: Read, stage: str) -> Read:
        """(B, L, D) after a layer to (B, L, D) after the last."""
        return [read, *self._through(read, self.stages.index(stage) + 1, len(self.stages))][-1]

    def _embedded(self, x: torch.Tensor) -> Read:
        place = torch.arange(x.shape[1], device=x.device)
        embeddings: Any = self.embeddings
        summed = embeddings["word_embeddings"](x) + embeddings["position_embeddings"](place)
        return embeddings["LayerNorm"](summed + embeddings["token_type_embeddings"].weight[0]), x != 0

    def _through(self, read: Read, first: int, end: int) -> list[Read]:
        """The values after each of some layers."""
        values, mask = read
        layers: Any = self.encoder["layer"]
        found = []
        for layer in list(layers)[first:end]:
            values = layer(values, mask[:, None, None, :])
            found.append((values, mask))
        return found

    def pool(self, read: Read) -> torch.Tensor:
        """The mean over tokens (Reimers & Gurevych 2019)."""
        return masked_mean(*read)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups from input to output, as timm writes them."""
        return {"stem": r"^embeddings", "blocks": r"^encoder\.layer\.(\d+)"}


class TextCNN(TextNetwork):
    """Convolutions over runs of 3, 4 and 5 words, and the largest value of each (Kim 2014, the variant CNN-rand).

    Args:
        vocabulary: token numbers there are.
        embedding: width of a word's vector.
        filters: of each of the three lengths.
    """

    LENGTHS = (3, 4, 5)

    def __init__(self, vocabulary: int, embedding: int = 128, filters: int = 100) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, embedding, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.1)
        with torch.no_grad():
            self.words.weight[0] = 0
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, length) for length in self.LENGTHS)
        self.dropout = nn.Dropout(0.5)
        self.num_features = self.head_hidden_size = filters * len(self.LENGTHS)
        self.reset_classifier(0)

    def read(self, x: torch.Tensor) -> list[Read]:
        """(B, L) to (B, L, 300)."""
        mask = x != 0
        vectors = self.words(x).transpose(1, 2)
        found = [
            functional.relu(convolution(functional.pad(vectors, ((length - 1) // 2, length // 2))))
            for length, convolution in zip(self.LENGTHS, self.convolutions, strict=True)
        ]
        return [(torch.cat(found, 1).transpose(1, 2), mask)]

    def pool(self, read: Read) -> torch.Tensor:
        """The largest value of each filter, with dropout in training."""
        values, mask = read
        # They are not negative, so that zero is as good as absent.
        pooled: torch.Tensor = self.dropout((values * mask.unsqueeze(-1).to(values.dtype)).amax(1))
        return pooled

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups from input to output, as timm writes them."""
        return {"stem": r"^words", "blocks": r"^convolutions\.(\d+)"}


class Pooled(nn.Module):
    """A text network as one module: (B, L) to the pooled output and the pooled values of some stages, in one pass."""

    def __init__(self, trunk: TextNetwork, stages: tuple[str, ...]) -> None:
        super().__init__()
        self.trunk = trunk
        self.places = [trunk.stages.index(stage) for stage in stages]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, L) to (B, D) each."""
        found = self.trunk.read(x)
        return (self.trunk.pool(found[-1]), *(self.trunk.pool(found[place]) for place in self.places))

"""Cards: a checkpoint described as data, readable without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a network's input.

    The shorter side is resized to `size / crop`, the centre `size` x `size` is cut out, and each channel becomes
    `(value / 255 - mean) / std`. With `squash`, the picture is resized to `size` x `size` without cutting.

    Args:
        size: side of the square input, pixels.
        crop: share of the resized shorter side that is kept (timm's `crop_pct`).
        interpolation: `bicubic`, `bilinear`, `nearest` or `lanczos`, as Pillow defines them.
        mean: per-channel mean, in [0, 1].
        std: per-channel standard deviation, in [0, 1].
        squash: do not keep the aspect ratio.
    """

    size: int
    crop: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    squash: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_json` gives it back."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_json`."""
        return cls(**(document | {"mean": tuple(document["mean"]), "std": tuple(document["std"])}))


@dataclass(frozen=True)
class Tokens:
    """How a text becomes a network's input: as token numbers, padded with 0.

    Args:
        length: tokens the network reads at once, special ones included.
        windows: a longer text is read in windows of that length, whose vectors are averaged, weighted by their tokens;
            False: the rest is not read.
        normalise: the vector is scaled to length 1.
        vocabulary: 0: the tokenizer comes with the source; else it is fitted on the training texts, and knows so many
            words at most.
        shift: is added to the tokenizer's numbers, so that 0 is free for padding.
    """

    length: int
    windows: bool = True
    normalise: bool = False
    vocabulary: int = 0
    shift: int = 0

    TYPICAL: ClassVar[int] = 32
    """Tokens of a text for which a card's operations are given."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_json` gives it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Tokens:
        """The inverse of :meth:`to_json`."""
        return cls(**document)


@dataclass(frozen=True)
class Stage:
    """A place where the forward pass can be cut in two.

    Args:
        name: of the network's child that ends here, such as `blocks.5`.
        shape: of the values there, without the batch: (C, H, W), or (L, C) for tokens; (D,) where only their mean over
            a text is offered.
        flops: floating-point operations of the forward pass after it.
    """

    name: str
    shape: tuple[int, ...]
    flops: float

    @property
    def width(self) -> int:
        """Numbers in the mean over its positions."""
        return self.shape[0] if len(self.shape) == 3 else self.shape[-1]


WIDEST = 3
"""The means of stages that are kept beside the pooled output are at most so many times as wide as that."""


def beside(stages: Sequence[Stage], features: int) -> tuple[str, ...]:
    """The stages whose means a probe may take beside the pooled output, from input to output.

    They are the latest that together are no wider than `WIDEST` times the pooled output, so that keeping them costs
    little: every stage of a convolutional network, the last three blocks of a transformer. The last stage of all is not
    among them where the pooled output is its mean.

    Args:
        stages: of a source, from input to output.
        features: width of its pooled output.
    """
    if stages and stages[-1].width == features:
        stages = stages[:-1]
    found: list[str] = []
    room = WIDEST * features
    for stage in reversed(stages):
        room -= stage.width
        if room < 0:
            break
        found.append(stage.name)
    return tuple(reversed(found))


def halfway(stages: Sequence[Stage]) -> tuple[str, ...]:
    """The stage in the middle of a network; none where there are fewer than three."""
    return (stages[(len(stages) - 1) // 2].name,) if len(stages) > 2 else ()


@dataclass(frozen=True)
class SourceCard:
    """What is known of a source before it is loaded.

    Args:
        name: the full name, such as `bundled:efficientnet_lite0`; what ledgers and evidence call it.
        modality: what it takes: `image`, `text`, or "" for anything (it has no network).
        architecture: the name under which `headstart.source.architecture.build` makes the network; "" for none.
        pretraining: what it was trained on; "" when it was not (scratch).
        licence: of the weights.
        origin: where the weights are (a package, a file, a hub name).
        preprocessing: how pictures or texts become inputs; None where the source takes none.
        parameters: number of parameters of the backbone, without a classification head.
        features: width D of the pooled features.
        flops: floating-point operations of one forward pass on one example (a multiply-add counts as two); on texts
            of `Tokens.TYPICAL` tokens.
        bytes: size of the weights on disk.
        stages: where the forward pass can be cut, from input to output; none where that is not known.
        known: the data set whose classes it still knows by name, see :class:`NamingSource`; "" for none.
        parts: the cards of the sources it is made of, where it is several; see :mod:`headstart.source.joined`.
        attention: whether it is a transformer: a network with linear layers for attention.
        unchanged: the source whose network it is, as it was, where only a head was added; "" for a network of its own.
        batch_norm: whether it has layers of batch norm, which keep statistics of what they were trained on.
        reads: whether it also puts texts into the space of its pictures; see :class:`ReadingSource`.
    """

    name: str
    modality: str
    architecture: str
    pretraining: str
    licence: str
    origin: str
    preprocessing: Preprocessing | Tokens | None
    parameters: int
    features: int
    flops: float
    bytes: int = 0
    stages: tuple[Stage, ...] = ()
    known: str = ""
    parts: tuple[SourceCard, ...] = ()
    attention: bool = False
    unchanged: str = ""
    batch_norm: bool = False
    reads: bool = False

    @property
    def short(self) -> str:
        """The name without its prefix."""
        if self.parts:
            return "+".join(part.short for part in self.parts)
        return self.name.partition(":")[2] or self.name

    @property
    def pretrained(self) -> bool:
        """Whether anything can be transferred from it."""
        return bool(self.pretraining)


@runtime_checkable
class Source(Protocol):
    """Where knowledge comes from: a pretrained model, or nothing (scratch)."""

    @property
    def card(self) -> SourceCard:
        """What is known without loading it."""
        ...

    def revision(self) -> str:
        """A digest of the weights: two sources with one revision compute the same features."""
        ...

    def module(self, seed: int = 0) -> nn.Module:
        """A fresh network that keeps timm's contract.

        That is: `forward_features`, `forward_head(x, pre_logits=True)`, `get_classifier`, `reset_classifier(n)`,
        `group_matcher()` and `num_features`. `seed` initialises what is not pretrained.
        """
        ...


@runtime_checkable
class TextSource(Source, Protocol):
    """A source for texts that comes with a tokenizer."""

    def tokenizer(self) -> str:
        """The tokenizer as the `tokenizers` package writes it (JSON); with the card's shift, 0 is padding."""
        ...


@dataclass(frozen=True)
class Classifier:
    """The last layer that a source was pretrained with: what it knows by name.

    Args:
        names: of its K classes.
        weight: (K, D) float32, on the pooled features.
        bias: (K,) float32.
    """

    names: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@runtime_checkable
class NamingSource(Source, Protocol):
    """A source whose card says which classes it knows, and that still has the classifier for them."""

    def names(self) -> tuple[str, ...]:
        """What the classes are called; nothing is loaded for it."""
        ...

    def classifier(self) -> Classifier:
        """The classifier that :meth:`Source.module` is given without."""
        ...


@runtime_checkable
class ReadingSource(Source, Protocol):
    """A source for pictures that was pretrained to put texts beside them (CLIP): any class is known by its name."""

    def texts(self) -> TextSource:
        """What puts a text into the space of the pictures: its pooled vectors are as wide as this one's."""
        ...

    def scale(self) -> float:
        """What it was pretrained to multiply cosines with, before a softmax."""
        ...

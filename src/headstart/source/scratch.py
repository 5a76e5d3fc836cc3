"""Scratch: the source that knows nothing. Baselines are ordinary strategies on it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from headstart.source.bundled import CARDS
from headstart.source.card import Preprocessing, SourceCard, Tokens

if TYPE_CHECKING:
    from torch import nn

SMALL_CNN = "small_cnn"
SMALL_CNN_PREPROCESSING = Preprocessing(size=64, squash=True, interpolation="bilinear")
SMALL_CNN_MEASURED = (219_096, 192, 65_028_096.0)
"""Parameters, width and operations of `small_cnn` at 64 x 64, as `architecture.measure` finds them."""

TEXT_CNN = "text_cnn"
TEXT_CNN_WORDS = 8_192
TEXT_CNN_PREPROCESSING = Tokens(length=1_024, windows=False, vocabulary=TEXT_CNN_WORDS)
TEXT_CNN_MEASURED = (1_202_476, 300, 9_830_400.0)
"""Parameters, width and operations of `text_cnn` on texts of 32 words."""

SMALL = {"image": f"scratch:{SMALL_CNN}", "text": f"scratch:{TEXT_CNN}"}
"""The small network that is trained from random weights in every run, by modality."""

NOTHING = SourceCard(
    name="scratch",
    modality="",
    architecture="",
    pretraining="",
    licence="",
    origin="nothing is loaded",
    preprocessing=None,
    parameters=0,
    features=0,
    flops=0.0,
)


def written_down(architecture: str) -> tuple[Preprocessing | Tokens, int, int, float] | None:
    """Preprocessing, parameters, width and operations of the networks that are in every run; None: measure them.

    Measuring imports torch, and its compiler, which takes seconds.
    """
    twin = next((card for card in CARDS.values() if card.architecture == architecture), None)
    if twin is not None:
        assert twin.preprocessing is not None
        return twin.preprocessing, twin.parameters, twin.features, twin.flops
    if architecture == SMALL_CNN:
        return SMALL_CNN_PREPROCESSING, *SMALL_CNN_MEASURED
    return (TEXT_CNN_PREPROCESSING, *TEXT_CNN_MEASURED) if architecture == TEXT_CNN else None


class NothingSource:
    """No network at all, for baselines that need none (majority, classical)."""

    card = NOTHING

    def revision(self) -> str:
        """Always the same."""
        return "scratch"

    def module(self, seed: int = 0) -> nn.Module:
        """There is none.

        Raises:
            TypeError: always; strategies that need a network say so in their `needs`.
        """
        raise TypeError("the source 'scratch' has no network; name one: scratch:small_cnn")


class ScratchSource:
    """An architecture with random weights.

    Args:
        architecture: `small_cnn`, or a timm name.

    Raises:
        SourceError: nobody knows the architecture.
    """

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card; sizes and operations of networks that are not in every run are measured on the network itself."""
        known = written_down(self.architecture)
        if known is None:
            from headstart.source import architecture

            how = architecture.preprocessing(self.architecture)
            known = how, *architecture.measure(self.architecture, how.size)
        preprocessing, parameters, features, flops = known
        return SourceCard(
            name=f"scratch:{self.architecture}",
            modality="text" if isinstance(preprocessing, Tokens) else "image",
            architecture=self.architecture,
            pretraining="",
            licence="",
            origin="random weights",
            preprocessing=preprocessing,
            parameters=parameters,
            features=features,
            flops=flops,
        )

    def revision(self) -> str:
        """Nothing pretrained, so nothing to digest: the name."""
        return f"scratch:{self.architecture}"

    def module(self, seed: int = 0) -> nn.Module:
        """The architecture, initialised from `seed`."""
        from headstart.source import architecture

        return architecture.build(self.architecture, seed)

"""Planted texts: made-up words, half of them warm and half cold. Only the source was told which are which.

A text is five words of one kind. There are so many words that few of those in the test were seen in training, so that
counting words helps little, and `toy_text:words`, which knows the kind of each, is right nearly always.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import nn

from headstart import source as sources
from headstart.source import SourceCard, Tokens, architecture, weights
from headstart.source.card import Stage
from headstart.source.encoder import Read, TextNetwork
from headstart.target.assemble import assemble
from headstart.target.inputs import StringInputs
from headstart.target.raw import Raw, Side
from headstart.target.target import Target

WORDS = 4_000
CLASSES = ("cold", "warm")
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]  # 70
WIDTH = 8


def word(number: int) -> str:
    """The made-up word with a number below `WORDS`."""
    first, second = divmod(number, len(_SYLLABLES))
    return _SYLLABLES[(11 * first + 3) % len(_SYLLABLES)] + _SYLLABLES[second]


def kinds() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(WORDS,) int64: 0 for cold words and 1 for warm ones; always the same."""
    return np.random.default_rng(7).permutation(np.arange(WORDS) % 2)


def planted_texts(train: int = 60, test: int = 120, seed: int = 0) -> Raw:
    """Training examples first, then the given test split (none: no split is given)."""
    rng = np.random.default_rng([seed, train, test])
    of_kind = [np.flatnonzero(kinds() == kind) for kind in (0, 1)]
    y = np.concatenate([rng.permutation(np.arange(part) % 2) for part in (train, test)])
    texts = [" ".join(word(int(w)) for w in rng.choice(of_kind[kind], 5)) for kind in y]
    sides: list[Side] = ["train" if i < train else "test" for i in range(train + test)]
    return Raw("planted texts", StringInputs(texts), [CLASSES[kind] for kind in y], sides if test else None)


def text_target(train: int = 60, test: int = 120, seed: int = 0) -> Target:
    """The target of :func:`planted_texts`, sealed: transfer from `toy_text:words` helps."""
    return assemble(planted_texts(train, test, seed), test_fraction=0.25, seed=0)


class ToyWords(TextNetwork):
    """The mean of the vectors of a text's words, after a first stage that only looks them up."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS + 2, WIDTH)
        self.mixing = nn.Linear(WIDTH, WIDTH, bias=False)
        self.num_features = self.head_hidden_size = WIDTH
        self.stages = ("words", "mixing")
        self.reset_classifier(0)

    def read(self, x: torch.Tensor) -> list[Read]:
        """(B, L) to (B, L, 8), twice."""
        mask = x != 0
        vectors = self.words(x)
        return [(vectors, mask), (self.mixing(vectors), mask)]

    def pool(self, read: Read) -> torch.Tensor:
        """The mean over words."""
        values, mask = read
        weight = mask.unsqueeze(-1).to(values.dtype)
        return (values * weight).sum(1) / weight.sum(1).clamp(min=1)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Two groups."""
        return {"stem": r"^words", "blocks": r"^mixing"}


class ToyTextSource:
    """`toy_text:words`: knows of every made-up word whether it is warm; the other seven numbers are noise."""

    card = SourceCard(
        name="toy_text:words",
        modality="text",
        architecture="toy_words",
        pretraining="planted by hand",
        licence="Apache-2.0",
        origin="made in memory",
        preprocessing=Tokens(length=16, normalise=False),
        parameters=(WORDS + 2) * WIDTH + WIDTH**2,
        features=WIDTH,
        flops=Tokens.TYPICAL * 2.0 * WIDTH**2,
        stages=(Stage("words", (WIDTH,), Tokens.TYPICAL * 2.0 * WIDTH**2), Stage("mixing", (WIDTH,), 1.0)),
    )

    def revision(self) -> str:
        """Digest of the weights."""
        return weights.digest(self.module().state_dict())

    def tokenizer(self) -> str:
        """Words between blanks; those that were not made up are all one."""
        vocabulary = {"[PAD]": 0, "[UNK]": 1} | {word(i): i + 2 for i in range(WORDS)}
        return json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": {"type": "Lowercase"},
                "pre_tokenizer": {"type": "Whitespace"},
                "post_processor": None,
                "decoder": None,
                "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
            }
        )

    def module(self, seed: int = 0) -> nn.Module:
        """A fresh network with the planted vectors."""
        network = architecture.build(self.card.architecture, seed)
        vectors = np.random.default_rng(3).normal(0, 0.3, (WORDS + 2, WIDTH))
        vectors[:2] = 0
        vectors[2:, 0] = 2 * kinds() - 1
        network.load_state_dict({"words.weight": torch.tensor(vectors).float(), "mixing.weight": torch.eye(WIDTH)})
        return network


sources.register("toy_text", lambda name: ToyTextSource())
architecture.register("toy_words", ToyWords)

"""zero-shot: what the classes are called is all that is learned from. No label, no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Tally, body_of
from headstart.features.known import known_classes, own_classes
from headstart.predictor import ConvexHead, CosineHead, Head, LinearHead, Predictor
from headstart.predictor.heads import unit
from headstart.source import find
from headstart.source.card import NamingSource, ReadingSource, Source, SourceCard
from headstart.strategy import semantic
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.describe import in_words
from headstart.target.inputs import StringInputs
from headstart.target.view import TrainView

FEWEST_KNOWN = 20
"""A map from names to classifiers is learned from so many known classes at least."""

TEMPLATES = ("{}", "This text is about {}.", "It is {}.")
"""What a text of a class might say, where there is only the class's name."""

PICTURED = ("{}", "a photo of a {}", "a picture of {}")
"""What a picture of a class might be called."""

SCALE = 20.0
"""Cosines times this are logits: the scale that sentence encoders are trained with (Reimers & Gurevych 2019), so that
a temperature needs no labels to be fitted on."""


@dataclass(frozen=True)
class ZeroShot:
    """Classes from their names or descriptions.

    A source that knows all of the classes by these very names, as an earlier run of the same task does, is taken by its
    word: its own classifier is used.

    Texts: a class is the mean of the encoder's vectors of its descriptions, or of its name in some templates; a text
    belongs to the class at the smallest angle (dataless classification, Chang et al. 2008).

    Pictures, where the source reads texts too (CLIP, Radford et al. 2021): the same, with the source's own network for
    texts.

    Other pictures: an image classifier has no words, but knows classes with names. A sentence encoder says how near
    those names are to the wanted ones, and a map from names to classifiers that holds for the known classes is taken to
    hold for the wanted ones: see :func:`headstart.strategy.semantic.bilinear` and `convex`. Which, and how far it is
    trusted, is chosen by leaving known classes out.

    Scores are then shifted so that no class is preferred over all the pictures or texts seen, whose labels are not
    looked at: what they have in common (they are drawings, they are film reviews) is nearer to some names than to
    others, and says nothing about any one of them.

    Args:
        method: for pictures and a source that reads no texts: `bilinear`, `conse`, or None: chosen by leaving known
            classes out.
        centre: shift the scores, which takes the classes for about equally frequent.
        encoder: for pictures, likewise: the sentence encoder for the names.
    """

    name: ClassVar[str] = "zero-shot"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(
        network=True,
        pretrained=True,
        modalities=("image", "text"),
        labels=False,
        class_names=True,
        known_classes=True,
    )

    method: Literal["bilinear", "conse"] | None = None
    centre: bool = True
    encoder: str = "bundled:minilm_l6"

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting: to choose among more, labels would be needed."""
        return [cls()]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Some names through the encoder, and for pictures a few solves with those of a thousand classes."""
        return 0.1 + 0.005 * classes + (0.4 if card.modality == "image" and not card.reads else 0.0)

    def frozen(self, card: SourceCard) -> float:
        """One pass."""
        return card.flops

    def __call__(
        self,
        source: Source,
        view: TrainView,
        *,
        budget: Budget,
        seed: int,
        bench: Bench = PLAIN,
    ) -> Predictor:
        """Names to a head; the inputs, without their labels, only to centre it."""
        if wordless := view.wordless():
            raise TrialError(
                f"the classes {', '.join(wordless[:5])} have no names in words; describe them (--describe)"
            )
        card, body = source.card, bench.body(source)
        quiet = replace(bench, tally=Tally(), progress=None)  # names are no examples
        sentences = [list(said) for said in view.descriptions or ((),) * len(view.classes)]
        templates = TEMPLATES if card.modality == "text" else PICTURED
        for said, name in zip(sentences, view.classes, strict=True):
            said.extend([] if said else _in(templates, in_words(name)))
        mean: NDArray[np.float32] | None = None
        own = None if self.method or view.descriptions else own_classes(source, view.classes, bench.store)
        by_angle = own is None and (card.modality == "text" or card.reads)
        if self.centre and len(view):
            X = bench.features(body, view.examples.inputs, card.short)
            mean = (unit(X) if by_angle else X).mean(axis=0, dtype=np.float64).astype(np.float32)
        if own is not None:
            bias = own.bias if mean is None else _shift(own.weight, mean)
            how = {"known": card.known, "method": "own"}
            return Predictor(view.classes, body, LinearHead(own.weight, bias), provenance={"zero_shot": how})
        if by_angle:
            encoder, scale = (source.texts(), source.scale()) if isinstance(source, ReadingSource) else (source, SCALE)
            weight = np.float32(scale) * class_vectors(encoder, sentences, quiet)
            return Predictor(view.classes, body, CosineHead(weight, _shift(weight, mean)))
        head, how = self._pictures(source, sentences, mean, quiet)
        return Predictor(view.classes, body, head, provenance={"zero_shot": how})

    def _pictures(
        self, source: Source, sentences: Sequence[Sequence[str]], mean: NDArray[np.float32] | None, bench: Bench
    ) -> tuple[Head, dict[str, Any]]:
        encoder = find(self.encoder)
        if not isinstance(source, NamingSource):
            raise TrialError(f"{source.card.name} knows no classes by name")
        there = known_classes(source, bench.store)
        names, weight, bias = there.names, there.weight, there.bias
        if len(names) < FEWEST_KNOWN:
            raise TrialError(
                f"{source.card.name} knows {len(names)} classes, not these; to learn from names what others look like "
                f"takes {FEWEST_KNOWN}"
            )
        known = class_vectors(encoder, [_in(PICTURED, name) for name in names], bench)
        wanted = class_vectors(encoder, sentences, bench)
        choice = semantic.leave_classes_out(known, weight, (self.method,) if self.method else ("bilinear", "conse"))
        how = {"known": source.card.known, "encoder": self.encoder, **vars(choice)}
        if choice.method == "conse":
            if mean is not None:
                bias = _shift(weight, mean)
            return ConvexHead(weight, bias, known, np.float32(SCALE) * wanted, np.array(choice.value, np.float32)), how
        unseen = semantic.bilinear(known, weight, wanted, choice.value)
        return LinearHead(unseen, _shift(unseen, mean)), how


def _in(templates: Sequence[str], name: str) -> list[str]:
    return [template.format(name) for template in templates]


def _shift(weight: NDArray[np.float32], mean: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The bias (C,) with which the mean input scores zero in every class."""
    if mean is None:
        return np.zeros(len(weight), dtype=np.float32)
    shift: NDArray[np.float32] = -(weight @ mean)
    return shift


def class_vectors(encoder: Source, sentences: Sequence[Sequence[str]], bench: Bench) -> NDArray[np.float32]:
    """(C, E) float32: for each class the mean direction of its sentences, of length 1.

    Raises:
        TrialError: the encoder does not take texts.
    """
    if encoder.card.modality != "text":
        raise TrialError(f"names need a source for texts, and {encoder.card.name} takes {encoder.card.modality}")
    flat = StringInputs([sentence for said in sentences for sentence in said])
    vectors = unit(bench.features(body_of(encoder, bench.device), flat, encoder.card.short))
    ends = np.cumsum([len(said) for said in sentences])[:-1]
    return unit(np.stack([part.mean(axis=0) for part in np.split(vectors, ends)]))

"""From a saved body to a body, and from a source to the body that computes its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.features.body import Body, EmptyBody, HandcraftedBody, Tensors
from headstart.features.engine import POOLED
from headstart.features.joined import JoinedBody
from headstart.features.network import NetworkBody
from headstart.features.precision import F32, Precision
from headstart.features.text import TOKENIZER, TextBody
from headstart.features.tfidf import VOCABULARY, TfidfBody
from headstart.source.card import Preprocessing, Source, Stage, Tokens

if TYPE_CHECKING:
    from torch import nn


def body_of(
    source: Source, device: str = "cpu", outputs: tuple[str, ...] = (POOLED,), precision: Precision = F32
) -> NetworkBody:
    """The body of a source as it is, whatever it takes. Its network is only loaded when something must be computed."""
    if isinstance(source.card.preprocessing, Tokens):
        return TextBody.of_text(source, device, outputs, precision)
    return NetworkBody.of(source, device, outputs, precision=precision)


def restore(spec: dict[str, Any], tensors: Tensors, digest: str = "", documents: dict[str, str] | None = None) -> Body:
    """The body that `spec`, `tensors` and `documents` describe; a network is only built when it must compute something.

    Args:
        spec: as :meth:`Body.spec` gave it.
        tensors: as :meth:`Body.tensors` gave them.
        digest: of the tensors; by it a network that was trained is known to the cache of compiled networks.
        documents: as :meth:`Body.documents` gave them.

    Raises:
        ValueError: the kind of body is unknown.
        KeyError: a document is missing.
    """
    if spec["kind"] == "empty":
        return EmptyBody(spec.get("modality", "image"))
    if spec["kind"] == "handcrafted":
        return HandcraftedBody(spec["features"], spec["size"])
    if spec["kind"] == "joined":
        return JoinedBody.restored(spec, tensors, digest, documents or {}, restore)
    if spec["kind"] == "tfidf":
        return TfidfBody.restored((documents or {})[VOCABULARY], tensors)
    if spec["kind"] not in ("network", "text network"):
        raise ValueError(f"no body of kind {spec['kind']!r}")

    def module() -> nn.Module:
        import torch

        from headstart.source import architecture, weights

        built = architecture.build(spec["architecture"])
        state = {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
        weights.load(built, state, "the saved model")
        return built

    stages = tuple(Stage(name, tuple(shape), flops) for name, shape, flops in spec.get("stages", []))
    outputs = tuple(spec.get("outputs", [POOLED]))
    kept: dict[str, Any] = {"stages": stages, "outputs": outputs, "tensors": tensors, "digest": digest}
    kept["precision"] = spec.get("precision", F32)
    architecture, width, revision = spec["architecture"], spec["width"], spec["revision"]
    if spec["kind"] == "network":
        how = Preprocessing.from_json(spec["preprocessing"])
        return NetworkBody(module, architecture, how, width, revision, **kept)
    document = (documents or {})[TOKENIZER]
    return TextBody(module, architecture, Tokens.from_json(spec["tokens"]), document, width, revision, **kept)

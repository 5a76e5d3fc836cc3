"""Any model of timm: `timm:NAME` from the hub or its cache, `timm:NAME@FILE` from a file of weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.errors import Problem, SourceError, unknown
from headstart.source import imagenet
from headstart.source.card import Classifier, SourceCard
from headstart.source.imagenet import IMAGENET

if TYPE_CHECKING:
    from torch import nn


class TimmSource:
    """A checkpoint that timm knows how to build.

    Args:
        spec: `NAME`, such as `resnet50.a1_in1k`, or `NAME@FILE`.

    Raises:
        SourceError: timm does not know the name, or the file is absent.
    """

    def __init__(self, spec: str) -> None:
        import timm

        self._name, _, file = spec.partition("@")
        self._file = Path(file).expanduser() if file else None
        self._spec = spec
        if not timm.is_model(self._name.partition(".")[0]):
            raise SourceError(unknown("timm model", self._name, timm.list_models(pretrained=True)))
        if self._file is not None and not self._file.is_file():
            raise SourceError(
                Problem(f"timm:{spec}: no file {self._file}", "a .safetensors file or a torch checkpoint")
            )

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card, from timm's own record of the checkpoint."""
        from headstart.source import architecture

        config = architecture.checkpoint(self._name)
        preprocessing = architecture.preprocessing(self._name)
        base = self._name.partition(".")[0]
        parameters, features, flops = architecture.measure(base, preprocessing.size)
        return SourceCard(
            name=f"timm:{self._spec}",
            modality="image",
            architecture=self._name,
            pretraining=_pretraining(config.tag) if self._file is None else "the weights in the file",
            licence=config.license or "not stated",
            origin=str(self._file) if self._file else f"hub {config.hf_hub_id or config.url or 'unknown'}",
            preprocessing=preprocessing,
            parameters=parameters,
            features=features,
            flops=flops,
            bytes=self._file.stat().st_size if self._file else parameters * 4,
            stages=architecture.stages(base, preprocessing.size),
            attention=architecture.attends(base),
            batch_norm=architecture.has_batch_norm(base),
            known=IMAGENET if self._file is None and _knows_imagenet(config) else "",
        )

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a run holds a handful of sources
    def revision(self) -> str:
        """SHA-256 over the loaded tensors, so that a file and the hub agree when their weights do."""
        from headstart.source import weights

        return weights.digest(self.module().state_dict())

    def module(self, seed: int = 0) -> nn.Module:
        """The pretrained backbone, without a classification head.

        Raises:
            SourceError: the weights are not in the cache and the hub cannot be reached, or do not fit.
        """
        import timm
        import torch

        from headstart.source import weights

        if self._file is None:
            module = self._whole()
            module.reset_classifier(0)  # type: ignore[operator]
            return module
        with torch.random.fork_rng(devices=[]):  # it draws weights that are replaced below
            module = timm.create_model(self._name, pretrained=False, num_classes=0)
        config: Any = timm.get_pretrained_cfg(self._name)
        head = config.classifier
        heads = (head,) if isinstance(head, str) else tuple(head or ())
        weights.load(module, weights.read(self._file), self.card.name, without=heads)
        return module

    def names(self) -> tuple[str, ...]:
        """The classes of ImageNet-1k, where the card says that it knows them; else none."""
        return imagenet.names() if self.card.known else ()

    def classifier(self) -> Classifier:
        """What it was pretrained to tell apart.

        Raises:
            SourceError: it has no single linear layer of that kind, or the weights cannot be had.
        """
        from torch import nn

        last = self._whole().get_classifier()  # type: ignore[operator]
        names = self.names()
        if not isinstance(last, nn.Linear) or last.weight.shape != (len(names), self.card.features):
            raise SourceError(Problem(f"timm:{self._name} knows no classes by name", "a linear layer for ImageNet-1k"))
        bias = np.zeros(len(names), np.float32) if last.bias is None else last.bias.detach().numpy()
        return Classifier(names, last.weight.detach().numpy(), bias)

    def _whole(self) -> nn.Module:
        import timm
        import torch

        try:
            with torch.random.fork_rng(devices=[]):
                module: nn.Module = timm.create_model(self._name, pretrained=True)
        except Exception as error:
            raise SourceError(
                Problem(
                    f"timm:{self._name}: the weights are not in the hub's cache and the hub did not give them "
                    f"({type(error).__name__})",
                    "a connection to the hub, a filled cache, or a file",
                    f"headstart fit ... --source timm:{self._name}@weights.safetensors, "
                    "or a source that needs no hub: headstart sources",
                )
            ) from error
        return module


def _knows_imagenet(config: Any) -> bool:
    return config.num_classes == 1_000 and isinstance(config.classifier, str) and "in1k" in (config.tag or "")


def _pretraining(tag: str | None) -> str:
    return f"timm tag {tag}" if tag else "pretrained by timm"

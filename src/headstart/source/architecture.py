"""Networks by name, without weights: `small_cnn`, `text_cnn`, `minilm_l6`, or any architecture that timm knows."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from headstart.errors import SourceError, unknown
from headstart.source import static, towers, transformer
from headstart.source.card import Preprocessing, Stage, Tokens
from headstart.source.encoder import BertEncoder, TextCNN
from headstart.source.network import Network
from headstart.source.scratch import SMALL_CNN, SMALL_CNN_PREPROCESSING, TEXT_CNN, TEXT_CNN_WORDS

_OWN: dict[str, Callable[[], nn.Module]] = {"minilm_l6": BertEncoder, TEXT_CNN: lambda: TextCNN(TEXT_CNN_WORDS)}
_REGISTERED: dict[str, Callable[[], nn.Module]] = {}


def register(name: str, make: Callable[[], nn.Module]) -> None:
    """Make an architecture of your own known to :func:`build`, and so to saved models.

    Args:
        name: what a source's card calls it; registering it again replaces what stood there.
        make: a network with random weights and no classification head, that keeps timm's contract.
    """
    _REGISTERED[name] = make


class SmallCNN(Network):
    """A plain convolutional network for training from scratch on few pictures.

    Four 3 x 3 convolutions with batch norm and ReLU, the first with stride 2, the next two followed by pooling, then
    global average pooling; it keeps timm's contract. Input (B, 3, S, S) with S >= 8, pooled features (B, 192), about
    0.2 million parameters.
    """

    def __init__(self, num_classes: int = 0, widths: tuple[int, ...] = (24, 48, 96, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 3
        for depth, width in enumerate(widths):
            layers.append(
                nn.Sequential(
                    nn.Conv2d(previous, width, 3, stride=2 if depth == 0 else 1, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    nn.MaxPool2d(2) if 0 < depth < len(widths) - 1 else nn.Identity(),
                )
            )
            previous = width
        self.blocks = nn.Sequential(*layers)
        self.num_features = self.head_hidden_size = previous
        self.reset_classifier(num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, 192, S/8, S/8)."""
        features: torch.Tensor = self.blocks(x)
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Global average pooling, then, unless `pre_logits`, the classifier."""
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups from input to output, as timm writes them."""
        return {"stem": r"^blocks\.0", "blocks": r"^blocks\.(\d+)"}


def build(name: str, seed: int = 0) -> nn.Module:
    """A network with random weights and no classification head.

    Args:
        name: `small_cnn`, `text_cnn`, `minilm_l6`, a timm architecture name, a registered one, or a name that
            describes the network (`transformers:...`, `static:...`, `tower:...`).
        seed: initialises the weights; the global random state is left as it was.

    Raises:
        SourceError: nobody knows the name.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == SMALL_CNN:
            return SmallCNN()
        if name in _REGISTERED:
            return _REGISTERED[name]()
        if name in _OWN:
            return _OWN[name]()
        if name.startswith(transformer.PREFIX):
            return transformer.build(name)
        if name.startswith(static.PREFIX):
            return static.build(name)
        if name.startswith(towers.PREFIX):
            return towers.build(name)
        import timm

        if not timm.is_model(name.partition(".")[0]):
            raise SourceError(unknown("architecture", name, [SMALL_CNN, *timm.list_models()]))
        module: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
        return module


def checkpoint(name: str) -> Any:
    """What timm has on record of `ARCHITECTURE` or `ARCHITECTURE.TAG`.

    Raises:
        SourceError: timm knows no such architecture, or no such tag of it.
    """
    import timm

    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise SourceError(unknown("architecture", name, [SMALL_CNN, *timm.list_models()]))
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise SourceError(unknown("timm checkpoint", name, timm.list_pretrained(base))) from error


def preprocessing(name: str) -> Preprocessing:
    """The preprocessing an architecture was designed for."""
    if name == SMALL_CNN:
        return SMALL_CNN_PREPROCESSING
    config = checkpoint(name)
    return Preprocessing(
        size=config.input_size[-1],
        crop=config.crop_pct or 0.875,
        interpolation=config.interpolation or "bicubic",
        mean=config.mean,
        std=config.std,
    )


ATTENTION = r"(query|value|[qv]_lin|[qv]_proj|[qv]|c_attn|qkv|Wqkv|query_key_value|proj)"
"""Linear layers of attention, as BERT, DistilBERT, Llama, MPNet and GPT-2 call those for queries and values, and timm
those for all three and for what comes out."""


def linear_layers(module: nn.Module, pattern: str = r".*") -> dict[str, str]:
    """The names of the linear layers whose last part matches, and their kinds.

    GPT-2 has a kind of its own (`Conv1D`), with the weights transposed.
    """
    kinds = {name: "Linear" if isinstance(m, nn.Linear) else type(m).__name__ for name, m in module.named_modules()}
    return {
        name: kind
        for name, kind in kinds.items()
        if kind in ("Linear", "Conv1D") and re.fullmatch(pattern, name.rpartition(".")[2])
    }


@functools.lru_cache(maxsize=64)
def attends(name: str) -> bool:
    """Whether an architecture has linear layers of attention."""
    return bool(linear_layers(build(name), ATTENTION))


@functools.lru_cache(maxsize=64)
def has_batch_norm(name: str) -> bool:
    """Whether an architecture has layers of batch norm."""
    return any(isinstance(child, nn.modules.batchnorm._BatchNorm) for child in build(name).modules())


@functools.lru_cache(maxsize=64)
def measure(name: str, size: int) -> tuple[int, int, float]:
    """Parameters, pooled width D, and floating-point operations of one forward pass.

    Args:
        name: as for :func:`build`.
        size: of pictures, pixels each side; 0: it reads texts, and is given one of `Tokens.TYPICAL` tokens.
    """
    from torch.utils.flop_counter import FlopCounterMode

    module = build(name).eval()
    given = torch.zeros(1, 3, size, size) if size else torch.ones(1, Tokens.TYPICAL, dtype=torch.long)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        pooled = module.forward_head(module.forward_features(given), pre_logits=True)  # type: ignore[operator]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    width = int(pooled.shape[1])
    means = 0 if size else 2 * Tokens.TYPICAL * width  # all that a table of words computes
    return parameters, width, float(max(means, counter.get_total_flops()))


@functools.lru_cache(maxsize=64)
def stages(name: str, size: int) -> tuple[Stage, ...]:
    """Where the forward pass at `size` x `size` pixels can be cut; none where it cannot be traced."""
    from torch.utils.flop_counter import FlopCounterMode

    from headstart.source import cuts

    traced = cuts.trace(build(name).eval())
    if traced is None or not traced.cuts:
        return ()
    found = []
    with torch.inference_mode():
        _, *values = traced.with_stages(tuple(traced.cuts))(torch.zeros(1, 3, size, size))
        for stage, value in zip(traced.cuts, values, strict=True):
            with FlopCounterMode(display=False) as counter:
                traced.after(stage)(value)
            found.append(Stage(stage, tuple(value.shape[1:]), float(counter.get_total_flops())))
    return tuple(found)

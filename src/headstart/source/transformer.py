"""Any encoder or decoder of transformers as a network that reads texts, and the name from which it is built again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import nn

from headstart import profile
from headstart.source.encoder import Read, TextNetwork, masked_mean

PREFIX = "transformers:"
Pooling = Literal["mean", "cls", "last", "max"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

# Of a configuration: where it came from, and what concerns other tasks than reading.
_IDLE = (
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "use_cache",
)


def name_of(config: Any, pooling: Pooling) -> str:
    """The architecture's name: `transformers:` and JSON that holds the configuration and the pooling.

    Args:
        config: of transformers.
        pooling: see :class:`Transformer`.
    """
    return PREFIX + json.dumps({"pooling": pooling, "config": told(config)}, sort_keys=True)


def told(config: Any) -> dict[str, Any]:
    """What a network is built from, of a configuration of transformers."""
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    return {key: value for key, value in found.items() if key not in _IDLE}


def build(name: str) -> Transformer:
    """The network that :func:`name_of` names, with random weights.

    Raises:
        ModuleNotFoundError: transformers is not installed.
    """
    with profile.phase("import"):
        from transformers import AutoConfig, AutoModel

    document = json.loads(name.removeprefix(PREFIX))
    config = dict(document["config"])
    make: Any = AutoModel.from_config
    with quiet():
        network = make(
            AutoConfig.for_model(config.pop("model_type"), **config), dtype=torch.float32, trust_remote_code=False
        )
    return Transformer(network, document["pooling"])


class Transformer(TextNetwork):
    """A network of transformers with a pooled output: token numbers (B, L) from 1, with 0 where a text has ended.

    Args:
        network: gives `last_hidden_state` and `hidden_states`.
        pooling: `mean`: over tokens; `cls`: the first; `last`: the last, which is the only one of a decoder that has
            seen the whole text; `max`: the largest value over tokens.
    """

    def __init__(self, network: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"no pooling called {pooling!r}")
        if hasattr(network, "pooler"):
            network.register_module("pooler", None)  # it was for BERT's own training task
        self.network, self.pooling = network, pooling
        config: Any = network.config
        config.use_cache = False  # nothing is generated
        self.padding = config.pad_token_id or 0
        self.num_features = self.head_hidden_size = config.hidden_size
        layers = next(
            name
            for name, child in network.named_modules()
            if isinstance(child, nn.ModuleList) and len(child) == config.num_hidden_layers
        )
        self.stages = tuple(f"network.{layers}.{k}" for k in range(config.num_hidden_layers))
        self.reset_classifier(0)

    def read(self, x: torch.Tensor) -> list[Read]:
        """(B, L) to (B, L, D) after each layer."""
        mask = x != 0
        numbers = torch.where(mask, x - 1, self.padding)
        found = self.network(input_ids=numbers, attention_mask=mask.long(), output_hidden_states=True, return_dict=True)
        return [(values, mask) for values in (*found.hidden_states[1:-1], found.last_hidden_state)]

    def pool(self, read: Read) -> torch.Tensor:
        """As its card says."""
        values, mask = read
        if self.pooling == "cls":
            return values[:, 0]
        if self.pooling == "last":
            place = (mask.long().sum(1) - 1).clamp(min=0)
            return values.gather(1, place[:, None, None].expand(-1, 1, values.shape[2]))[:, 0]
        if self.pooling == "max":
            return values.masked_fill(~mask.unsqueeze(-1), -1e9).amax(1)
        return masked_mean(values, mask)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups from input to output, as timm writes them."""
        layers = re.escape(self.stages[0].rpartition(".")[0])
        return {"stem": rf"^(?!{layers})", "blocks": rf"^{layers}\.(\d+)"}


@contextmanager
def quiet() -> Iterator[None]:
    """What transformers reports on stderr is checked here, and what is wrong is raised."""
    from transformers.utils import logging as logs

    logging: Any = logs
    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()

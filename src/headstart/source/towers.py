"""The two networks of CLIP and its kin: one reads pictures, one reads texts, and both end in one space.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (CLIP); Zhai et al. 2023,
"Sigmoid Loss for Language Image Pre-Training" (SigLIP). The layers are those of transformers.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from headstart import profile
from headstart.source.encoder import Read
from headstart.source.network import Network
from headstart.source.transformer import Transformer, quiet, told

PREFIX = "tower:"
_NETWORKS = {
    "clip_vision_model": "CLIPVisionModel",
    "clip_text_model": "CLIPTextModel",
    "siglip_vision_model": "SiglipVisionModel",
    "siglip_text_model": "SiglipTextModel",
}


def name_of(config: Any, projection: int) -> str:
    """The architecture's name: `tower:` and JSON that holds the configuration of one of the two networks.

    Args:
        config: of transformers, of that network.
        projection: width of the common space where a linear layer leads there; 0: there is none.
    """
    return PREFIX + json.dumps({"config": told(config), "projection": projection}, sort_keys=True)


def build(name: str) -> nn.Module:
    """The network that :func:`name_of` names, with random weights.

    Raises:
        ModuleNotFoundError: transformers is not installed.
    """
    document = json.loads(name.removeprefix(PREFIX))
    config = dict(document["config"])
    kind, width = config.pop("model_type"), document["projection"]
    with profile.phase("import"):
        import transformers

        auto: Any = transformers.AutoConfig  # untyped
        make = getattr(transformers, _NETWORKS[kind])
    with quiet():
        network = make(auto.for_model(kind, **config))
    projection = nn.Linear(network.config.hidden_size, width, bias=False) if width else None
    return PictureTower(network, projection) if "vision" in kind else TextTower(network, projection)


class PictureTower(Network):
    """A vision transformer whose pooled output lies in the common space; it keeps timm's contract.

    Args:
        network: `CLIPVisionModel` or `SiglipVisionModel` of transformers.
        projection: CLIP's linear layer into the common space; None: the network ends there (SigLIP).
    """

    def __init__(self, network: Any, projection: nn.Linear | None) -> None:
        super().__init__()
        inner = getattr(network, "vision_model", network)
        self.embeddings, self.blocks, self.norm = inner.embeddings, inner.encoder.layers, inner.post_layernorm
        self.before = getattr(inner, "pre_layrnorm", nn.Identity())  # so it is spelt in the checkpoints
        self.attend = None if projection is not None else inner.head
        self.projection = projection
        width = inner.config.hidden_size if projection is None else projection.out_features
        self.num_features = self.head_hidden_size = int(width)
        self.reset_classifier(0)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to the values of each patch, (B, L, D); CLIP's first is for the whole picture."""
        x = self.before(self.embeddings(x))
        for block in self.blocks:
            x = block(x, None)
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Into the common space (not scaled to length 1), then, unless `pre_logits`, the classifier."""
        pooled: torch.Tensor = self.norm(x[:, 0]) if self.attend is None else self.attend(self.norm(x))
        pooled = pooled if self.projection is None else self.projection(pooled)
        return pooled if pre_logits else self.classifier(pooled)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups from input to output, as timm writes them."""
        return {"stem": r"^(embeddings|before)", "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99_999,))]}


class TextTower(Transformer):
    """A transformer for texts whose pooled output lies in the common space.

    CLIP reads the value at the end of the text. SigLIP was trained on texts padded to one length, and reads the value
    at the very last place, padding or not: so they are padded here too.

    Args:
        network: `CLIPTextModel` or `SiglipTextModel` of transformers.
        projection: CLIP's linear layer into the common space; None: the network's own head ends there (SigLIP).
    """

    def __init__(self, network: Any, projection: nn.Linear | None) -> None:
        super().__init__(network, "last")
        inner = getattr(network, "text_model", network)
        self.projection: nn.Linear = inner.head if projection is None else projection
        self.full = 0 if projection is not None else int(network.config.max_position_embeddings)
        if self.full:
            inner.head = nn.Identity()  # applied here, to what is pooled
            self.padding = network.config.pad_token_id
        self.num_features = self.head_hidden_size = self.projection.out_features
        self.stages = ()  # what lies before the last layer does not lie in the common space
        self.reset_classifier(0)

    def read(self, x: torch.Tensor) -> list[Read]:
        """(B, L) to (B, L, D) after each layer."""
        if not self.full:
            return super().read(x)
        x = functional.pad(x, (0, self.full - x.shape[1]))
        numbers = torch.where(x != 0, x - 1, self.padding)
        found = self.network(input_ids=numbers, output_hidden_states=True, return_dict=True)
        return [(values, torch.ones_like(x, dtype=torch.bool)) for values in (*found.hidden_states[1:-1], found[0])]

    def pool(self, read: Read) -> torch.Tensor:
        """The last value, in the common space."""
        pooled: torch.Tensor = self.projection(super().pool(read))
        return pooled

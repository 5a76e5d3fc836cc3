"""Encoders and decoders for texts as the Hugging Face hub holds them: `hf:NAME` or `hf:FOLDER`, and `static:` likewise.

A folder is what transformers or sentence-transformers save: `config.json`, weights, a tokenizer, and, where there is
one, `modules.json`, which says how the values at the tokens become one vector.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import profile
from headstart.errors import SourceError
from headstart.source.card import SourceCard, Stage, Tokens
from headstart.source.checkpoint import (
    FolderSource,
    Pretrained,
    licence_in,
    need_transformers,
    read_json,
    unmarked,
    weights_in,
)
from headstart.source.clip import KINDS, ClipSource

if TYPE_CHECKING:
    from torch import nn

    from headstart.source.transformer import Pooling

LONGEST = 512  # tokens read at once, where a network could read more; longer texts are read in windows
_IDLE = {"Normalize", "Dropout"}


def find(name: str) -> HuggingFaceSource | ClipSource:
    """The source for texts, or for pictures, that a checkpoint is.

    Args:
        name: a folder or a name on the hub.

    Raises:
        SourceError: transformers is not installed; or there is no such folder, and the hub did not give it.
    """
    need_transformers(name)
    source = HuggingFaceSource(name)
    return ClipSource(name) if read_json(source.folder / "config.json").get("model_type") in KINDS else source


class HuggingFaceSource(Pretrained):
    """A transformer for texts.

    Args:
        name: a folder that transformers or sentence-transformers saved, or a name on the hub.
    """

    kind = "hf"

    @functools.cached_property
    def _pooling(self) -> tuple[Pooling, bool]:
        """How tokens become one vector, and whether that is scaled to length 1.

        Raises:
            SourceError: `modules.json` asks for what is not known here.
        """
        from headstart.source.transformer import POOLINGS

        modules = read_json(self.folder / "modules.json") or []
        names = [module["type"].rpartition(".")[2] for module in modules]
        problems = [
            self._say(f"modules.json asks for {name}", f"Transformer, Pooling and {', '.join(sorted(_IDLE))}")
            for name in names
            if name not in {"Transformer", "Pooling", *_IDLE}
        ]
        pooling = "last" if self._decoder else "mean"
        for module in modules:
            if module["type"].endswith(".Pooling"):
                told = read_json(self.folder / module["path"] / "config.json")
                pooling = _pooling(told)
                if pooling not in POOLINGS:
                    problems.append(self._say(f"it pools by {pooling}", f"one of {', '.join(POOLINGS)}"))
        if problems:
            raise SourceError(problems)
        return pooling, "Normalize" in names  # type: ignore[return-value]

    @functools.cached_property
    def _config(self) -> Any:
        config = self.config
        if config.is_encoder_decoder:
            raise SourceError(self._say(f"{config.model_type} is an encoder with a decoder", "one of the two alone"))
        if not all(hasattr(config, key) for key in ("hidden_size", "num_hidden_layers")):
            raise SourceError(self._say(f"{config.model_type} reads no texts", "an encoder or decoder for texts"))
        return config

    @property
    def _decoder(self) -> bool:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        )

        kind = self._config.model_type
        return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card, from its files and from the network without weights.

        Raises:
            SourceError: transformers is not installed; or it is no source, and why.
        """
        need_transformers(self.name)
        with profile.phase("import"):
            import torch

            from headstart.source import transformer

        config, (pooling, normalise) = self._config, self._pooling
        name = transformer.name_of(config, pooling)
        with torch.device("meta"):
            network = transformer.build(name)
        sizes = {stage: sum(p.numel() for p in network.get_submodule(stage).parameters()) for stage in network.stages}
        costs = [2.0 * Tokens.TYPICAL * (size + 2 * Tokens.TYPICAL * network.num_features) for size in sizes.values()]
        return SourceCard(
            name=f"hf:{self.name}",
            modality="text",
            architecture=name,
            pretraining=f"{config.model_type}, as {Path(self.name).name} says",
            licence=licence_in(self.folder),
            origin=self.origin,
            preprocessing=Tokens(length=self._length(), normalise=normalise, shift=1),
            parameters=sum(p.numel() for p in network.parameters()),
            features=network.num_features,
            flops=sum(costs),
            bytes=self.bytes,
            stages=tuple(
                Stage(stage, (network.num_features,), sum(costs[k + 1 :])) for k, stage in enumerate(network.stages)
            ),
        )

    def _length(self) -> int:
        told = read_json(self.folder / "sentence_bert_config.json").get("max_seq_length")
        room = getattr(self._config, "max_position_embeddings", None) or LONGEST
        if self._config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
            room -= 2  # their positions are counted from the padding's number
        most = read_json(self.folder / "tokenizer_config.json").get("model_max_length") or room
        return int(min(told or LONGEST, room, most))

    def module(self, seed: int = 0) -> nn.Module:
        """The pretrained network with its pooling, without a head.

        Raises:
            WeightsError: the weights lack something that the network needs; all of it is listed.
            SourceError: they cannot be read.
        """
        from headstart.source.transformer import Transformer

        pooling, _ = self._pooling
        return Transformer(self.pretrained(self._config), pooling)


def _pooling(told: dict[str, Any]) -> str:
    """The pooling that a `Pooling` module's file names, of either of the two forms in use."""
    short = {"lasttoken": "last", "mean_tokens": "mean", "max_tokens": "max", "cls_token": "cls"}
    mode = told.get("pooling_mode")
    if mode is None:
        modes = [
            key.removeprefix("pooling_mode_") for key, on in told.items() if key.startswith("pooling_mode_") and on
        ]
    else:
        modes = [mode] if isinstance(mode, str) else list(mode)
    return " and ".join(short.get(name, name) for name in modes) or "mean"


class StaticSource(FolderSource):
    """Static embeddings: a vector for each token, averaged over a text (model2vec, Tulkens & van Dongen 2024).

    There is no network to run, so that it is hundreds of times cheaper than an encoder.

    Args:
        name: a folder that model2vec or sentence-transformers (`StaticEmbedding`) saved, or a name on the hub.
    """

    kind = "static"

    def _files(self, folder: Path) -> list[Path]:
        return weights_in(folder) or weights_in(folder / "0_StaticEmbedding")

    @functools.cached_property
    def _parts(self) -> tuple[Any, int]:
        """The table (V, D) float32 with each token's weight in it, and the unknown token's number (-1: none)."""
        from headstart.source import static, weights

        state = weights.read(self._files(self.folder)[0])
        table = state.get("embeddings", state.get("embedding.weight"))
        if table is None or table.ndim != 2:
            raise SourceError(self._say(f"the weights hold {', '.join(sorted(state))}", "embeddings of two dimensions"))
        table = table.float()
        if (mapping := state.get("mapping")) is not None:  # several tokens may share one vector
            table = table[mapping.long()]
        if (weight := state.get("weights")) is not None:
            table = table * weight.float()[:, None]
        return table, static.unknown_in(self.tokenizer())

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card.

        Raises:
            SourceError: the files are not those of static embeddings.
        """
        from headstart.source import static

        table, _ = self._parts
        tokens, width = table.shape
        modules = [module["type"].rpartition(".")[2] for module in read_json(self.folder / "modules.json") or []]
        normalise = bool(read_json(self.folder / "config.json").get("normalize")) or "Normalize" in modules
        return SourceCard(
            name=f"static:{self.name}",
            modality="text",
            architecture=static.name_of(tokens, width),
            pretraining=f"static embeddings, as {Path(self.name).name} says",
            licence=licence_in(self.folder),
            origin=self.origin,
            preprocessing=Tokens(length=LONGEST, normalise=normalise, shift=1),
            parameters=(tokens + 1) * width,
            features=width,
            flops=float(2 * Tokens.TYPICAL * width),
            bytes=self.bytes,
        )

    def tokenizer(self) -> str:
        """`tokenizer.json`, without the marks that it would put around a text.

        Raises:
            SourceError: there is none.
        """
        places = [self.folder / "tokenizer.json", self.folder / "0_StaticEmbedding" / "tokenizer.json"]
        path = next((path for path in places if path.is_file()), None)
        if path is None:
            raise SourceError(self._say("no tokenizer", "tokenizer.json"))
        return unmarked(read_json(path))

    def revision(self) -> str:
        """SHA-256 over the weights; the tokenizer says which token is not counted."""
        return hashlib.sha256(f"{super().revision()} {self._parts[1]}".encode()).hexdigest()

    def module(self, seed: int = 0) -> nn.Module:
        """The table as a network."""
        from headstart.source import static

        return static.filled(self.card.architecture, *self._parts)

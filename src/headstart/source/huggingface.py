"""Encoders and decoders for texts as the Hugging Face hub holds them: `hf:NAME` or `hf:FOLDER`, and `static:` likewise.

A folder is what transformers or sentence-transformers save: `config.json`, weights, a tokenizer, and, where there is
one, `modules.json`, which says how the values at the tokens become one vector.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import Problem, SourceError, WeightsError
from headstart.source.card import SourceCard, Stage, Tokens
from headstart.store import file_digest

if TYPE_CHECKING:
    from torch import nn

    from headstart.source.transformer import Pooling

LONGEST = 512  # tokens read at once, where a network could read more; longer texts are read in windows
_FILES = ["*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "README.md"]
_WEIGHTS = ("*.safetensors", "*.bin")
_VOCABULARIES = ("vocab.*", "*.model", "*.bpe", "merges.txt")  # of checkpoints without tokenizer.json
_IDLE = {"Normalize", "Dropout"}
_NEXT = "a folder, hf:FOLDER; or a source that needs no hub: headstart sources"


def located(kind: str, name: str) -> Path:
    """The folder of a checkpoint: `name` itself, or where the hub's cache holds it; fetched only if it is in neither.

    Args:
        kind: `hf` or `static`, for messages.
        name: a folder, or a name on the hub such as `sentence-transformers/all-mpnet-base-v2`.

    Raises:
        SourceError: there is no such folder, and the hub did not give it.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise SourceError(Problem(f"{kind}:{name}: no folder {folder}", "a folder, or NAME or OWNER/NAME on the hub"))
    from huggingface_hub import snapshot_download

    reason = ""
    for local in (True, False):
        try:
            found = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=local))
        except Exception as error:  # networks, proxies and hubs fail in many ways
            reason = type(error).__name__
            continue
        if _weights(found):
            return found
        reason = "it holds no weights"
    raise SourceError(
        Problem(
            f"{kind}:{name}: no such folder, not in the hub's cache, and the hub did not give it ({reason})",
            "a connection to the hub, a filled cache, or a folder",
            _NEXT,
        )
    )


def _weights(folder: Path) -> list[Path]:
    """Its files of weights; safetensors where there are any."""
    for pattern in _WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def _read(path: Path) -> Any:
    """A JSON file; {} where there is none.

    Raises:
        SourceError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise SourceError(Problem(f"{path} cannot be read: {error}", "JSON")) from error


def _revision(files: list[Path]) -> str:
    parts = "".join(f"{path.name} {file_digest(path)} " for path in files)
    return hashlib.sha256(parts.encode()).hexdigest()


def _licence(folder: Path) -> str:
    """As the head of the checkpoint's README states it."""
    readme = folder / "README.md"
    head = readme.read_text(encoding="utf-8", errors="replace")[:4_000] if readme.is_file() else ""
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)", head, re.MULTILINE)
    return found[1] if found else "not stated"


class _FolderSource:
    """What checkpoints in folders have in common.

    Args:
        name: a folder or a name on the hub.
    """

    kind: str

    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def folder(self) -> Path:
        """Where it is.

        Raises:
            SourceError: nowhere; or there are no weights in it.
        """
        folder = located(self.kind, self.name)
        if not self._files(folder):
            raise SourceError(Problem(f"{self.kind}:{self.name}: no weights in {folder}", "model.safetensors"))
        return folder

    def _files(self, folder: Path) -> list[Path]:
        return _weights(folder)

    def revision(self) -> str:
        """SHA-256 over the files of weights."""
        return _revision(self._files(self.folder))

    def _say(self, found: str, expected: str = "", next: str = "") -> Problem:
        return Problem(f"{self.kind}:{self.name}: {found}", expected, next)


class HuggingFaceSource(_FolderSource):
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

        modules = _read(self.folder / "modules.json") or []
        names = [module["type"].rpartition(".")[2] for module in modules]
        problems = [
            self._say(f"modules.json asks for {name}", f"Transformer, Pooling and {', '.join(sorted(_IDLE))}")
            for name in names
            if name not in {"Transformer", "Pooling", *_IDLE}
        ]
        pooling = "last" if self._decoder else "mean"
        for module in modules:
            if module["type"].endswith(".Pooling"):
                told = _read(self.folder / module["path"] / "config.json")
                pooling = _pooling(told)
                if pooling not in POOLINGS:
                    problems.append(self._say(f"it pools by {pooling}", f"one of {', '.join(POOLINGS)}"))
        if problems:
            raise SourceError(problems)
        return pooling, "Normalize" in names  # type: ignore[return-value]

    @functools.cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        folder = self.folder
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # a damaged file, an architecture that is newer, code of its own
            raise SourceError(
                self._say(
                    f"its config.json is of no use to the transformers that is installed: {_first_line(error)}",
                    "a model that transformers knows without code from the checkpoint",
                    "pip install --upgrade transformers",
                )
            ) from error
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
        _need_transformers(self.name)
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
            licence=_licence(self.folder),
            origin=f"folder {self.folder}" if Path(self.name).expanduser().is_dir() else f"hub {self.name}",
            preprocessing=Tokens(length=self._length(), normalise=normalise, shift=1),
            parameters=sum(p.numel() for p in network.parameters()),
            features=network.num_features,
            flops=sum(costs),
            bytes=sum(path.stat().st_size for path in _weights(self.folder)),
            stages=tuple(
                Stage(stage, (network.num_features,), sum(costs[k + 1 :])) for k, stage in enumerate(network.stages)
            ),
        )

    def _length(self) -> int:
        told = _read(self.folder / "sentence_bert_config.json").get("max_seq_length")
        room = getattr(self._config, "max_position_embeddings", None) or LONGEST
        if self._config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
            room -= 2  # their positions are counted from the padding's number
        most = _read(self.folder / "tokenizer_config.json").get("model_max_length") or room
        return int(min(told or LONGEST, room, most))

    def tokenizer(self) -> str:
        """`tokenizer.json`, or what transformers makes of the files of an older checkpoint.

        Raises:
            SourceError: there is no tokenizer that the `tokenizers` package can run.
        """
        path = self.folder / "tokenizer.json"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        if not any(any(self.folder.glob(pattern)) for pattern in _VOCABULARIES):
            raise SourceError(self._say("no tokenizer", "tokenizer.json"))
        _need_transformers(self.name)
        from transformers import AutoTokenizer

        from headstart.source.transformer import quiet

        try:
            with quiet():
                made = AutoTokenizer.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
            return str(made.backend_tokenizer.to_str())
        except Exception as error:  # missing files, other packages, tokenizers written in Python
            raise SourceError(self._say(f"no tokenizer: {_first_line(error)}", "tokenizer.json")) from error

    def module(self, seed: int = 0) -> nn.Module:
        """The pretrained network with its pooling, without a head.

        Raises:
            WeightsError: the weights lack something that the network needs; all of it is listed.
            SourceError: they cannot be read.
        """
        _need_transformers(self.name)
        import torch
        from transformers import AutoModel

        from headstart.source.transformer import Transformer, quiet

        pooling, _ = self._pooling
        folder, config = self.folder, self._config
        try:
            with torch.random.fork_rng(devices=[]), quiet():
                network, report = AutoModel.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except Exception as error:  # damaged files, other shapes, pickles
            raise SourceError(self._say(f"the weights cannot be read: {_first_line(error)}", "whole files")) from error
        lacking = sorted(key for key in report["missing_keys"] if "pooler" not in key.split("."))
        if lacking:
            shown = [self._say(f"no weights for {key}") for key in lacking[:10]]
            raise WeightsError([*shown, *([self._say(f"and {len(lacking) - 10} more")] if len(lacking) > 10 else [])])
        return Transformer(network, pooling)


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


def _need_transformers(name: str) -> None:
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise SourceError(Problem(f"hf:{name}: transformers is not installed", next="pip install 'headstart[hf]'"))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


class StaticSource(_FolderSource):
    """Static embeddings: a vector for each token, averaged over a text (model2vec, Tulkens & van Dongen 2024).

    There is no network to run, so that it is hundreds of times cheaper than an encoder.

    Args:
        name: a folder that model2vec or sentence-transformers (`StaticEmbedding`) saved, or a name on the hub.
    """

    kind = "static"

    def _files(self, folder: Path) -> list[Path]:
        return _weights(folder) or _weights(folder / "0_StaticEmbedding")

    @functools.cached_property
    def _parts(self) -> tuple[Any, int]:
        """The table (V, D) float32 with each token's weight in it, and the unknown token's number (-1: none)."""
        from headstart.source import weights

        state = weights.read(self._files(self.folder)[0])
        table = state.get("embeddings", state.get("embedding.weight"))
        if table is None or table.ndim != 2:
            raise SourceError(self._say(f"the weights hold {', '.join(sorted(state))}", "embeddings of two dimensions"))
        table = table.float()
        if (mapping := state.get("mapping")) is not None:  # several tokens may share one vector
            table = table[mapping.long()]
        if (weight := state.get("weights")) is not None:
            table = table * weight.float()[:, None]
        model = json.loads(self.tokenizer())["model"]
        unknown = model.get("unk_token")
        vocabulary = model.get("vocab")
        if model.get("unk_id") is not None:
            number = int(model["unk_id"])
        else:
            number = vocabulary.get(unknown, -1) if isinstance(vocabulary, dict) and unknown is not None else -1
        return table, number

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card.

        Raises:
            SourceError: the files are not those of static embeddings.
        """
        from headstart.source import static

        table, _ = self._parts
        tokens, width = table.shape
        modules = [module["type"].rpartition(".")[2] for module in _read(self.folder / "modules.json") or []]
        normalise = bool(_read(self.folder / "config.json").get("normalize")) or "Normalize" in modules
        return SourceCard(
            name=f"static:{self.name}",
            modality="text",
            architecture=static.name_of(tokens, width),
            pretraining=f"static embeddings, as {Path(self.name).name} says",
            licence=_licence(self.folder),
            origin=f"folder {self.folder}" if Path(self.name).expanduser().is_dir() else f"hub {self.name}",
            preprocessing=Tokens(length=LONGEST, normalise=normalise, shift=1),
            parameters=(tokens + 1) * width,
            features=width,
            flops=float(2 * Tokens.TYPICAL * width),
            bytes=sum(path.stat().st_size for path in self._files(self.folder)),
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
        return json.dumps(_read(path) | {"post_processor": None}, ensure_ascii=False)

    def revision(self) -> str:
        """SHA-256 over the weights; the tokenizer says which token is not counted."""
        return hashlib.sha256(f"{super().revision()} {self._parts[1]}".encode()).hexdigest()

    def module(self, seed: int = 0) -> nn.Module:
        """The table as a network."""
        import torch

        from headstart.source import architecture

        table, unknown = self._parts
        network: Any = architecture.build(self.card.architecture)
        with torch.no_grad():
            network.words.weight[1:] = table
            if unknown >= 0:
                network.words.weight[1 + unknown] = 0
                network.counts[1 + unknown] = 0
        return network  # type: ignore[no-any-return]

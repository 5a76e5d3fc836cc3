"""Checkpoints in folders, as the Hugging Face hub holds them: where they are, and what their files say."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import profile
from headstart.errors import Problem, SourceError, WeightsError
from headstart.store import file_digest

if TYPE_CHECKING:
    from torch import nn

_FILES = ["*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "README.md"]
_WEIGHTS = ("*.safetensors", "*.bin")
_VOCABULARIES = ("vocab.*", "*.model", "*.bpe", "merges.txt")  # of checkpoints without tokenizer.json
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
        if weights_in(found):
            return found
        reason = "it holds no weights"
    raise SourceError(
        Problem(
            f"{kind}:{name}: no such folder, not in the hub's cache, and the hub did not give it ({reason})",
            "a connection to the hub, a filled cache, or a folder",
            _NEXT,
        )
    )


def weights_in(folder: Path) -> list[Path]:
    """Its files of weights; safetensors where there are any."""
    for pattern in _WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def read_json(path: Path) -> Any:
    """A JSON file; {} where there is none.

    Raises:
        SourceError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise SourceError(Problem(f"{path} cannot be read: {error}", "JSON")) from error


def unmarked(tokenizer: dict[str, Any]) -> str:
    """A `tokenizer.json` without the marks that it would put around a text."""
    return json.dumps(tokenizer | {"post_processor": None}, ensure_ascii=False)


def _revision(files: list[Path]) -> str:
    parts = "".join(f"{path.name} {file_digest(path)} " for path in files)
    return hashlib.sha256(parts.encode()).hexdigest()


def licence_in(folder: Path) -> str:
    """As the head of the checkpoint's README states it."""
    readme = folder / "README.md"
    head = readme.read_text(encoding="utf-8", errors="replace")[:4_000] if readme.is_file() else ""
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)", head, re.MULTILINE)
    return found[1] if found else "not stated"


class FolderSource:
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
        return weights_in(folder)

    def revision(self) -> str:
        """SHA-256 over the files of weights."""
        return _revision(self._files(self.folder))

    @property
    def origin(self) -> str:
        """Where the weights are, in words."""
        return f"folder {self.folder}" if Path(self.name).expanduser().is_dir() else f"hub {self.name}"

    @property
    def bytes(self) -> int:
        """Size of the weights on disk."""
        return sum(path.stat().st_size for path in self._files(self.folder))

    def _say(self, found: str, expected: str = "", next: str = "") -> Problem:
        return Problem(f"{self.kind}:{self.name}: {found}", expected, next)


class Pretrained(FolderSource):
    """A checkpoint of transformers."""

    kind = "hf"

    @functools.cached_property
    def config(self) -> Any:
        """As transformers reads `config.json`.

        Raises:
            SourceError: transformers is not installed, or cannot make anything of it.
        """
        need_transformers(self.name)
        with profile.phase("import"):
            from transformers import AutoConfig

        folder = self.folder
        try:
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # a damaged file, an architecture that is newer, code of its own
            raise SourceError(
                self._say(
                    f"its config.json is of no use to the transformers that is installed: {first_line(error)}",
                    "a model that transformers knows without code from the checkpoint",
                    "pip install --upgrade transformers",
                )
            ) from error

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
        need_transformers(self.name)
        from transformers import AutoTokenizer

        from headstart.source.transformer import quiet

        try:
            with quiet():
                made = AutoTokenizer.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
            return str(made.backend_tokenizer.to_str())
        except Exception as error:  # missing files, other packages, tokenizers written in Python
            raise SourceError(self._say(f"no tokenizer: {first_line(error)}", "tokenizer.json")) from error

    def pretrained(self, config: Any) -> nn.Module:
        """The network with its weights, in single precision.

        Args:
            config: of transformers.

        Raises:
            WeightsError: the weights lack something that the network needs; all of it is listed.
            SourceError: they cannot be read.
        """
        need_transformers(self.name)
        with profile.phase("import"):
            import torch
            from transformers import AutoModel

            from headstart.source.transformer import quiet

        try:
            with torch.random.fork_rng(devices=[]), quiet():
                network, report = AutoModel.from_pretrained(
                    self.folder,
                    config=config,
                    dtype=torch.float32,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except Exception as error:  # damaged files, other shapes, pickles
            raise SourceError(self._say(f"the weights cannot be read: {first_line(error)}", "whole files")) from error
        lacking = sorted(key for key in report["missing_keys"] if "pooler" not in key.split("."))
        if lacking:
            shown = [self._say(f"no weights for {key}") for key in lacking[:10]]
            raise WeightsError([*shown, *([self._say(f"and {len(lacking) - 10} more")] if len(lacking) > 10 else [])])
        loaded: nn.Module = network
        return loaded


def need_transformers(name: str) -> None:
    """Raise SourceError, with what to install, where transformers is not."""
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise SourceError(Problem(f"hf:{name}: transformers is not installed", next="pip install 'headstart[hf]'"))


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__

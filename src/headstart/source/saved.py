"""A saved model as files: its description, weights and documents, each checked by its digest. Nothing is unpickled.

`headstart.predictor` makes predictors of them, and `headstart.source.run` makes sources.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from headstart.errors import PredictorError, Problem, RunError

FORMAT = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "predictor.json"
MODEL = "model"
"""A run's folder for the model that it ships."""


def located(folder: str | Path) -> Path:
    """The folder of a saved model: `folder` itself, or `folder`/model when `folder` is a run.

    Raises:
        RunError: there is none.
    """
    folder = Path(folder)
    for place in (folder, folder / MODEL):
        if (place / DESCRIPTION).is_file():
            return place
    raise RunError(
        Problem(
            f"no predictor in {folder}",
            f"a folder with {DESCRIPTION}, or a run with {MODEL}/{DESCRIPTION}",
            "headstart fit TARGET --out RUN",
        )
    )


def described(folder: Path) -> dict[str, Any]:
    """What a saved model says of itself.

    Raises:
        PredictorError: it was written by a newer format.
        OSError, ValueError, KeyError: it is damaged.
    """
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if description["format"] != FORMAT:
        raise PredictorError(f"{folder}: format {description['format']}; this headstart reads format {FORMAT}")
    return description


def tensors(folder: Path, description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its weights as arrays: `body` and `head`, each by name.

    Raises:
        PredictorError: they are not those that were saved.
        OSError, ValueError, KeyError: they are damaged.
    """
    from safetensors.numpy import load

    data = (folder / description["weights"]["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != description["weights"]["sha256"]:
        raise PredictorError(damaged(folder / description["weights"]["file"]))
    parts: dict[str, dict[str, Any]] = {"body": {}, "head": {}}
    for key, tensor in load(data).items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    return parts


def documents(folder: Path, description: dict[str, Any]) -> dict[str, str]:
    """What it has besides weights (a tokenizer, a vocabulary), by the file's name.

    Raises:
        PredictorError: they are not those that were saved.
        OSError, ValueError, KeyError: they are damaged.
    """
    found = {}
    for name, digest in description.get("documents", {}).items():
        text = (folder / name).read_bytes()
        if hashlib.sha256(text).hexdigest() != digest:
            raise PredictorError(damaged(folder / name))
        found[name] = text.decode("utf-8")
    return found


def damaged(path: Path) -> str:
    """The words for a file that is not what was saved."""
    return f"{path} is damaged: its SHA-256 is not the one in {DESCRIPTION}"

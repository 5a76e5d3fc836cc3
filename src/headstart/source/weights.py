"""Loading weights strictly: every key accounted for, or an error that names it. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from headstart.errors import Problem, SourceError, WeightsError

StateDict = dict[str, torch.Tensor]


def read(path: Path) -> StateDict:
    """Tensors from a `.safetensors` file or a torch checkpoint (`weights_only=True`).

    Raises:
        SourceError: the file is missing, damaged, or holds something other than tensors.
    """
    if not path.is_file():
        raise SourceError(Problem(f"no weights at {path}", "a .safetensors file or a torch checkpoint"))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SourceError(
            Problem(
                f"the weights at {path} cannot be read: {type(error).__name__}{_first_line(error)}",
                "a .safetensors file or a torch checkpoint that holds tensors only",
            )
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise SourceError(Problem(f"{path} does not hold a state dict", "names mapped to tensors"))
    return dict(loaded)


def _first_line(error: Exception) -> str:
    """`: ` and the first line of what `error` says, or nothing where it says nothing."""
    return f": {str(error).splitlines()[0]}" if str(error) else ""


def load(module: nn.Module, state: StateDict, what: str, *, without: tuple[str, ...] = ()) -> None:
    """Put `state` into `module`, strictly.

    Args:
        module: the network; every one of its parameters and buffers must be given.
        state: names and tensors; every one must have a place.
        what: the name of the source, for messages.
        without: prefixes of keys in `state` that are left out on purpose (a classification head).

    Raises:
        WeightsError: a key is missing, left over, or of another shape; all of them are listed.
    """
    wanted = module.state_dict()
    given = {key: value for key, value in state.items() if not any(f"{key}.".startswith(f"{p}.") for p in without)}
    problems = [Problem(f"{what}: no weights for {key}") for key in wanted if key not in given]
    problems += [Problem(f"{what}: no place for {key}") for key in given if key not in wanted]
    problems += [
        Problem(f"{what}: {key} has shape {tuple(given[key].shape)}", f"{tuple(wanted[key].shape)}")
        for key in wanted
        if key in given and wanted[key].shape != given[key].shape
    ]
    if problems:
        shown = problems[:10]
        if len(problems) > len(shown):
            shown.append(Problem(f"and {len(problems) - len(shown)} more", next="check that the architecture is right"))
        raise WeightsError(shown)
    module.load_state_dict(given, strict=True)


def rename_by_order(state: StateDict, module: nn.Module, what: str) -> StateDict:
    """Give `state` the names of `module`, matching by position.

    For checkpoints that hold the same tensors in the same order under other names. Order alone proves nothing, so
    the last part of each name (`weight`, `running_var`, ...) and each shape must agree as well.

    Raises:
        WeightsError: the two do not correspond one to one.
    """
    wanted = module.state_dict()
    pairs = list(zip(state.items(), wanted.items(), strict=False))
    problems = [
        Problem(f"{what}: {old} {tuple(tensor.shape)}", f"{new} {tuple(place.shape)}")
        for (old, tensor), (new, place) in pairs
        if old.rpartition(".")[2] != new.rpartition(".")[2] or tensor.shape != place.shape
    ]
    if len(state) != len(wanted):
        problems.append(Problem(f"{what}: {len(state)} tensors", f"{len(wanted)} tensors"))
    if problems:
        raise WeightsError(problems[:10])
    return {new: tensor for (_, tensor), (new, _) in pairs}


def digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of all tensors, in the order of their names."""
    total = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        total.update(f"{key}|{tuple(tensor.shape)}|{tensor.dtype}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()

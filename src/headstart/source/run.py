"""An earlier run as a source, `run:FOLDER`: the network that it shipped, so that what one task taught serves the next.

The network is cut, compiled and kept in the store as those of other sources are. The head that the run fitted is what
the source knows by name: the classes of its target.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import files
from headstart.errors import HeadstartError, Problem, SourceError
from headstart.source import saved
from headstart.source.card import Classifier, Preprocessing, SourceCard, Stage, Tokens
from headstart.source.scratch import written_down
from headstart.store import file_digest

if TYPE_CHECKING:
    from torch import nn

SEEN = "seen.json"
POOLED = ["pooled"]  # the outputs of a body on which a head knows classes for whoever has the pooled output
_NETWORKS = ("network", "text network")


@dataclass(frozen=True)
class Seen:
    """What a run has seen, by the digests of its examples' contents.

    Args:
        learned: labelled examples that it learned from or chose by, and those that its own source learned from.
        sealed: examples that it was judged on.
    """

    learned: frozenset[str]
    sealed: frozenset[str]

    def write(self, folder: Path) -> None:
        """Into a run's folder; it stays out of the model's, which is handed on."""
        document = {"format": saved.FORMAT, "learned": sorted(self.learned), "sealed": sorted(self.sealed)}
        files.write_json(folder / SEEN, document)


class RunSource:
    """The network that an earlier run shipped.

    Args:
        path: a finished run's folder, or its model's.

    Raises:
        SourceError: there is no model.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with self._damage():
            self.folder = saved.located(Path(path).expanduser())

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """What is wrong with the files, as the user's problem."""
        try:
            yield
        except SourceError:
            raise
        except (HeadstartError, OSError, ValueError, KeyError, TypeError) as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            if isinstance(error, KeyError):
                said = f"{saved.DESCRIPTION} lacks {error}"
            raise self._problem(
                said,
                "the folder of a finished run as it was written",
                f"the run's own command with --out {self._path}, which finishes it or writes the model anew",
            ) from error

    def _problem(self, found: str, expected: str, next: str) -> SourceError:
        return SourceError(Problem(f"run:{self._path}: {found}", expected, next))

    @functools.cached_property
    def _described(self) -> dict[str, Any]:
        """The description of the model, after its weights were found to be those that were saved."""
        with self._damage():
            description = saved.described(self.folder)
            weights = self.folder / description["weights"]["file"]
            if file_digest(weights) != description["weights"]["sha256"]:
                raise ValueError(saved.damaged(weights))
            return description

    @property
    def provenance(self) -> dict[str, Any]:
        """Where its model comes from, as the run wrote it."""
        provenance: dict[str, Any] = self._described["provenance"]
        return provenance

    @functools.cached_property
    def card(self) -> SourceCard:
        """Its card.

        Raises:
            SourceError: the folder is damaged, or what the run shipped is no network.
        """
        with self._damage():
            body, told = self._described["body"], self.provenance
            if body["kind"] not in _NETWORKS:
                raise self._no_network(body, told)
            how: Preprocessing | Tokens
            if body["kind"] == "network":
                how = Preprocessing.from_json(body["preprocessing"])
            else:  # its vocabulary was fitted, and comes with it
                how = replace(Tokens.from_json(body["tokens"]), vocabulary=0)
            parameters, flops, stages, attention = _measured(body, how)
            before, here = told.get("pretraining") or "", self._target()
            return SourceCard(
                name=f"run:{self._path}",
                modality=self._described["modality"],
                architecture=body["architecture"],
                pretraining=before or here if self.unchanged else f"{here}, after {before}" if before else here,
                licence=told.get("licence") or "not stated",
                origin=f"run {self._path}: {told.get('strategy', 'a model')} on {told.get('source', 'its source')}",
                preprocessing=how,
                parameters=parameters,
                features=body["width"],
                flops=flops,
                bytes=(self.folder / self._described["weights"]["file"]).stat().st_size,
                stages=stages,
                known=self._known(),
                attention=attention,
                unchanged=self.unchanged,
            )

    @property
    def unchanged(self) -> str:
        """The source whose network this is, where the run trained a head on it and left it as it was; else ""."""
        frozen = self._described["body"].get("revision") is not None
        return str(self.provenance.get("source", "its source")) if frozen else ""

    def _no_network(self, body: dict[str, Any], told: dict[str, Any]) -> SourceError:
        route = f"{told.get('strategy', 'a model')} on {told.get('source', 'its source')}"
        if body["kind"] == "joined":
            parts = ",".join(str(told.get("source", "")).split("+"))
            return self._problem(
                f"it shipped {route}: several networks, each as it was, and heads on them",
                "a run that shipped one network",
                f"--source {parts}; or run it again with --strategy finetune",
            )
        return self._problem(
            f"it shipped {route}: there is no network in it that could be transferred",
            "a run that shipped a network, as finetune, lora, contrast, probe and scratch do",
            "run it again with --strategy finetune, or name another source: headstart sources",
        )

    def _target(self) -> str:
        """What the run learned from, in words."""
        target = self.provenance.get("target")
        if not isinstance(target, dict):
            return str(target or Path(self._path).name)
        return f"{target['name']}, {target['train']:,} examples of {len(target['classes'])} classes"

    def _known(self) -> str:
        """What it calls the classes that it knows; "" where its head says nothing about the pooled output alone."""
        body, kind = self._described["body"], self._described["head"]["kind"]
        unit = bool(body.get("tokens", {}).get("normalise"))  # then an angle is a product
        if body.get("outputs", POOLED) != POOLED or not (kind == "linear" or (kind == "cosine" and unit)):
            return ""
        # Heads of different runs may stand on one network: what is kept of them is told apart by the digest.
        return f"{len(self.names())} classes of {self._target()} (model {self._digest[:12]})"

    @property
    def _digest(self) -> str:
        return str(self._described["weights"]["sha256"])

    def revision(self) -> str:
        """Of a network that the run left as it was: its source's. Else the digest of the model's weights."""
        frozen = self._described["body"].get("revision")
        return str(frozen) if frozen is not None else f"trained:{self._digest}"

    def tokenizer(self) -> str:
        """The tokenizer of a network that reads texts.

        Raises:
            SourceError: it is damaged.
        """
        with self._damage():
            return saved.documents(self.folder, self._described)["tokenizer.json"]

    def module(self, seed: int = 0) -> nn.Module:
        """The network that the run shipped, without its head.

        Raises:
            SourceError: the weights are damaged, or do not fit the network.
        """
        import torch

        from headstart.source import architecture, weights

        with self._damage():
            arrays = saved.tensors(self.folder, self._described)["body"]
        network = architecture.build(self.card.architecture)
        state = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
        weights.load(network, state, self.card.name)
        return network

    def names(self) -> tuple[str, ...]:
        """The classes of the run's target."""
        return tuple(self._described["classes"])

    def classifier(self) -> Classifier:
        """The head that the run shipped, calibrated as it was.

        Raises:
            SourceError: it does not stand on the pooled output alone, or is damaged.
        """
        if not self.card.known:
            raise self._problem("its head uses more than the pooled output", "a head on the pooled output", "none")
        with self._damage():
            head = saved.tensors(self.folder, self._described)["head"]
            weight, bias = head["weight"], head["bias"]
            if "columns" in head:
                whole = np.zeros((len(weight), self.card.features), np.float32)
                whole[:, head["columns"]] = weight
                weight = whole
            scale = np.float32(1 / self._described["temperature"])
            return Classifier(self.names(), np.asarray(weight * scale, np.float32), np.asarray(bias * scale))

    def seen(self) -> Seen | None:
        """What the run has seen; None where that is not known, because its model stands alone.

        Raises:
            SourceError: what was written of it is damaged.
        """
        folder = self.folder.parent if self.folder.name == saved.MODEL else self.folder
        if not (folder / SEEN).is_file():
            return None
        with self._damage():
            document = json.loads((folder / SEEN).read_text(encoding="utf-8"))
            return Seen(frozenset(document["learned"]), frozenset(document["sealed"]))


def _measured(body: dict[str, Any], how: Preprocessing | Tokens) -> tuple[int, float, tuple[Stage, ...], bool]:
    """Parameters, operations, stages and attention of a network; measured where they are not written down."""
    name, size = body["architecture"], how.size if isinstance(how, Preprocessing) else 0
    stages = tuple(Stage(each, tuple(shape), flops) for each, shape, flops in body.get("stages", []))
    known, attention = written_down(name), False
    if known is not None:
        usual, parameters, _, flops = known
        flops *= (size / usual.size) ** 2 if isinstance(usual, Preprocessing) else 1.0
    else:
        from headstart.source import architecture

        parameters, _, flops = architecture.measure(name, size)
        attention = bool(size) and architecture.attends(name)
    if not stages and size:  # trained from random weights, where nobody cuts
        from headstart.source import architecture

        stages = architecture.stages(name, size)
    return parameters, flops, stages, attention


def earlier(source: Any) -> Sequence[RunSource]:
    """The earlier runs that a source is, or is made of."""
    parts = getattr(source, "parts", (source,))
    return [part for part in parts if isinstance(part, RunSource)]

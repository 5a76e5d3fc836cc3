"""What every strategy is: a frozen value of hyper-parameters that can be called on a source and a view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from headstart.budget import Budget
from headstart.features import Body, NetworkBody, Tally, body_of, extract, extract_parts
from headstart.features.engine import POOLED
from headstart.features.precision import F32, Precision
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.store import Recent
from headstart.target.inputs import Inputs
from headstart.target.view import TrainView

Side = Literal["transfer", "baseline"]

# Operations of the forward pass that one laptop core trains through in a second, backward and optimiser included.
# Only the first trial of a strategy is predicted by it; later ones by what the first took.
TRAINING_RATE = 8e9


@dataclass(frozen=True)
class Needs:
    """What a strategy cannot do without; checked before anything is loaded or downloaded.

    Args:
        network: the source must have a network.
        pretrained: True: the source must be pretrained; False: it must not be; None: either.
        modalities: which modalities it understands.
        unlabelled: it uses unlabelled inputs.
        gradients: it trains a network, which costs many forward passes.
        stages: a network for texts must have stages.
        extra: (package, extra of headstart that brings it), where it needs one that may not be installed.
        labels: it learns from labels.
        class_names: the classes must have names in words, or descriptions.
        known_classes: a source of pictures must know classes by name.
        several: it takes several sources as one, and nothing else.
        attention: a source of pictures must be a transformer.
        few: it learns from labelled examples of the target domain beside those of a source domain.
        domains: it weighs several source domains.
        intermediate: it goes from source to target over domains in between.
        cuts: a network must have stages at which it can be cut, two at least.
        batch_norm: a network must have batch norm.
    """

    network: bool = True
    pretrained: bool | None = None
    modalities: tuple[str, ...] = ("image",)
    unlabelled: bool = False
    gradients: bool = False
    stages: bool = False
    extra: tuple[str, str] | None = None
    labels: bool = True
    class_names: bool = False
    known_classes: bool = False
    several: bool = False
    attention: bool = False
    few: bool = False
    domains: bool = False
    intermediate: bool = False
    cuts: bool = False
    batch_norm: bool = False

    def lacking(self, card: SourceCard) -> str:
        """Why `card` cannot serve, in words; "" when it can."""
        if card.modality and card.modality not in self.modalities:
            return f"needs {' or '.join(self.modalities)}, and {card.name} is {card.modality}"
        if card.parts and not self.several:
            return f"needs one source, and {card.name} is {len(card.parts)}"
        if self.several and not card.parts:
            return f"needs several sources joined by +, and {card.name} is one"
        if self.network and card.preprocessing is None:
            return f"needs a network, and {card.name} has none"
        if not self.network and card.preprocessing is not None:
            return f"uses no network, so it goes with the source 'scratch', not {card.name}"
        if self.pretrained is True and not card.pretrained:
            return f"needs a pretrained source, and {card.name} is not"
        if self.pretrained is False and card.pretrained:
            return f"starts from random weights, and {card.name} is pretrained"
        if self.attention and card.modality == "image" and not card.attention:
            return f"needs a transformer, and {card.name} is none"
        if self.stages and card.modality == "text" and not card.stages:
            return f"needs a network with stages, and {card.name} has none"
        if self.cuts and len(card.stages) < 2:
            return f"needs a network that can be cut into stages, and {card.name} cannot"
        if self.batch_norm and not card.batch_norm:
            return f"needs batch norm, whose statistics it adapts, and {card.name} has none"
        if self.extra is not None and find_spec(self.extra[0]) is None:
            return f"needs the package {self.extra[0]}: pip install 'headstart[{self.extra[1]}]'"
        if self.known_classes and card.modality == "image" and not (card.known or card.reads):
            return f"needs a source that knows classes by name, and {card.name} does not"
        return ""


@dataclass(frozen=True)
class Bench:
    """Where a trial works: things that change how long it takes, and what it finds by no more than rounding.

    Args:
        store: folder of the feature store; None: the user's cache.
        recent: what the store gave lately, of all trials of a run; None: everything is read from it.
        device: `cpu` or a torch device.
        checkpoint: a file for resuming a training run after a kill; None: no checkpoints.
        progress: called as `progress(words, done, total)`.
        tally: what features cost.
        precision: of frozen features that are computed on the CPU. What is trained, and values at a cut, are in f32.
    """

    store: Path | None = None
    recent: Recent | None = None
    device: str = "cpu"
    checkpoint: Path | None = None
    progress: Callable[[str, int, int], None] | None = None
    tally: Tally = field(default_factory=Tally)
    precision: Precision = F32

    @property
    def trains_in(self) -> str:
        """The precision that networks are trained in: on a GPU bf16, by autocast."""
        return "bf16" if self.device.startswith("cuda") else "fp32"

    def body(self, source: Source, outputs: tuple[str, ...] = (POOLED,)) -> NetworkBody:
        """The body of a source as it is, on this device and in this precision."""
        return body_of(source, self.device, outputs, self.precision)

    def features(self, body: Body, inputs: Inputs, words: str) -> NDArray[np.float32]:
        """The vectors (N, D) of `inputs` through `body`, from the store where it has them."""
        return extract(body, inputs, progress=self.saying(f"features {words}"), **self._kept())

    def values(self, body: Body, inputs: Inputs, words: str) -> dict[str, NDArray[Any]]:
        """Everything that a frozen `body` computes, by name; see :func:`headstart.features.extract_parts`."""
        return extract_parts(body, inputs, progress=self.saying(f"features {words}"), **self._kept())

    def _kept(self) -> dict[str, Any]:
        return {"store": self.store, "recent": self.recent, "tally": self.tally}

    def saying(self, words: str) -> Callable[[int, int], None] | None:
        """`progress` for one kind of work."""
        tell = self.progress
        return None if tell is None else lambda done, total: tell(words, done, total)


PLAIN = Bench()
"""The user's cache, the CPU, no checkpoints, silence."""


@runtime_checkable
class Adapt(Protocol):
    """Source x TrainView -> Predictor.

    Implementations are frozen dataclasses whose fields are the hyper-parameters.
    """

    name: ClassVar[str]
    side: ClassVar[Side]
    needs: ClassVar[Needs]

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The settings worth trying on a source, the most promising first."""
        ...

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Predicted wall seconds of one call, without what it takes from the store.

        Args:
            card: of the source.
            examples: labelled examples trained on.
            classes: number of classes.
            rate: floating-point operations per second this machine does in a network's forward pass.
        """
        ...

    def frozen(self, card: SourceCard) -> float:
        """Floating-point operations per example of the frozen forward passes whose values it takes from the store.

        Features that are computed by hand count as what a network does in that time.
        """
        ...

    def __call__(self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = ...) -> Predictor:
        """Fit on `view`; never sees a test label.

        Raises:
            TrialError: it cannot be done on this view.
        """
        ...


def parameters(strategy: Any) -> dict[str, Any]:
    """A strategy's hyper-parameters as plain JSON."""
    return asdict(strategy)

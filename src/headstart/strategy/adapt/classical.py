"""classical: what one did before networks were transferred. Pixels or HOG, with ridge or a kernel machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import HandcraftedBody
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView

KERNEL_LIMIT = 10_000  # examples: an N x N kernel in float32 and libsvm's copy of it stay under 1.2 GiB


@dataclass(frozen=True)
class Classical:
    """A baseline without a network.

    Args:
        features: `pixels`, the downscaled picture; `hog`, histograms of oriented gradients and of colour.
        size: side of the downscaled picture, pixels.
        machine: `svm` with a Gaussian kernel, or `ridge`.
        C: of the kernel machine; unused by ridge.
    """

    name: ClassVar[str] = "classical"
    side: ClassVar[Side] = "baseline"
    needs: ClassVar[Needs] = Needs(network=False, pretrained=False)

    features: Literal["pixels", "hog"] = "hog"
    size: int = 64
    machine: Literal["svm", "ridge"] = "svm"
    C: float = 10.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """HOG and pixels, each with both machines."""
        return [
            cls("hog", 64, "svm"),
            cls("pixels", 16, "svm"),
            cls("hog", 64, "ridge"),
            cls("pixels", 16, "ridge"),
        ]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Features, then a kernel (N^2 D) or an eigendecomposition."""
        width = HandcraftedBody(self.features, self.size).width
        small, large = sorted((examples, width))
        features = examples * (0.004 if self.features == "hog" else 0.001)
        if self.machine == "ridge":
            return features + 0.05 + 20 * small**2 * large / 2e10
        return features + 0.05 + examples**2 * (2 * width / 2e10 + classes * 2e-7)

    def frozen(self, card: SourceCard) -> float:
        """None."""
        return 0.0

    def __call__(
        self,
        source: Source,
        view: TrainView,
        *,
        budget: Budget,
        seed: int,
        bench: Bench = PLAIN,
    ) -> Predictor:
        """Features from the store, then the machine."""
        y, classes = view.examples.labels, len(view.classes)
        if self.machine == "svm" and len(view) > KERNEL_LIMIT:
            raise TrialError(f"a kernel machine on {len(view)} examples would not fit in memory ({KERNEL_LIMIT} do)")
        body = HandcraftedBody(self.features, self.size)
        X = bench.features(body, view.examples.inputs, self.features)
        if self.machine == "svm":
            return Predictor(view.classes, body, linear.kernel_machine(X, y, classes, self.C))
        return Predictor(view.classes, body, linear.ridge(X, y, classes).as_logits(y))

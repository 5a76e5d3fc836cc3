"""classical: what one did before networks were transferred.

Pictures: pixels or HOG, with ridge or a kernel machine. Texts: n-grams of words and characters, with a linear machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import HandcraftedBody, TfidfBody
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear, sparse
from headstart.strategy.averaging import averaged
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.inputs import texts_in
from headstart.target.view import TrainView

KERNEL_LIMIT = 10_000  # examples: an N x N kernel in float32 and libsvm's copy of it stay under 1.2 GiB


@dataclass(frozen=True)
class Classical:
    """A baseline without a network.

    Args:
        features: of pictures `pixels`, the downscaled picture, or `hog`, histograms of oriented gradients and of
            colour, or `hog+pixels`, the mean of the probabilities of a machine on each, pixels at a quarter of the
            size; of texts `words` or `words+characters`, n-grams weighted by how rare they are.
        size: side of the downscaled picture, pixels; None for texts.
        machine: of pictures `svm` with a Gaussian kernel, or `ridge`; of texts `svm` without a kernel, `ridge`,
            `logistic`, or `bayes` (complement naive Bayes).
        C: of the machine; for `bayes` its smoothing; unused by ridge on pictures.
    """

    name: ClassVar[str] = "classical"
    side: ClassVar[Side] = "baseline"
    needs: ClassVar[Needs] = Needs(network=False, pretrained=False, modalities=("image", "text"))

    features: Literal["pixels", "hog", "hog+pixels", "words", "words+characters"] = "hog"
    size: int | None = 64
    machine: Literal["svm", "ridge", "logistic", "bayes"] = "svm"
    C: float = 10.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """HOG and pixels, each with both machines, and together; n-grams with four machines, and words alone."""
        if card.modality == "text":
            return [
                cls("words+characters", None, "svm", 0.5),
                cls("words+characters", None, "bayes", 0.3),
                cls("words+characters", None, "logistic", 10.0),
                cls("words", None, "svm", 0.5),
                cls("words+characters", None, "ridge", 1.0),
            ]
        return [
            cls("hog", 64, "svm"),
            cls("pixels", 16, "svm"),
            cls("pixels", 16, "ridge"),
            cls("hog+pixels", 64, "svm"),
            cls("hog", 64, "ridge"),
        ]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """A kernel (N^2 D) or an eigendecomposition; n-grams: some passes over what is not zero."""
        if self.size is None:
            rounds = {"bayes": 0.1, "svm": 1.0, "ridge": 3.0, "logistic": 3.0}[self.machine]
            counting = 3e-4 if self.features == "words+characters" else 1e-4
            return 0.02 + examples * (counting + 3e-6 * classes * rounds)
        if self.features == "hog+pixels":
            return sum(part.seconds(card, examples, classes, rate) for part in self.parts)
        width = HandcraftedBody(self.features, self.size).width
        how = linear.ridge_seconds if self.machine == "ridge" else linear.kernel_seconds
        return 0.01 + how(examples, width, classes)

    @property
    def parts(self) -> tuple[Classical, ...]:
        """What `hog+pixels` is made of; of all others nothing."""
        if self.features != "hog+pixels":
            return ()
        return replace(self, features="hog"), replace(self, features="pixels", size=(self.size or 64) // 4)

    def frozen(self, card: SourceCard) -> float:
        """As many as a network does while features of a picture are computed by hand, which the store keeps."""
        return {"hog": 1.6e8, "pixels": 4e7, "hog+pixels": 2e8}.get(self.features, 0.0)

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
        if view.modality == "text":
            return self._on_texts(view)
        y, classes = view.examples.labels, len(view.classes)
        if self.size is None or self.machine not in ("svm", "ridge"):
            raise TrialError(f"classical with {self.features} and {self.machine} is for texts")
        if self.machine == "svm" and len(view) > KERNEL_LIMIT:
            raise TrialError(f"a kernel machine on {len(view)} examples would not fit in memory ({KERNEL_LIMIT} do)")
        if self.features == "hog+pixels":
            parts = self.parts
            return averaged([part(source, view, budget=budget, seed=seed, bench=bench) for part in parts])
        body = HandcraftedBody(self.features, self.size)
        X = bench.features(body, view.examples.inputs, self.features)
        if self.machine == "svm":
            return Predictor(view.classes, body, linear.kernel_machine(X, y, classes, self.C))
        return Predictor(view.classes, body, linear.ridge(X, y, classes).as_logits(y))

    def _on_texts(self, view: TrainView) -> Predictor:
        """The vocabulary is that of the view's texts."""
        # Whoever names no settings, as the estimator does, has the defaults, and those are of pictures.
        settings = self if self.size is None else replace(self, features="words+characters", size=None, C=0.5)
        inputs = texts_in(view.examples.inputs)
        texts = [inputs.text(i) for i in range(len(inputs))]
        body, X = TfidfBody.fitted(settings.features.split("+"), texts)
        labels, classes = view.examples.labels, len(view.classes)
        head = sparse.linear(X, labels, classes, settings.machine, settings.C)
        return Predictor(view.classes, body, head)

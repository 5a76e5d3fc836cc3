"""scikit-learn estimators over the same sources, strategies and predictors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from headstart.budget import Budget
from headstart.errors import OptionError, Problem
from headstart.source import find as find_source
from headstart.strategy import Bench
from headstart.strategy import find as find_strategy
from headstart.target.describe import describe
from headstart.target.inputs import as_inputs
from headstart.target.modality import MODALITIES
from headstart.target.view import Examples, TrainView

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["TransferClassifier"]


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """One source with one strategy, as a scikit-learn classifier.

    It fits what it is told and judges nothing: use :func:`headstart.fit` to learn whether transfer helps, and this
    to put a route that does into a pipeline, a grid search or a cross-validation.

    Args:
        source: a source's name, such as `efficientnet_lite0`, `minilm_l6`, `timm:resnet18@weights.safetensors`,
            `hf:FOLDER`, `scratch`.
        strategy: a strategy's name: `probe`, `prototypes`, `finetune`, `contrast`, `lora`, `zero-shot`, `majority`,
            `classical`, `scratch`.
        parameters: hyper-parameters of the strategy; None: its defaults.
        describe: for `zero-shot`: maps labels to a sentence or a list of sentences; or a YAML or JSON file that does;
            None: the labels are names in words.
        random_state: int seed of everything random; None: 0.
        device: `cpu`, or a torch device.

    Attributes:
        classes_: (C,) the distinct labels, sorted.
        predictor_: the fitted :class:`headstart.Predictor`; `predictor_.save(folder)` keeps it.

    >>> import numpy as np
    >>> X = np.zeros((8, 16, 16, 3), dtype=np.uint8)
    >>> X[4:] = 255
    >>> y = ["dark"] * 4 + ["light"] * 4
    >>> model = TransferClassifier("scratch", "classical", parameters={"features": "pixels", "size": 16})
    >>> model.fit(X, y).predict(X[3:5]).tolist()
    ['dark', 'light']
    """

    def __init__(
        self,
        source: str = "efficientnet_lite0",
        strategy: str = "probe",
        *,
        parameters: dict[str, Any] | None = None,
        describe: Mapping[Any, Any] | str | Path | None = None,
        random_state: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.source = source
        self.strategy = strategy
        self.parameters = parameters
        self.describe = describe
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> TransferClassifier:
        """Fit on pictures or texts and their labels.

        Args:
            X: N texts, where the source takes texts (or is `scratch`); else N paths, PIL images or uint8 arrays
                (H, W), (H, W, 3) or (H, W, 4), or one (N, H, W, C) uint8 array.
            y: (N,) labels of any sortable kind.

        Raises:
            SourceError: nobody knows the source.
            OptionError: the strategy or a hyper-parameter is wrong, or the two do not fit.
            TargetError: a picture or text cannot be read.
            ValueError: X and y differ in length, y has a single class, or y is continuous or not one-dimensional.
        """
        source, kind = find_source(self.source), find_strategy(self.strategy)
        if lacking := kind.needs.lacking(source.card):
            raise OptionError(Problem(f"strategy {self.strategy!r} {lacking}", next="headstart sources"))
        try:
            strategy = kind(**(self.parameters or {}))
        except TypeError as error:
            known = ", ".join(field.name for field in fields(kind)) or "none"
            raise OptionError(Problem(f"parameters of {self.strategy!r}: {error}", f"some of: {known}")) from error
        inputs, labels = as_inputs(X, source.card.modality or None), column_or_1d(y, warn=True)
        check_classification_targets(labels)
        if len(inputs) != len(labels):
            raise ValueError(f"{len(inputs)} {MODALITIES[inputs.modality].many} in X but {len(labels)} labels in y")
        self.classes_, encoded = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"the classifier needs two classes or more; y holds {len(self.classes_)} class")
        names = tuple(str(label) for label in self.classes_)
        view = TrainView(
            Examples(inputs, encoded.astype(np.int64)), names, "accuracy", descriptions=describe(names, self.describe)
        )
        if kind.needs.class_names and (wordless := view.wordless()):
            raise OptionError(
                Problem(
                    f"labels that are no words: {', '.join(wordless[:5])}",
                    "names or descriptions, because the strategy goes by them",
                    "describe={label: sentence, ...}",
                )
            )
        seed = 0 if self.random_state is None else int(self.random_state)
        self.predictor_ = strategy(source, view, budget=Budget(), seed=seed, bench=Bench(device=self.device))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probabilities (N, C) float32, columns in the order of `classes_`.

        Raises:
            TargetError: some inputs cannot be read; all of them are named.
            sklearn.exceptions.NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        probabilities: NDArray[np.float32] = self.predictor_.predict_proba(X)
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each input, (N,); as :meth:`predict_proba` otherwise."""
        positions = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[positions]
        return predicted

    def __sklearn_tags__(self) -> Tags:
        """Inputs are (N, H, W, C) arrays or sequences of anything that can be opened."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.no_validation = True
        return tags

"""What the user ships: predict, save, load. A directory of safetensors and JSON, never a pickle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import files, machine
from headstart.errors import InputError, PredictorError, Problem, TargetError
from headstart.features.body import Body, Progress
from headstart.features.restore import restore as restore_body
from headstart.predictor.heads import Head, log_softmax
from headstart.predictor.heads import restore as restore_head
from headstart.source import saved
from headstart.source.saved import DESCRIPTION, FORMAT, WEIGHTS
from headstart.target.inputs import Inputs, as_inputs
from headstart.target.modality import MODALITIES, Modality


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of one input.

    Args:
        name: what the input is called.
        label: the most probable class; "" where the input cannot be read.
        probability: of `label`.
        top: (class, probability), most probable first.
        error: why there is no prediction; "" where there is one.
    """

    name: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    error: str = ""


@dataclass
class Predictor:
    """A body with a head on it, and the names of the classes.

    Args:
        classes: C names, in the order of the logits.
        body: inputs to vectors.
        head: vectors to logits.
        temperature: logits are divided by it before the softmax (Guo et al. 2017).
        provenance: where it comes from: source, strategy, parameters, seed, licence, evidence digest. Plain JSON.
        left_out: (n, C) logits of the labelled target examples of an adaptation, by the model without each; not saved.
        elsewhere: the head for examples of the source domain, where an adaptation has another one for those; not saved.
    """

    classes: tuple[str, ...]
    body: Body
    head: Head
    temperature: float = 1.0
    provenance: dict[str, Any] = field(default_factory=dict)
    left_out: NDArray[np.float32] | None = field(default=None, repr=False)
    elsewhere: Head | None = field(default=None, repr=False)

    @property
    def modality(self) -> Modality:
        """What it predicts on: pictures or texts."""
        return MODALITIES[self.body.modality]

    def log_probabilities(self, vectors: NDArray[np.float32], *, elsewhere: bool = False) -> NDArray[np.float32]:
        """(N, D) vectors of the body to (N, C) log-probabilities; `elsewhere`: by the source domain's head."""
        head = self.elsewhere if elsewhere and self.elsewhere is not None else self.head
        return log_softmax(head.logits(vectors) / np.float32(self.temperature))

    def predict_proba(self, inputs: Any, progress: Progress | None = None) -> NDArray[np.float32]:
        """Probabilities (N, C) float32, columns in the order of `classes`.

        Args:
            inputs: texts; or paths, PIL images, uint8 arrays, or one (N, H, W, C) array.
            progress: called as `progress(done, total)`.

        Raises:
            TargetError: some inputs cannot be read; all of them are named.
        """
        sequence = as_inputs(inputs, self.body.modality)
        probabilities, unreadable = self._forward(sequence, progress)
        if unreadable:
            raise TargetError(
                [
                    Problem(f"cannot read {sequence.name(i)}: {why}", f"a {self.modality.one}", "leave it out")
                    for i, why in unreadable.items()
                ]
            )
        return probabilities

    def predict(self, inputs: Any) -> list[str]:
        """The most probable class of each input; as :meth:`predict_proba` otherwise."""
        return [self.classes[i] for i in self.predict_proba(inputs).argmax(axis=1)]

    def rows(self, inputs: Any, *, top: int = 1, progress: Progress | None = None) -> list[Prediction]:
        """One :class:`Prediction` per input; an input that cannot be read gets a row that says why."""
        sequence = as_inputs(inputs, self.body.modality)
        probabilities, unreadable = self._forward(sequence, progress)
        rows = []
        for i in range(len(sequence)):
            if i in unreadable:
                rows.append(Prediction(sequence.name(i), "", float("nan"), (), unreadable[i]))
                continue
            order = np.argsort(-probabilities[i], kind="stable")[: max(1, top)]
            best = tuple((self.classes[j], float(probabilities[i, j])) for j in order)
            rows.append(Prediction(sequence.name(i), best[0][0], best[0][1], best))
        return rows

    def _forward(self, inputs: Inputs, progress: Progress | None) -> tuple[NDArray[np.float32], dict[int, str]]:
        self.body.prepare(len(inputs))
        forward = self.body.compute(inputs, np.arange(len(inputs)), progress)
        return np.exp(self.log_probabilities(forward.vectors)), forward.unreadable

    def save(self, folder: str | Path, *, check: Inputs | None = None, predicting: bool = True) -> None:
        """Write the predictor to `folder`, in one step, after showing that it comes back identical.

        Args:
            folder: is replaced as a whole, and only once the new one is complete and verified.
            check: inputs the reloaded predictor must agree on, besides synthetic ones.
            predicting: show that it predicts the same, too; without, only that everything it is made of is the same.

        Raises:
            PredictorError: the reloaded predictor does not predict the same; `folder` is then as it was.
        """
        from safetensors.numpy import save

        body = self.body.portable()
        tensors = {f"body.{key}": value for key, value in body.tensors().items()}
        tensors |= {f"head.{key}": np.array(value, order="C") for key, value in self.head.arrays().items()}
        data = save(tensors)
        documents = {name: text.encode("utf-8") for name, text in body.documents().items()}
        description = {
            "format": FORMAT,
            "headstart": machine.versions()["headstart"],
            "modality": body.modality,
            "classes": list(self.classes),
            "body": body.spec(),
            "head": {"kind": self.head.kind},
            "temperature": float(self.temperature),
            "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(data).hexdigest()},
            "documents": {name: hashlib.sha256(text).hexdigest() for name, text in documents.items()},
            "versions": machine.versions(),
            "provenance": self.provenance,
        }
        with files.new_directory(Path(folder)) as building:
            files.write_bytes(building / WEIGHTS, data)
            for name, text in documents.items():
                files.write_bytes(building / name, text)
            files.write_json(building / DESCRIPTION, description)
            verified = replace(self, body=body)
            reloaded = load(building)
            verified._same_parts(reloaded)
            if predicting:
                verified._same_predictions(reloaded, check)

    def _same_parts(self, reloaded: Predictor) -> None:
        kept, read = ({"body": p.body.tensors(), "head": p.head.arrays()} for p in (self, reloaded))
        same = self.body.documents() == reloaded.body.documents() and self.body.spec() == reloaded.body.spec()
        for part in kept:
            same = same and kept[part].keys() == read[part].keys()
            same = same and all(np.array_equal(kept[part][k], read[part][k], equal_nan=True) for k in kept[part])
        if not same:
            raise PredictorError("the reloaded weights differ from those in memory; it was not saved. This is a bug.")

    def _same_predictions(self, reloaded: Predictor, check: Inputs | None) -> None:
        for inputs in (self.modality.made_up(), check):
            if inputs is None or not len(inputs):
                continue
            mine, theirs = (predictor._forward(inputs, None)[0] for predictor in (self, reloaded))
            if not np.allclose(mine, theirs, rtol=0, atol=1e-6, equal_nan=True):
                worst = float(np.nanmax(np.abs(mine - theirs)))
                raise PredictorError(
                    f"the reloaded predictor differs from the one in memory by up to {worst:.2g} in probability; "
                    "it was not saved. This is a bug in headstart."
                )


def load(folder: str | Path) -> Predictor:
    """The predictor in `folder`, or in `folder`/model when `folder` is a run.

    Raises:
        RunError: there is no predictor.
        PredictorError: it is damaged or was written by a newer format.
    """
    folder = saved.located(folder)
    try:
        description = saved.described(folder)
        parts, texts = saved.tensors(folder, description), saved.documents(folder, description)
        return Predictor(
            classes=tuple(description["classes"]),
            body=restore_body(description["body"], parts["body"], description["weights"]["sha256"], texts),
            head=restore_head(description["head"]["kind"], parts["head"]),
            temperature=description["temperature"],
            provenance=description["provenance"],
        )
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise PredictorError(f"{folder}: the predictor is damaged ({type(error).__name__}: {error})") from error

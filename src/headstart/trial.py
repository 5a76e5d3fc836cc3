"""A trial: one source, one strategy, one set of hyper-parameters, one seed, executed on a TrainView."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import zlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart import source as sources
from headstart import strategy as strategies
from headstart.budget import Budget
from headstart.errors import HeadstartError
from headstart.features.precision import F32, Precision
from headstart.machine import Meter, one_thread
from headstart.predictor import Predictor
from headstart.predictor.heads import log_softmax
from headstart.strategy import Adapt, Bench, Side
from headstart.target.inputs import Inputs
from headstart.target.view import TrainView

_ARRAYS = ("log_probabilities", "labels", "spare_right", "spare_labels", "few")
CUT_SHORT = "training was cut short by the budget"
SAID = ("source_weight", "domain_weights", "intermediate")  # of the provenance: what a strategy found out
FEW = 1_000  # labelled examples, whose products are done before a second thread has begun
SPARE = 2_000  # left-out examples that validate a trial of the label curve, at most

Phase = Literal["search", "rung", "candidate", "final", "label curve", "ship"]


@dataclass(frozen=True)
class Spec:
    """What a trial is, before it is run.

    Args:
        episode: which of the target's episodes it belongs to.
        phase: `search`: trained without the fold of its seed, predicts that fold; `rung`: as search, on fewer labels;
            `final`: trained on everything that may be trained on, predicts the sealed inputs; `candidate`: as final,
            for routes that are chosen by what they say of the target without its labels; `label curve`: as final, on
            fewer labels; `ship`: trained on everything, predicts nothing.
        source: a source's name.
        strategy: a strategy's name.
        parameters: its hyper-parameters.
        seed: everything random.
        labels: number of labelled examples to train on; where there are labelled target examples beside those of a
            source domain, how many of each class of those; None: all.
    """

    episode: str
    phase: Phase
    source: str
    strategy: str
    parameters: dict[str, Any]
    seed: int = 0
    labels: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `Spec(**document)` gives it back."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @functools.cached_property
    def key(self) -> str:
        """A digest by which the ledger knows the trial."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    @functools.cached_property
    def setting(self) -> str:
        """Source, strategy and hyper-parameters as one string: what several seeds have in common."""
        return json.dumps([self.source, self.strategy, self.parameters], sort_keys=True)

    @property
    def validates(self) -> bool:
        """Whether it predicts a fold, whose labels the search may see."""
        return self.phase in ("search", "rung")

    def place(self) -> str:
        """What its seed stands for, in words: a fold, a seed, or a few-shot draw."""
        kind = "draw" if self.episode.startswith("draw") else "fold" if self.validates else "seed"
        return f"{kind} {self.seed + 1}"

    def words(self) -> str:
        """As a person reads it."""
        short = sources.find(self.source).card.short if self.source != "scratch" else ""
        return f"{self.strategy} on {short}" if short and self.strategy != "scratch" else short or self.strategy


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Args:
        spec: the trial.
        side: transfer or baseline.
        status: `ok` or `failed`.
        log_probabilities: (N, C) float32 of the fold (search, rung) or of the sealed inputs; None when it failed.
        labels: (N,) int64 of the fold; None in other phases, because sealed labels are judge's.
        spare_right: label curve: (M,) bool, what is right among training examples that the fewer labels left out; None
            in other phases, and where it would take many forward passes.
        spare_labels: (M,) int64, of those.
        few: (n, C) log-probabilities of the labelled target examples of an adaptation, each by a model that has not
            learned from it; None where there are none.
        said: what the strategy found out that a reader should know, such as a source domain's weight.
        wall: seconds, as measured.
        predicted: what the plan had predicted of `wall`; None where trials are counted, or it was not asked.
        saved: seconds of features that the store had and that would have been needed.
        cpu: CPU seconds of the process.
        memory_mb: highest resident memory.
        predict_seconds: wall seconds to predict the N inputs, features included wherever they came from.
        computed: features computed, and `compute_seconds` what that took; the plan learns the machine's speed from it.
        prepare_seconds: what loading or compiling the network took, and what was computed to settle its precision.
        model_parameters: numbers in the predictor.
        flops: floating-point operations to predict one example, where known.
        precision: in which the predictor computes frozen features, f32 or bf16.
        cut_steps: of the optimiser, after which the budget cut its training short; 0: it was not.
        note: what a reader of the leaderboard should know.
        error: why it failed.
    """

    spec: Spec
    side: Side
    status: Literal["ok", "failed"]
    log_probabilities: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    spare_right: NDArray[np.bool_] | None = None
    spare_labels: NDArray[np.int64] | None = None
    few: NDArray[np.float32] | None = None
    said: dict[str, Any] = field(default_factory=dict)
    wall: float = 0.0
    predicted: float | None = None
    saved: float = 0.0
    cpu: float = 0.0
    memory_mb: float = 0.0
    predict_seconds: float = 0.0
    computed: int = 0
    compute_seconds: float = 0.0
    prepare_seconds: float = 0.0
    model_parameters: int = 0
    flops: float = 0.0
    precision: Precision = F32
    cut_steps: int = 0
    note: str = ""
    error: str = ""

    @property
    def own_seconds(self) -> float:
        """Wall seconds without features, which are computed once and shared."""
        return max(0.0, self.wall - self.compute_seconds - self.prepare_seconds)

    @property
    def seconds(self) -> float:
        """Wall seconds the trial would have taken with an empty store."""
        return self.wall + self.saved

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_json` gives it back."""
        return {**vars(self), "spec": self.spec.to_json(), **{key: encode(getattr(self, key)) for key in _ARRAYS}}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Result:
        """The inverse of :meth:`to_json`."""
        arrays = {key: decode(document.get(key)) for key in _ARRAYS}
        return cls(**{**document, "spec": Spec(**document["spec"]), **arrays})


def encode(array: NDArray[Any] | None) -> dict[str, Any] | None:
    """An array as JSON, exactly: type, shape, and compressed bytes in base 64."""
    if array is None:
        return None
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode("ascii")
    return {"dtype": str(array.dtype), "shape": list(array.shape), "data": data}


def decode(document: dict[str, Any] | None) -> Any:
    """The inverse of :func:`encode`."""
    if document is None:
        return None
    flat = np.frombuffer(zlib.decompress(base64.b64decode(document["data"])), dtype=document["dtype"])
    return flat.reshape(document["shape"]).copy()


@dataclass(frozen=True)
class Outcome:
    """A result, and the predictor behind it (None when the trial failed)."""

    result: Result
    predictor: Predictor | None = field(default=None, repr=False)


def execute(
    spec: Spec, view: TrainView, sealed: Inputs | None, *, budget: Budget, bench: Bench, keep: Path | None = None
) -> Outcome:
    """Run one trial.

    Args:
        spec: the trial.
        view: the episode's view.
        sealed: the episode's sealed inputs, for final trials.
        budget: of this trial.
        bench: device, store, progress.
        keep: where to save the predictor before the result is returned; None: nowhere.

    Returns:
        The outcome. A trial that fails for a reason of its own (it diverged, a source is offline, memory ran out)
        gives a failed result; a bug of ours is raised.
    """
    strategy = strategies.make(spec.strategy, spec.parameters)
    try:
        with _threads(strategy, view), Meter() as meter:
            source = sources.find(spec.source)
            if spec.validates:
                train, held = view.fold(spec.seed)
                asked: Inputs | None = held.inputs
                labels: NDArray[np.int64] | None = held.labels
            else:
                train, asked, labels = view.training(), sealed, None
            spare = None
            if spec.labels is not None and view.few is not None:
                train = train.fewer(spec.labels, spec.seed)
            elif spec.labels is not None:
                spare = train.rest(spec.labels, spec.seed, SPARE) if spec.phase == "label curve" else None
                train = train.sample(spec.labels, spec.seed)
            with profile.phase("train"):
                predictor = strategy(source, train, budget=budget, seed=spec.seed, bench=bench)
            before = replace(bench.tally)
            log_probabilities, elapsed = None, 0.0
            if asked is not None:
                with Meter() as predicting, profile.phase("forward"):
                    vectors = bench.features(predictor.body, asked, source.card.short)
                    # What is held out of an adaptation's labelled examples is of the source domain.
                    log_probabilities = predictor.log_probabilities(vectors, elsewhere=spec.validates)
                elapsed = predicting.spent().wall + bench.tally.saved - before.saved
            if spare is not None and (strategy.needs.gradients and predictor.body.frozen() is None):
                spare = None
            right = None
            if spare is not None and len(spare):
                with profile.phase("forward"):
                    logs = predictor.log_probabilities(bench.features(predictor.body, spare.inputs, source.card.short))
                right = logs.argmax(axis=1) == spare.labels
            few = _few(predictor, train, bench, source.card.short)
            if keep is not None:
                with profile.phase("save"):
                    predictor.save(keep, predicting=False)  # what is shipped of it will have to
        spent = meter.spent()
    except (HeadstartError, MemoryError) as error:
        words = str(error) or type(error).__name__
        return Outcome(Result(spec, strategy.side, "failed", wall=meter.spent().wall, error=words))
    tally = bench.tally
    tensors = predictor.body.tensors().values()
    training = predictor.provenance.get("training", {})
    result = Result(
        spec,
        strategy.side,
        "ok",
        log_probabilities=log_probabilities,
        labels=labels,
        spare_right=right,
        spare_labels=spare.labels if spare is not None and right is not None else None,
        few=few,
        said={key: predictor.provenance[key] for key in SAID if key in predictor.provenance},
        wall=spent.wall,
        saved=tally.saved,
        cpu=spent.cpu,
        memory_mb=spent.memory_mb,
        predict_seconds=elapsed,
        computed=tally.computed if predictor.body.frozen() is not None else 0,
        compute_seconds=tally.seconds,
        prepare_seconds=tally.preparing,
        model_parameters=sum(t.size for t in tensors) + sum(a.size for a in predictor.head.arrays().values()),
        flops=source.card.flops,
        precision=getattr(predictor.body, "precision", F32),
        cut_steps=training["steps"] if training.get("stopped_by") == "budget" else 0,
        note=_note(predictor),
    )
    return Outcome(result, predictor)


def _threads(strategy: Adapt, view: TrainView) -> contextlib.AbstractContextManager[None]:
    """One thread for each product of a small trial that trains no network: more would only wait for each other."""
    small = len(view) <= FEW and not strategy.needs.gradients
    return one_thread() if small else contextlib.nullcontext()


def _few(predictor: Predictor, view: TrainView, bench: Bench, words: str) -> NDArray[np.float32] | None:
    """What is said of the labelled target examples by models that have not learned from them."""
    if view.few is None:
        return None
    if predictor.left_out is not None:
        return log_softmax(predictor.left_out)
    return predictor.log_probabilities(bench.features(predictor.body, view.few.inputs, words))


def _note(predictor: Predictor) -> str:
    if weight := predictor.provenance.get("source_weight"):
        return f"source weight {weight['value']:.2g} ({weight['low']:.2g} to {weight['high']:.2g})"
    if (how := predictor.provenance.get("zero_shot")) and how["method"] == "own":
        return "the source's own classifier for classes of these names"
    if how:
        return f"{how['method']} {how['value']:g}: it named {100 * how['right']:.0f} % of known classes left out"
    training = predictor.provenance.get("training", {})
    if training.get("stopped_by") != "budget":
        return ""
    after = f"{training['epochs']} epochs" if "epochs" in training else f"{training['steps']} steps"
    return f"{CUT_SHORT} after {after}"

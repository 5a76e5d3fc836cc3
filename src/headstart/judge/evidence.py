"""Evidence: what judge says, as a versioned schema. It is what `evidence.json` holds and what the report shows.

Scores and gains are fractions (0.954, +0.294), times are seconds, memory is in MiB.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 2

Verdict = Literal["helped", "hurt", "undetermined"]
Side = Literal["transfer", "baseline"]
Method = Literal["paired stratified bootstrap", "corrected resampled t-test", "paired t-test over draws"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class TargetSummary(_Part):
    """The target in numbers."""

    name: str = Field(description="what the user calls it")
    modality: str = Field(default="image", description="what the examples are")
    examples: int = Field(description="usable examples")
    classes: list[str] = Field(description="names of the classes, in the order of all per-class lists")
    train: int = Field(description="labelled examples outside the test split; cross-fitted: all")
    test: int = Field(description="sealed examples; cross-fitted: all, each sealed in turn")
    split: Literal["given", "made", "cross-fit"] = Field(
        description="given by the user, made here, or cross-fit where there is too little for a test split"
    )


class Gain(_Part):
    """Transfer minus baseline in the primary metric, with its interval."""

    estimate: float = Field(description="transfer minus baseline, a fraction")
    low: float = Field(description="lower end of the interval")
    high: float = Field(description="upper end of the interval")
    confidence: float = Field(default=0.95, description="level of the interval")


class McNemar(_Part):
    """Exact McNemar test on the same sealed examples (median p-value over seeds)."""

    only_transfer_right: float = Field(
        description="test examples that only transfer has right, mean over pairs of seeds"
    )
    only_baseline_right: float = Field(description="test examples that only the baseline has right, likewise")
    p_value: float = Field(description="exact, two-sided; median over pairs of seeds")


class TopK(_Part):
    """How often the true class is among the k most probable ones."""

    k: int = Field(description="how many classes are looked at")
    score: float = Field(description="share of examples, mean over seeds")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")


class Route(_Part):
    """One finalist: how it was made, how it scored on the sealed test set, what it costs."""

    source: str = Field(description="where knowledge comes from, such as bundled:efficientnet_lite0")
    strategy: str = Field(description="how it is transferred, such as probe")
    parameters: dict[str, Any] = Field(default={}, description="hyper-parameters of the strategy")
    score: float = Field(description="primary metric on the sealed test, mean over seeds")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")
    validation_score: float | None = Field(default=None, description="primary metric on the validation folds, mean")
    metrics: dict[str, float] = Field(
        default={},
        description="accuracy, balanced_accuracy, macro_f1, log_loss, auroc, ece; a metric that is undefined is absent",
    )
    top_k: TopK | None = Field(
        default=None, description="top-5 accuracy on the sealed test; null with five classes or fewer"
    )
    seconds: float = Field(description="wall seconds to train once, features included")
    cpu_seconds: float | None = Field(default=None, description="processor seconds to train once")
    memory_mb: float = Field(description="highest resident memory of the process during a trial, MiB")
    model_parameters: int | None = Field(default=None, description="numbers in the predictor")
    flops_per_example: float | None = Field(
        default=None, description="floating-point operations to predict one example"
    )
    seconds_per_1000: float | None = Field(default=None, description="seconds per 1,000 predictions on this machine")
    precision: Literal["f32", "bf16"] = Field(default="f32", description="in which frozen features are computed")


class ClassGain(_Part):
    """What transfer does to one class: recall of both finalists and the difference with its interval."""

    name: str = Field(description="the class")
    n_test: int = Field(description="its test examples")
    transfer: float = Field(description="recall of the transfer finalist")
    baseline: float = Field(description="recall of the baseline finalist")
    gain: float = Field(description="transfer minus baseline")
    low: float = Field(description="lower end of the interval, for this class alone")
    high: float = Field(description="upper end of the interval, for this class alone")


class ReliabilityBin(_Part):
    """One bin of a reliability diagram."""

    confidence: float = Field(description="mean probability of the predicted class")
    accuracy: float = Field(description="share that is right")
    count: int = Field(description="test examples, mean over seeds")


class Calibration(_Part):
    """Calibration of the shipped model on the sealed test set, before and after temperature scaling on validation."""

    temperature: float = Field(description="logits are divided by it; above 1 the model was too sure of itself")
    ece_before: float = Field(description="expected calibration error without temperature scaling")
    ece_after: float = Field(description="expected calibration error with it, as shipped")
    bins_before: list[ReliabilityBin] = Field(default=[], description="reliability diagram without temperature scaling")
    bins: list[ReliabilityBin] = Field(default=[], description="reliability diagram with it, as shipped")


class LeaderboardRow(_Part):
    """One route on the leaderboard: its validation score over the folds it was tried on."""

    source: str = Field(description="as in Route")
    strategy: str = Field(description="as in Route")
    side: Side = Field(description="transfer or baseline")
    parameters: dict[str, Any] = Field(default={}, description="those of its best setting")
    trials: int = Field(description="trials that were run")
    score: float | None = Field(description="primary metric on the validation folds; null without a successful trial")
    low: float | None = Field(description="lower end of its interval")
    high: float | None = Field(description="upper end of its interval")
    top_k: TopK | None = Field(
        default=None, description="top-5 accuracy on the validation folds; null with five classes or fewer"
    )
    seconds: float = Field(description="wall seconds of one trial, features included, median")
    memory_mb: float = Field(description="highest resident memory of the process during its trials, MiB")
    status: str = Field(description="ok, failed, or skipped")
    note: str = Field(default="", description="why it failed or was skipped")


class PrecisionCheck(_Part):
    """Whether the features of a source may be computed in bf16: what a probe on training examples makes of both."""

    source: str = Field(description="as in Route")
    precision: Literal["f32", "bf16"] = Field(description="in which its features were computed")
    why: str = Field(description="in words")
    examples: int | None = Field(default=None, description="training examples looked at; null where none were")
    f32: float | None = Field(default=None, description="leave-one-out accuracy of a ridge probe on features in f32")
    bf16: float | None = Field(default=None, description="the same on features in bf16")
    gain: float | None = Field(default=None, description="bf16 minus f32 in the primary metric")
    low: float | None = Field(default=None, description="lower end of its 90 % interval, by which it was decided")
    high: float | None = Field(default=None, description="upper end of it")


class CurvePoint(_Part):
    """One point of the label curve: a finalist trained on so many labels, on the same sealed test set."""

    labels: int = Field(description="labelled examples trained on")
    side: Side = Field(description="transfer or baseline")
    score: float = Field(description="primary metric on the sealed test, mean over seeds")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")
    seeds: int = Field(description="trainings; below all labels each with a draw of its own")
    validation_score: float | None = Field(
        default=None,
        description="primary metric on labelled examples it was not trained on, mean over seeds; with all labels on "
        "the validation folds, where four fifths were trained on",
    )


class CurveLine(_Part):
    """The fitted label curve at one number of labels."""

    labels: int = Field(description="labelled examples")
    score: float = Field(description="primary metric that the curve gives")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")


class CurveFit(_Part):
    """A power law fitted to one side's points: error = scale * labels ** -exponent + floor."""

    side: Side = Field(description="transfer or baseline")
    scale: float = Field(description="error with one label, above the floor")
    exponent: float = Field(description="how fast the error falls, between 0.05 and 2")
    exponent_low: float = Field(description="lower end of its interval")
    exponent_high: float = Field(description="upper end of its interval")
    floor: float = Field(description="error that no number of labels takes away")
    line: list[CurveLine] = Field(description="the curve, to twice the labels there are")


class LabelsNeeded(_Part):
    """How many labels one side needs to score what the other scores with all labels."""

    side: Side = Field(description="whose labels are counted")
    score: float = Field(description="what is to be reached: the other side's score on the sealed test")
    labels: int | None = Field(description="estimate; null beyond `reach`")
    low: int | None = Field(description="lower end of its interval; null beyond `reach`")
    high: int | None = Field(description="upper end of its interval; null beyond `reach`")
    reach: int = Field(description="as far as the curve was followed")


class MoreLabels(_Part):
    """What more labels should give to the shipped side."""

    side: Side = Field(description="transfer or baseline")
    labels: int = Field(description="how many more")
    gain: float = Field(description="in the primary metric")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")


class LabelCurve(_Part):
    """What labels are worth: both finalists at growing numbers of labels. It chooses nothing."""

    points: list[CurvePoint] = Field(description="what was measured")
    fits: list[CurveFit] = Field(default=[], description="of each side whose points carry one")
    needed: LabelsNeeded | None = Field(
        default=None, description="labels at which the worse side would match the better one; null where not fitted"
    )
    suffices: LabelsNeeded | None = Field(
        default=None,
        description="labels at which the better side matches the worse one; null where not fitted, and where the "
        "fewest labels tried do",
    )
    more: MoreLabels | None = Field(default=None, description="null where the shipped side has no fit")
    sentences: list[str] = Field(default=[], description="what it says")
    notes: list[str] = Field(default=[], description="what the data do not carry, and why")


class Draw(_Part):
    """One few-shot draw: both finalists trained on its labels, judged on its part of the sealed test."""

    number: int = Field(description="from 1")
    n_test: int = Field(description="sealed examples it was judged on")
    transfer: float = Field(description="primary metric of the transfer finalist")
    baseline: float = Field(description="primary metric of the baseline finalist")


class Shots(_Part):
    """A few-shot run: what so many labels of each class give, over many draws of them."""

    labels: int = Field(description="of each class that a draw learns from")
    asked: int = Field(description="draws that were asked for; those that were judged are in `draws`")
    shared: float = Field(description="mean share of its labels that a draw has in common with another, 0 to 1")
    choosing: int = Field(description="labels, of no draw, by which routes were chosen and temperatures fitted")
    shipped_draw: int = Field(description="the draw whose labels the shipped model was trained on")
    draws: list[Draw] = Field(description="in order")


class ScoreRecord(_Part):
    """How well one score had predicted which source the probe would do best on."""

    name: str = Field(description="the score, as headstart rank calls it")
    values: dict[str, float] = Field(description="source -> value; larger should be better")
    tau: float | None = Field(
        description="Kendall's tau-b between its order of the sources and the outcome's; null where one is all ties"
    )
    first: str = Field(description="the source it puts first")
    lost: float = Field(description="outcome of the best source minus outcome of `first`; 0 where it chose right")


class Scores(_Part):
    """What scores on frozen features said of the sources, beside what the search then found on validation."""

    examples: int = Field(description="labelled training examples that the scores looked at")
    outcome: dict[str, float] = Field(
        description="source -> primary metric of its best probe on the validation folds, mean"
    )
    seconds: float = Field(description="wall seconds that all scores took, for all sources")
    records: list[ScoreRecord] = Field(description="one for each score that could be used on all of the sources")


class Prediction(_Part):
    """One trial whose seconds were predicted badly."""

    source: str = Field(description="as in Route")
    strategy: str = Field(description="as in Route")
    phase: str = Field(description="search, final or label curve")
    predicted: float = Field(description="wall seconds that the plan had predicted")
    seconds: float = Field(description="wall seconds that it took")


class Predictions(_Part):
    """How well the plan had predicted the wall seconds of trials."""

    trials: int = Field(description="whose seconds were predicted")
    within: float = Field(description="share of them that took between half and twice what was predicted")
    ratio: float = Field(description="median of actual over predicted seconds")
    worst: list[Prediction] = Field(default=[], description="those furthest off, beyond a factor of two")


class TriedRoute(_Part):
    """One way of adaptation on the sealed target examples. It chose nothing."""

    name: str = Field(description="strategy, with the hyper-parameters that are not its usual ones")
    score: float = Field(description="primary metric on the sealed target examples")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")
    labelled: float | None = Field(
        default=None,
        description="accuracy on the labelled target examples, each left out in turn; null without such",
    )
    source_weight: list[float] | None = Field(
        default=None, description="how much the source counts, 0 to 1, with the ends of its interval; null without"
    )


class TargetLabelPoint(_Part):
    """One way of adaptation with so many labels of each target class to learn from."""

    route: str = Field(description="as in TriedRoute")
    each: int = Field(description="labels of each class of the target")
    score: float = Field(description="primary metric on the sealed target examples, mean over draws of the labels")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")
    draws: int = Field(description="draws of the labels")


class Worth(_Part):
    """How many labels of each target class, by themselves, score what the source gives without any."""

    route: str = Field(description="what learned from the source alone")
    score: float = Field(description="its mean recall on the sealed target examples")
    each: float | None = Field(description="labels of each class; null: more than `most`")
    low: float | None = Field(description="lower end of its interval; null: more than `most`")
    high: float | None = Field(description="upper end of its interval; null: more than `most`")
    most: int = Field(description="as many were tried")


class SourceDomain(_Part):
    """One of several source domains: what it gives on this target, told by leaving it out."""

    name: str = Field(description="the domain")
    kept: bool = Field(description="false: it does harm and was dropped")
    discrepancy: float = Field(description="its weight in the mixture of sources that is most like the target")
    validators: float = Field(description="its weight by what validators say of its own classifier")
    helped: list[str] = Field(description="validators that prefer to have it, beyond their noise")
    harmed: list[str] = Field(description="validators that prefer to be without it, beyond their noise")
    gain: Gain | None = Field(
        default=None, description="source-only with it minus without it on the sealed target examples; null unsealed"
    )


class AdaptationRecord(_Part):
    """How an adaptation used the target's labels, and what came of every way that was tried."""

    learned: int = Field(description="target labels that were given to learn from")
    used: str = Field(description="how the target's labels were used, in words")
    routes: list[TriedRoute] = Field(default=[], description="all that were tried, best first")
    over: dict[str, Gain] = Field(
        default={}, description="baseline -> the adapted finalist minus it on the sealed target examples"
    )
    curve: list[TargetLabelPoint] = Field(default=[], description="what growing numbers of target labels give")
    worth: Worth | None = Field(default=None, description="what the source is worth in target labels; null unmeasured")
    domains: list[SourceDomain] = Field(default=[], description="the source domains, where there are several")
    sentences: list[str] = Field(default=[], description="what it says")


class Cost(_Part):
    """What the whole run cost."""

    wall_seconds: float = Field(description="by the clock")
    cpu_seconds: float = Field(description="of the processor")
    peak_memory_mb: float = Field(description="highest resident memory of the process, MiB")
    trials: int = Field(description="trials that were run")
    device: str = Field(default="cpu", description="cpu, or a torch device")


class Evidence(_Part):
    """Everything judge says about one run. The JSON form is documented in docs/reference/evidence.md."""

    schema_version: int = Field(default=SCHEMA, alias="schema", description="version of this schema")
    headstart: str = Field(description="version of headstart that wrote this")
    target: TargetSummary
    metric: Literal["accuracy", "balanced_accuracy"] = Field(
        description="the primary metric; balanced_accuracy when the classes are imbalanced"
    )
    verdict: Verdict = Field(
        description="helped: the interval of the gain is above zero; hurt: below; undetermined: it includes zero"
    )
    gain: Gain
    transfer: Route
    baseline: Route
    shipped: Side = Field(description="which finalist the saved model is")
    shipped_reason: str = Field(description="why, in a sentence")
    seeds: int = Field(description="final trainings of each finalist")
    n_test: int = Field(description="different sealed examples")
    method: Method = Field(description="how the interval of the gain was made")
    mcnemar: McNemar | None = None
    minimal_detectable_gain: float = Field(description="smallest true gain this test could have shown with 80 % power")
    examples_to_settle: int | None = Field(
        default=None,
        description="test examples at which the observed gain would be told from zero; null when settled, and for "
        "few-shot draws",
    )
    cost: Cost
    per_class: list[ClassGain] = Field(default=[], description="in the order of the classes that occur in the test")
    confusion: list[list[float]] = Field(
        default=[], description="rows: true class, columns: predicted, shipped model, mean count over seeds"
    )
    calibration: Calibration | None = None
    label_curve: LabelCurve | None = Field(
        default=None, description="what fewer labels would have given, and more should; null when not measured"
    )
    leaderboard: list[LeaderboardRow] = Field(
        default=[], description="all routes, best first, then those that were not tried"
    )
    shots: Shots | None = Field(default=None, description="what was done draw by draw; null without --shots")
    adaptation: AdaptationRecord | None = Field(
        default=None, description="how target labels were used and what each way gave; null for other runs"
    )
    scores: Scores | None = Field(
        default=None,
        description="how well scores had predicted the outcome; null where fewer than two pretrained sources were "
        "probed",
    )
    precisions: list[PrecisionCheck] = Field(
        default=[], description="sources of which bf16 was used or checked; all other features were computed in f32"
    )
    predictions: Predictions | None = Field(
        default=None, description="how well the plan had predicted what trials take; null where trials were counted"
    )
    hygiene: dict[str, Any] = Field(
        default={}, description="what was found wrong with the data and what was done about it"
    )
    warnings: list[str] = Field(default=[], description="the most important things to know")
    partial: bool = Field(default=False, description="the run stopped before its plan was done")
    search_ended: str = Field(default="", description="why the search ended before the budget did; empty: it did not")
    seconds_total: float = Field(description="wall seconds of the whole run")
    budget: str = Field(default="", description="as the user gave it")
    command: str = Field(default="", description="what starts this run again")
    versions: dict[str, str] = Field(default={}, description="of Python and of the packages a result depends on")
    machine: dict[str, Any] = Field(default={}, description="what it was measured on")

    def to_json(self) -> dict[str, Any]:
        """The document that is written to `evidence.json`."""
        document: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return document

    def to_text(self) -> str:
        """The text of `evidence.json`; the same evidence gives the same bytes."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

"""Training a classifier network on a view: what fine-tuning and training from scratch share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart.budget import Budget
from headstart.errors import DivergedError, TrialError
from headstart.features import Augmentation, NetworkBody
from headstart.features.text import TextBody, Words, fit_words, tokenizer_of
from headstart.machine import one_thread
from headstart.predictor import LinearHead, Predictor
from headstart.predictor.prior import choose_shift
from headstart.source.card import Preprocessing, Source, Tokens
from headstart.strategy import linear, tail
from headstart.strategy.contract import Bench
from headstart.target.inputs import Inputs, texts_in
from headstart.target.split import holdout
from headstart.target.view import Examples, TrainView
from headstart.train import (
    UNLABELLED,
    Batches,
    History,
    Pictures,
    Plan,
    Task,
    Texts,
    Trainable,
    TwoDomains,
    chosen_rate,
    range_test,
    robust,
    soup,
    train,
)

STOPPING_SHARE = 0.15  # of the training examples, held out for early stopping
STOPPING_MINIMUM = 200  # below this many nothing is held out to stop by: the labels teach more than their loss tells
CHOOSING_MINIMUM = 40  # below this many nothing is held out to choose a shift by, which cannot be chosen otherwise
RATES = (1.0, 0.5, 2.0)  # times the rate, for the members of a soup in turn
STRIDE = 1_000_003  # between the seeds of members
MERGED = 1e-3  # largest difference that merging an adapter may make, relative to the largest logit

Adapter = Callable[[nn.Module], Callable[[], object]]
"""Attaches something to a trunk, and gives what makes it part of the trunk again, in place."""


class Classifier(nn.Module):
    """A trunk that keeps timm's contract, and a linear head on its pooled output, scaled to length 1 if `normalise`.

    With `cut`, a stage of a text encoder, it begins there: with values at each token, NaN where a text has ended.
    """

    def __init__(
        self, trunk: nn.Module, width: int, classes: int, normalise: bool = False, cut: str | None = None
    ) -> None:
        super().__init__()
        self.trunk, self.normalise, self.cut = trunk, normalise, cut
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S), (B, L), or from a cut (B, L, D), to logits (B, C)."""
        trunk: Any = self.trunk
        if self.cut is None:
            values = trunk.forward_features(x)
        else:
            values = trunk.resume((x.nan_to_num(), ~x[..., 0].isnan()), self.cut)
        pooled = trunk.forward_head(values, pre_logits=True)
        logits: torch.Tensor = self.head(functional.normalize(pooled, dim=1) if self.normalise else pooled)
        return logits


class Aim(Protocol):
    """What training lowers; :class:`headstart.strategy.objective.Objective` is the usual one."""

    def extend(self, module: Any, source: Source, bench: Bench) -> None:
        """Give `module`, which has a `head`, the parameters besides trunk and head that are trained."""
        ...

    def task(
        self, module: Any, source: Source, examples: Examples, classes: int, batches: Any, bench: Bench
    ) -> AbstractContextManager[Task]:
        """The task, for the length of a training on `examples`, which are C classes in `batches`."""
        ...


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on a view.

    Args:
        plan: of the loop.
        trainable: what is trained.
        augmentation: of the training pictures.
        objective: what training lowers.
        drop: share of the words of training texts that are left out.
        batch: examples per batch.
        stop_early: hold a stratified part of the view out, and keep the weights of the epoch with the smallest mean
            cross-entropy on it; else everything is trained on, for all epochs.
        even: in training, every class comes equally often.
        between: afterwards, go back some of the way to the start (WiSE-FT), see :func:`headstart.train.robust`.
        shift: afterwards, shift the logits by the prior of the classes, as the primary metric on what is held out wants
            it; see :func:`headstart.predictor.prior.choose_shift`. Where nothing is held out, they are not shifted.
        find_rate: take the plan's rate from a range test.
        members: of a soup: so many trainings from one start, at several rates and in several orders of the batches,
            whose weights are averaged afterwards, see :func:`headstart.train.soup`; 1: no soup.
        greedy: of a soup: take only the members that do not raise the loss on what is held out.
    """

    plan: Plan
    trainable: Trainable
    augmentation: Augmentation
    objective: Aim
    batch: int
    stop_early: bool
    drop: float = 0.0
    even: bool = False
    between: bool = False
    shift: bool = False
    find_rate: bool = False
    members: int = 1
    greedy: bool = False

    def divide(self, view: TrainView) -> tuple[Examples, Examples | None]:
        """What is trained on, and what is held out for early stopping."""
        least = CHOOSING_MINIMUM if self.shift else STOPPING_MINIMUM
        if not self.stop_early or len(view) < least:
            return view.examples, None
        kept, held = holdout(view.examples.labels, STOPPING_SHARE, seed=self.plan.seed, groups=view.examples.groups)
        return view.examples.take(kept), view.examples.take(held)


def probed(source: Source, examples: Examples, classes: int, bench: Bench) -> LinearHead:
    """A head fitted on the frozen features of examples, to begin training with."""
    X = bench.features(bench.body(source), examples.inputs, source.card.short)
    return linear.ridge(X, examples.labels, classes).as_logits(examples.labels)


def probed_apart(module: Any, batches: Batches, y: Any, classes: int) -> LinearHead:
    """A head fitted on what a module makes of a domain, whose statistics its batch norm takes first, and keeps.

    Args:
        module: in place.
        batches: of N examples of the domain.
        y: (N,) their labels.
        classes: C.
    """
    from headstart.train.adaptation import renormalise, said

    renormalise(module, batches)
    features = said(module, batches)[0].numpy()
    with one_thread():
        return linear.ridge(features, y, classes).as_logits(y)


def put(head: LinearHead, layer: nn.Linear) -> None:
    """Give a layer the numbers of a head."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))


def fit(
    source: Source,
    view: TrainView,
    recipe: Recipe,
    *,
    preprocessing: Preprocessing | Tokens,
    budget: Budget,
    bench: Bench,
    words: str,
    start: bool = False,
    adapter: Adapter | None = None,
    cut: str | None = None,
    unlabelled: Inputs | None = None,
) -> Predictor:
    """Train a network on `view` and return it as a predictor.

    Args:
        source: gives the trunk.
        view: what may be learned from.
        recipe: how; everything random follows from its plan's seed.
        preprocessing: how pictures or texts become inputs.
        budget: of this trial.
        bench: device, checkpoint, progress.
        words: what the progress display says.
        start: begin with a head probed on the frozen features of what is trained on; else with a random one.
        adapter: attaches what is trained to the trunk, and afterwards makes it part of the trunk.
        cut: of a text encoder: the last of the stages that the recipe leaves frozen. The values there are computed
            once and kept, where the network can be resumed from them and memory holds them.
        unlabelled: texts of another domain, which are in every batch too; see :class:`headstart.train.TwoDomains`.

    Raises:
        TrialError: the trunk with the adapter in it does not compute what it computed with the adapter attached.
    """
    card, seed = source.card, recipe.plan.seed
    normalise = isinstance(preprocessing, Tokens) and preprocessing.normalise
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Classifier(source.module(seed), card.features, len(view.classes), normalise)
        merge = adapter(module.trunk) if adapter is not None else None
    module = module.to(bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fitted, held = recipe.divide(view)
    kind: dict[str, Any] = {"batch": recipe.batch, "device": bench.device, "even": recipe.even}
    kept: dict[str, Any] = {"device": bench.device, "stages": card.stages}
    batches: Any
    stopping: Any
    body: NetworkBody
    if isinstance(preprocessing, Tokens):
        document = _tokenizer(source, fitted, preprocessing)
        reader = Words(document, preprocessing)
        batches = Texts(fitted, reader, recipe.drop, **kind)
        stopping = None if held is None else Texts(held, reader, **kind)
        asked = None if unlabelled is None else without_labels(unlabelled)
        beside = None if asked is None else Texts(asked, reader, recipe.drop, **kind)
        if cut is not None and tail.resumable(module.trunk, batches, stopping, beside):
            module.cut = cut
            batches = tail.from_cut(source, batches, fitted, cut, bench)
            stopping = None if stopping is None or held is None else tail.from_cut(source, stopping, held, cut, bench)
            beside = None if beside is None or asked is None else tail.from_cut(source, beside, asked, cut, bench)
        batches = batches if beside is None else TwoDomains(batches, beside)
        body = TextBody(module.trunk, card.architecture, preprocessing, document, card.features, **kept)
    else:
        batches = Pictures(fitted, preprocessing, recipe.augmentation, **kind)
        stopping = None if held is None else Pictures(held, preprocessing, **kind)
        body = NetworkBody(module.trunk, card.architecture, preprocessing, card.features, **kept)
    lesson = Lesson(source, fitted, held, batches, stopping, len(view.classes), view.metric)
    head, training = _learn(module, lesson, recipe, start, budget, bench, words)
    if merge is not None:
        _merged(module, merge, next(batches.evaluation())[0])
    return Predictor(view.classes, body, head, provenance={"training": training})


def without_labels(inputs: Inputs) -> Examples:
    """Inputs of a domain that has no labels."""
    return Examples(inputs, np.full(len(inputs), UNLABELLED, dtype=np.int64))


def _merged(module: nn.Module, merge: Callable[[], object], batch: torch.Tensor) -> None:
    """Merge, and see that nothing else changed."""
    with torch.inference_mode():
        before = module.eval()(batch)
    merge()
    with torch.inference_mode():
        difference = float((module.eval()(batch) - before).abs().max() / before.abs().max().clamp(min=1e-12))
    if not difference <= MERGED:
        raise TrialError(f"with the adapter merged into the weights the logits differ by {difference:.1e} (relative)")


def _tokenizer(source: Source, examples: Examples, how: Tokens) -> str:
    """The source's tokenizer, or one of the words of the examples."""
    if not how.vocabulary:
        return tokenizer_of(source)
    inputs = texts_in(examples.inputs)
    return fit_words((inputs.text(i) for i in range(len(inputs))), how.vocabulary)


def fit_tail(
    source: Source,
    view: TrainView,
    recipe: Recipe,
    *,
    cut: str,
    views: int,
    budget: Budget,
    bench: Bench,
    words: str,
    start: bool = False,
    unlabelled: Inputs | None = None,
) -> Predictor:
    """Train what follows a cut, from the values there, which the frozen prefix computes once.

    Args:
        source: gives the network.
        view: what may be learned from.
        recipe: how; everything random follows from its plan's seed.
        cut: name of the stage after which it is cut.
        views: augmented views of each example; as many as `CUT_BYTES` hold.
        budget: of this trial.
        bench: store, device, checkpoint, progress.
        words: what the progress display says.
        start: begin with a head probed on the frozen features of what is trained on; else with a random one.
        unlabelled: pictures of another domain, which are in every batch too; see :class:`headstart.train.TwoDomains`.

    Raises:
        TrialError: the network cannot be cut there, or the values of one view do not fit into memory.
    """
    fitted, held = recipe.divide(view)
    views = tail.room(source.card, cut, len(view) + (0 if unlabelled is None else len(unlabelled)), views)
    change = recipe.augmentation
    kind: dict[str, Any] = {"batch": recipe.batch, "even": recipe.even}
    batches: Any = tail.cut_values(source, fitted, cut, views, bench, change, **kind)
    if unlabelled is not None:
        beside = tail.cut_values(source, without_labels(unlabelled), cut, views, bench, change, batch=recipe.batch)
        batches = TwoDomains(batches, beside)
    stopping = None if held is None else tail.cut_values(source, held, cut, 0, bench, **kind)
    trunk, module = tail.cut_apart(source, cut, len(view.classes), recipe.plan.seed, bench)
    lesson = Lesson(source, fitted, held, batches, stopping, len(view.classes), view.metric)
    head, training = _learn(module, lesson, recipe, start, budget, bench, words)
    body = tail.cut_body(source, cut, trunk, module, bench)
    return Predictor(view.classes, body, head, provenance={"training": training | {"cut": cut, "views": views}})


@dataclass(frozen=True)
class Lesson:
    """What a network is trained on.

    Args:
        source: it was made from.
        examples: to train on.
        held: out for early stopping; None: nothing is.
        batches: the examples.
        stopping: those held out; None: there are none.
        classes: C.
        metric: the primary one.
    """

    source: Source
    examples: Examples
    held: Examples | None
    batches: Batches
    stopping: Batches | None
    classes: int
    metric: str


def _learn(
    module: Any, lesson: Lesson, recipe: Recipe, start: bool, budget: Budget, bench: Bench, words: str
) -> tuple[LinearHead, dict[str, Any]]:
    """Train in place; the head, and what to say of the training."""
    if start:
        put(probed(lesson.source, lesson.examples, lesson.classes, bench), module.head)
    recipe.objective.extend(module, lesson.source, bench)
    plan = replace(recipe.plan, precision=bench.trains_in)
    before = {name: value.detach().clone() for name, value in module.state_dict().items()} if recipe.between else {}
    batches, stopping = lesson.batches, lesson.stopping
    evaluate = None if stopping is None else _mean_loss(module, stopping)
    found: dict[str, Any] = {}
    objective = recipe.objective.task(module, lesson.source, lesson.examples, lesson.classes, batches, bench)
    with objective as task:
        if recipe.find_rate:
            curve = range_test(
                module, task, batches.training, recipe.trainable, decay=plan.decay, clip=plan.clip, seed=plan.seed
            )
            found["rate"] = rate = chosen_rate(curve)
            plan = replace(plan, rate=rate)
        once = functools.partial(
            train,
            module,
            task,
            batches.training,
            batches.steps(),
            trainable=recipe.trainable,
            evaluate=evaluate,
            progress=bench.saying(words),
        )
        if recipe.members == 1:
            history = once(plan=plan, budget=budget, checkpoint=bench.checkpoint)
        else:
            history, states = _members(module, once, plan, recipe.members, budget, bench.checkpoint)
            taken = soup(module, states, evaluate, greedy=recipe.greedy)
            found["soup"] = {"members": len(states), "taken": list(taken)}
    if recipe.between:
        found["between"] = robust(module, before, evaluate)
    weight, bias = weights_of(module.head)
    if recipe.shift and stopping is not None and lesson.held is not None:
        frequencies = np.bincount(lesson.examples.labels, minlength=lesson.classes) / len(lesson.examples)
        logits = _logits(module, stopping)
        found["shift"], moved = choose_shift(logits, lesson.held.labels, frequencies, lesson.metric)
        bias = bias + moved
    training = {
        "epochs": len(history.losses),
        "steps": history.steps,
        "best_epoch": history.best_epoch + 1,
        "stopped_by": history.stopped,
    }
    if history.averaged:
        found["averaged"] = history.averaged
    return LinearHead(weight, bias), training | found


def _members(
    module: nn.Module,
    once: Callable[..., History],
    plan: Plan,
    count: int,
    budget: Budget,
    checkpoint: Path | None,
) -> tuple[History, list[dict[str, torch.Tensor]]]:
    """Train a network several times from one start; what happened in all, and the states at the ends.

    The first is trained as the plan says. Others are only begun where there is time for as much as one took, and are
    left out where it did not suffice, or where they diverged.
    """
    start = {name: value.detach().clone() for name, value in module.state_dict().items()}
    states: list[dict[str, torch.Tensor]] = []
    total, longest = History(), 0.0
    places = [None if checkpoint is None else checkpoint.with_suffix(f".{k}{checkpoint.suffix}") for k in range(count)]
    for number, place in enumerate(places):
        rest = None if budget.steps is None else budget.steps - total.steps
        if number and (budget.left() < longest or rest == 0):
            total.stopped = "budget"
            break
        module.load_state_dict(start)
        began = time.monotonic()
        own = replace(plan, rate=plan.rate * RATES[number % len(RATES)], seed=plan.seed + STRIDE * number)
        try:
            history = once(plan=own, budget=replace(budget, steps=rest), checkpoint=place)
        except DivergedError:  # at a rate that others did not have
            if not number:
                raise
            continue
        longest = max(longest, time.monotonic() - began)
        total.losses += history.losses
        total.steps += history.steps
        total.stopped = history.stopped
        if not number:
            total.best_epoch = history.best_epoch
        if history.stopped != "budget" or not number:
            states.append({name: value.detach().clone() for name, value in module.state_dict().items()})
        if history.stopped == "budget":
            break
    for place in places:
        if place is not None:
            place.unlink(missing_ok=True)
    return total, states


def weights_of(head: nn.Linear) -> tuple[Any, Any]:
    """(C, D) and (C,) float32, copies."""
    return tuple(p.detach().cpu().numpy().astype(np.float32).copy() for p in (head.weight, head.bias))  # type: ignore[return-value]


def _logits(module: nn.Module, batches: Batches) -> Any:
    """(N, C) float32, in evaluation mode."""
    module.eval()
    with torch.inference_mode():
        return np.concatenate([module(x).float().cpu().numpy() for x, _ in batches.evaluation()])


def _mean_loss(module: nn.Module, held: Batches) -> Any:
    batches: list[Any] = []

    def evaluate() -> float:
        if not batches:  # few enough to keep: a stopping set is 15 % of a small target
            batches.extend(held.evaluation())
        total = sum(float(functional.cross_entropy(module(x), y, reduction="sum")) for x, y in batches)
        return total / len(held)

    return evaluate

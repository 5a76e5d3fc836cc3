"""One contract suite for each extension point: what every source, strategy and reader keeps, whoever wrote it.

Each suite is a list of named checks. It raises an AssertionError that names the member and the check that failed, and
returns how many checks it ran, so that a test can assert that none was skipped.

    from headstart.testing import check_source
    assert check_source(MySource()) > 0
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headstart import strategy as strategies
from headstart.budget import Budget
from headstart.errors import InputError
from headstart.predictor import Predictor, load
from headstart.source import Source, Tokens, architecture, weights
from headstart.source.scratch import NOTHING
from headstart.strategy import Adapt
from headstart.target.inputs import ArrayInputs, StringInputs, TextInputs, pictures_in
from headstart.target.raw import SIDES, Columns, Raw
from headstart.target.readers import Reader
from headstart.target.view import Examples, TrainView

Member = TypeVar("Member")


def check_all(suite: Callable[[Member], int], members: Iterable[Member], *, expected: int) -> int:
    """Run a suite over members.

    Args:
        suite: such as :func:`check_source`.
        members: what to run it on.
        expected: how many members there must be.

    Returns:
        How many checks were run in all.

    Raises:
        AssertionError: a check failed, a member was visited by no check, or their number is not the expected one.
    """
    counts = [suite(member) for member in members]
    assert len(counts) == expected, f"{len(counts)} members were visited, expected {expected}"
    assert all(counts), "a member was visited by no check"
    return sum(counts)


class _Suite:
    """Counts checks, and names the one that fails."""

    def __init__(self, member: str) -> None:
        self.member, self.done = member, 0

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise AssertionError(f"{self.member}: {name}: {error or type(error).__name__}") from error
        self.done += 1


# -- sources -----------------------------------------------------------------------------------------------------


def check_source(source: Source) -> int:
    """What every source keeps; see :class:`headstart.source.Source`.

    Raises:
        AssertionError: naming the source and the check.
    """
    card = source.card
    suite = _Suite(f"source {card.name!r}")
    with suite.check("its card is complete"):
        assert card.name, "no name"
        assert card.modality or card.preprocessing is None, "no modality"
        assert card.origin, "no origin"
        assert min(card.parameters, card.features, card.flops, card.bytes) >= 0, "a negative size"
        assert card.licence or not card.pretrained, "pretrained weights without a licence"
        json.dumps(card.preprocessing.to_json() if card.preprocessing else None)
    with suite.check("its revision is a text that stays the same"):
        assert source.revision(), "empty"
        assert source.revision() == source.revision(), "it changed"
    if card.preprocessing is None:
        with suite.check("a source without a network says so"):
            try:
                source.module()
            except TypeError:
                pass
            else:
                raise AssertionError("module() gave one")
        return suite.done
    _check_network(suite, source)
    return suite.done


def _check_network(suite: _Suite, source: Source) -> None:
    import torch

    card = source.card
    assert card.preprocessing is not None
    with suite.check("it has parameters and features, and says what a forward pass costs"):
        assert min(card.parameters, card.features, card.flops) > 0, "one of them is zero"
    with suite.check("module() leaves torch's random state alone"):
        before = torch.random.get_rng_state()
        first: Any = source.module(3)
        assert torch.equal(before, torch.random.get_rng_state()), "it drew random numbers"
    with suite.check("module() is fresh each time, and the same for the same seed"):
        second: Any = source.module(3)
        assert first is not second, "the same object twice"
        state = first.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in second.state_dict().items()), "other weights"
        with torch.no_grad():
            next(first.parameters()).add_(1.0)
        assert not torch.equal(next(first.parameters()), next(second.parameters())), "they share their weights"
    with suite.check("pretrained weights do not depend on the seed"):
        other: Any = source.module(4).state_dict()
        if card.pretrained:
            assert all(torch.equal(value, other[key]) for key, value in second.state_dict().items()), "they do"
    with suite.check("it has no classification head, and as many parameters as its card says"):
        found = sum(parameter.numel() for parameter in second.parameters())
        assert found == card.parameters, f"{found:,} parameters, the card says {card.parameters:,}"
    second.eval()
    with suite.check("it pools to as many features as its card says, finite and always the same"):
        generator = torch.Generator().manual_seed(0)
        if isinstance(card.preprocessing, Tokens):
            pictures = torch.randint(1, 1_000, (2, 12), generator=generator)
        else:
            size = card.preprocessing.size
            pictures = torch.randn(2, 3, size, size, generator=generator)
        with torch.inference_mode():
            pooled, again = (second.forward_head(second.forward_features(pictures), pre_logits=True) for _ in range(2))
        assert pooled.shape == (2, card.features), f"shape {tuple(pooled.shape)}, expected (2, {card.features})"
        assert second.num_features == card.features, f"num_features is {second.num_features}"
        assert torch.isfinite(pooled).all(), "not finite"
        assert torch.equal(pooled, again), "not the same twice"
        assert not torch.equal(pooled[0], pooled[1]), "two pictures, one vector"
    with suite.check("its head can be replaced"):
        second.reset_classifier(3)
        with torch.inference_mode():
            assert second.eval()(pictures).shape == (2, 3), "not three logits"
        assert sum(p.numel() for p in second.get_classifier().parameters()) > 0, "get_classifier has no weights"
        second.reset_classifier(0)
    with suite.check("its parameters can be grouped"):
        assert second.group_matcher(), "group_matcher() is empty"
    with suite.check("a saved model can be built again from the name of its architecture"):
        weights.load(architecture.build(card.architecture), second.state_dict(), card.name)


# -- strategies --------------------------------------------------------------------------------------------------


def check_adapt(strategy: Adapt, source: Source) -> int:
    """What every strategy keeps; see :class:`headstart.strategy.Adapt`.

    It is run several times on 24 small pictures, or 24 short texts: give it settings that are quick.

    Args:
        strategy: with hyper-parameters.
        source: one that it can serve.

    Raises:
        AssertionError: naming the strategy and the check.
    """
    import torch

    kind = type(strategy)
    suite = _Suite(f"strategy {strategy.name!r}")
    with suite.check("it is a frozen value that JSON can hold"):
        assert is_dataclass(strategy), "not a dataclass"
        assert kind.__dataclass_params__.frozen, "not frozen"
        document = json.loads(json.dumps(strategies.parameters(strategy)))
        assert kind(**document) == strategy, "it does not come back from JSON"
    with suite.check("it has a name, a side, and defaults"):
        assert strategy.name, "no name"
        assert strategy.side in ("transfer", "baseline"), f"side {strategy.side!r}"
        assert len(fields(kind())) == len(document), "no defaults"
    with suite.check("it serves the source, and says what it cannot serve"):
        assert not strategy.needs.lacking(source.card), strategy.needs.lacking(source.card)
        nothing, pretrained = strategy.needs.lacking(NOTHING), strategy.side == "transfer"
        assert bool(nothing) == (source.card != NOTHING), "it serves networks and no network alike"
        assert not pretrained or source.card.pretrained, "nothing can be transferred from this source"
    with suite.check("its grid holds different settings of its own kind"):
        grid = kind.grid(source.card)
        assert grid, "empty"
        assert all(type(setting) is kind for setting in grid), "another kind"
        assert len(set(map(repr, grid))) == len(grid), "a setting twice"
    with suite.check("it predicts its cost in seconds, and more examples never cost less"):
        few, many = (strategy.seconds(source.card, n, 2, 1e10) for n in (20, 20_000))
        assert 0 < few <= many, f"{few} s for 20 examples, {many} s for 20,000"
        assert math.isfinite(many), "infinite"
        assert 0 <= strategy.frozen(source.card) < math.inf, "less than nothing is frozen"
        learned = strategy.side == "baseline" and strategy.needs.network
        assert not learned or not strategy.frozen(source.card), "a baseline has no frozen network"

    view = _texts() if source.card.modality == "text" else _view()
    if strategy.needs.unlabelled:
        view = replace(view, unlabelled=view.examples.inputs)
    if strategy.needs.intermediate:
        view = replace(view, intermediate=(view.examples.inputs,))
    labels = view.examples.labels.copy()
    with tempfile.TemporaryDirectory() as folder:
        bench = strategies.Bench(store=Path(folder) / "features")

        def fit() -> Predictor:
            return strategy(source, view, budget=Budget(), seed=3, bench=bench)

        with suite.check("it leaves the random states of torch and numpy, and its view, alone"):
            state, legacy = torch.random.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002 - to compare it
            predictor = fit()
            assert torch.equal(state, torch.random.get_rng_state()), "it drew torch's random numbers"
            assert legacy == repr(np.random.get_state()), "it drew numpy's"  # noqa: NPY002
            assert (labels == view.examples.labels).all(), "it changed the labels"
        with suite.check("its predictor knows the view's classes and gives probabilities, and none to spare"):
            assert predictor.classes == view.classes, f"{predictor.classes}"
            probabilities = predictor.predict_proba(view.examples.inputs)
            assert probabilities.shape == (len(view), len(view.classes)), f"shape {probabilities.shape}"
            assert np.isfinite(probabilities).all(), "not finite"
            assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5), "they do not sum to one"
        if strategy.needs.labels:
            with suite.check("a class without examples is the least likely one"):
                assert probabilities.mean(axis=0).argmin() == 2, f"mean probabilities {probabilities.mean(axis=0)}"
        else:
            with suite.check("it needs no labels, so with others it predicts the same"):
                turned = replace(view, examples=replace(view.examples, labels=1 - labels))
                other = strategy(source, turned, budget=Budget(), seed=3, bench=bench)
                assert np.array_equal(probabilities, other.predict_proba(view.examples.inputs)), "it does not"
        with suite.check("the same seed gives the same predictor"):
            assert np.allclose(probabilities, fit().predict_proba(view.examples.inputs), atol=1e-5), "it does not"
        with suite.check("its predictor comes back identical from a folder"):
            predictor.save(Path(folder) / "model", check=view.examples.inputs)
            reloaded = load(Path(folder) / "model").predict_proba(view.examples.inputs)
            assert np.allclose(probabilities, reloaded, atol=1e-5), "it does not"
    return suite.done


def _view() -> TrainView:
    """24 pictures of 32 x 32 pixels, dark and light, that nobody can write to; of a third class there are none."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    pictures = np.clip(rng.normal(90 + 70 * y[:, None, None, None], 40, (24, 32, 32, 3)), 0, 255).astype(np.uint8)
    labels = y.astype(np.int64)
    pictures.flags.writeable = labels.flags.writeable = False
    return TrainView(Examples(ArrayInputs(pictures), labels), ("dark", "light", "none"), "accuracy")


def _texts() -> TrainView:
    """24 short texts, of weather and of trains; of a third class there are none."""
    words = (("rain", "sun", "wind", "cloud", "storm"), ("train", "platform", "ticket", "rail", "seat"))
    rng = np.random.default_rng(0)
    y = (np.arange(24) % 2).astype(np.int64)
    texts = [f"The {' '.join(rng.choice(words[label], 4))} of day {i}." for i, label in enumerate(y)]
    y.flags.writeable = False
    return TrainView(Examples(StringInputs(texts), y), ("weather", "trains", "none"), "accuracy")


# -- readers -----------------------------------------------------------------------------------------------------


def check_reader(reader: Reader, data: Any) -> int:
    """What every reader keeps; see :class:`headstart.target.Reader`.

    Args:
        reader: the reader.
        data: a small, sound example of what it reads.

    Raises:
        AssertionError: naming the reader and the check.
    """
    suite = _Suite(f"reader {reader.name!r}")
    with suite.check("it claims its own data and nothing else"):
        assert reader.name, "no name"
        assert reader.claims(data), "it does not claim its own data"
        foreign = [other for other in (None, 3, object(), {}, b"x") if reader.claims(other)]
        assert not foreign, f"it claims {foreign}"
    with suite.check("it reads as many labels, sides and groups as inputs"):
        raw = reader.read(data, Columns())
        n = len(raw.inputs)
        assert n > 0, "no inputs"
        assert raw.name, "no name"
        assert len(raw.labels) == n, f"{n} inputs, {len(raw.labels)} labels"
        assert all(label is None or (isinstance(label, str) and label) for label in raw.labels), (
            "a label that is no text"
        )
        for part, known in ((raw.sides, set(SIDES.values())), (raw.groups, None)):
            assert part is None or len(part) == n, "not one for each input"
            assert part is None or known is None or set(part) <= known, "an unknown side"
    with suite.check("its inputs have names, and are pictures, upright and in RGB, or texts"):
        names = [raw.inputs.name(i) for i in range(n)]
        assert len(set(names)) == n, "a name twice"
        assert all(name.encode("utf-8") for name in names), "an empty name"
        if isinstance(raw.inputs, TextInputs):
            assert raw.inputs.text(0), "an empty text"
        else:
            inputs = pictures_in(raw.inputs)
            picture = inputs.image(0)
            assert picture.mode == "RGB", f"mode {picture.mode}"
            small = inputs.preview(0, 4)
            assert min(small.size) >= min(4, *picture.size), "its preview is too small"
    with suite.check("its inputs are addressed by their content"):
        digests = [raw.inputs.digest(i) for i in range(n)]
        assert all(len(digest) == 64 for digest in digests), "not SHA-256"
        assert len(set(digests)) > 1, "all examples are the same"
    with suite.check("taking inputs keeps names, contents and order"):
        order = [n - 1, 0]
        taken = raw.inputs.take(order)
        assert [taken.name(i) for i in range(2)] == [names[i] for i in order], "other names"
        assert [taken.digest(i) for i in range(2)] == [digests[i] for i in order], "other contents"
        assert taken.take([1]).name(0) == names[0], "taking from what was taken"
    with suite.check("reading twice gives the same"):
        assert _contents(reader.read(data, Columns())) == _contents(raw), "it does not"
    with suite.check("a column that is not there is refused as the user's mistake"):
        try:
            reader.read(data, Columns(label="no such column"))
        except InputError:
            pass
        else:
            raise AssertionError("it was accepted")
    return suite.done


def _contents(raw: Raw) -> list[Any]:
    inputs = [(raw.inputs.name(i), raw.inputs.digest(i)) for i in range(len(raw.inputs))]
    sides, groups = (None if part is None else list(part) for part in (raw.sides, raw.groups))
    return [inputs, list(raw.labels), sides, groups]

"""Hyper-parameters that a user decides on the command line."""

import pytest

from headstart.errors import OptionError
from headstart.source import find
from headstart.strategy import STRATEGIES, asked
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.probe import Probe

pytestmark = pytest.mark.fast


def parameters(text: str) -> dict:
    [pinned] = asked([text])
    return dict(pinned.parameters)


def test_values_have_the_types_of_the_parameters():
    found = parameters("finetune(last=2, rate=none, trunk=.5, flip=false, penalty=l2sp,strength=0.1)")
    assert found == {"last": 2, "rate": None, "trunk": 0.5, "flip": False, "penalty": "l2sp", "strength": 0.1}
    assert type(found["trunk"]) is float
    assert parameters("finetune(penalty=none,last=none)") == {"penalty": "none", "last": None}
    assert parameters("probe") == parameters(" probe() ") == {}


def test_the_rest_of_the_grid_is_searched():
    card = find("efficientnet_lite0").card
    [plain, pinned, all_of_it] = asked(
        ["finetune", "finetune(last=1,penalty=bss)", "probe(head=ridge,C=none,layers=deep,weights=equal)"]
    )
    assert plain.grid(card) == Finetune.grid(card)
    grid = pinned.grid(card)
    assert len(set(grid)) == len(grid) > 1
    assert {(setting.last, setting.penalty) for setting in grid} == {(1, "bss")}
    assert {setting.flip for setting in grid} == {True, False}
    assert all_of_it.grid(card) == [Probe("ridge")]
    assert (pinned.name, pinned.side, pinned.needs) == ("finetune", "transfer", Finetune.needs)


def test_everything_wrong_is_said_at_once():
    texts = ["fintune", "finetune(lst=1, last=two, rate, penalty=l3, last=1)", "probe(C=1", "probe(C=1,C=2)"]
    with pytest.raises(OptionError) as caught:
        asked(texts)
    said = str(caught.value)
    for words in (
        "unknown strategy 'fintune' (did you mean 'finetune'?)",
        "unknown parameter of finetune 'lst' (did you mean 'last'?)",
        "finetune: last=two",
        "a valid integer",
        "'rate' in finetune(...)",
        "finetune: penalty=l3",
        "'cotuning'",
        "strategy 'probe(C=1'",
        "probe: C twice",
    ):
        assert words in said, words
    assert len(caught.value.problems) == 7


def test_every_parameter_of_every_strategy_can_be_decided():
    """Each default, written down and read again."""
    for name, kind in STRATEGIES.items():
        default = kind()
        values = vars(default)
        text = ",".join(f"{key}={value}" for key, value in values.items())
        assert parameters(f"{name}({text})") == values

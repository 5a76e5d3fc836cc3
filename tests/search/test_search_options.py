"""Which sources and strategies a run may try, by what the user named."""

import subprocess
import sys

import pytest

from headstart.errors import OptionError, SourceError
from headstart.search import Options

pytestmark = pytest.mark.fast

PLAIN = {("scratch", "majority"), ("scratch", "classical")}
NETWORKS = {("scratch:small_cnn", "scratch"), ("scratch:tf_efficientnet_lite0", "scratch")}


def baselines(*strategies, sources=()):
    return {s.family for s in Options(sources, strategies).settings() if s.side == "baseline"}


def transfer(*strategies):
    return {s.strategy.name for s in Options((), strategies).settings() if s.side == "transfer"}


def test_without_a_choice_everything_is_tried():
    assert transfer() == {"probe", "prototypes", "ensemble", "finetune", "zero-shot"}
    assert baselines() == PLAIN | NETWORKS
    assert Options().left_out() == ""


def test_beside_routes_that_train_no_network_baselines_that_do_are_left_out():
    assert transfer("probe") == {"probe"}
    assert baselines("probe") == PLAIN
    assert Options((), ("probe",)).left_out() == (
        "Baselines that train a network were not tried, because --strategy named only routes that train none; "
        "name scratch to try them."
    )


@pytest.mark.parametrize("strategies", [("finetune",), ("probe", "finetune")])
def test_a_route_that_trains_a_network_is_compared_with_baselines_that_do(strategies):
    assert transfer(*strategies) == set(strategies)
    assert baselines(*strategies) == PLAIN | NETWORKS
    assert Options((), strategies).left_out() == ""


def test_a_named_baseline_that_trains_a_network_is_tried():
    assert transfer("probe", "scratch") == {"probe"}
    assert baselines("probe", "scratch") == PLAIN | NETWORKS
    assert Options((), ("probe", "scratch")).left_out() == ""
    # So is one that is named by its source.
    assert ("scratch:tf_efficientnet_lite1", "scratch") in baselines(
        "probe", sources=("efficientnet_lite0", "scratch:tf_efficientnet_lite1")
    )


@pytest.mark.parametrize("named", ["classical", "majority"])
def test_named_baselines_leave_out_unnamed_ones_that_train_a_network(named):
    assert transfer(named) == {"probe", "prototypes", "ensemble", "finetune", "zero-shot"}
    assert baselines(named) == PLAIN
    assert Options((), (named,)).left_out() == (
        "Baselines that train a network were not tried, because --strategy named other baselines; "
        "name scratch to try them."
    )


def test_unknown_names_are_refused():
    with pytest.raises(OptionError, match="did you mean 'scratch'"):
        Options((), ("probe", "scrach")).settings()
    with pytest.raises(SourceError, match="unknown source"):
        Options(("nobody",), ("probe",)).settings()


def test_the_settings_of_a_quick_comparison_need_no_torch():
    code = """
import sys
from headstart.api import prepare
assert prepare("2m", (), ("probe",)).settings()
assert prepare("2m", ("efficientnet_lite0",), ("probe", "classical")).settings()
print(sorted({"torch", "timm", "torchvision"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_where_classes_have_no_names_in_words_nothing_goes_by_them():
    everything = Options().settings("image", wordless=("0", "1"))
    assert {s.strategy.name for s in everything if s.side == "transfer"} == {
        "probe",
        "prototypes",
        "ensemble",
        "finetune",
    }
    with pytest.raises(OptionError, match=r"without a name in words: 0, 1") as caught:
        Options((), ("zero-shot",)).settings("text", wordless=("0", "1"))
    assert "--describe" in str(caught.value)

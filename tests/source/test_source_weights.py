"""Strict loading: every key accounted for, and nothing is ever unpickled."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headstart.errors import SourceError, WeightsError
from headstart.source import weights

pytestmark = pytest.mark.fast


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def renamed(state):
    """The same tensors in the same order under other names."""
    return {f"layer{i}.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(state.items())}


def messages(info):
    return [problem.found for problem in info.value.problems]


def test_by_order_gives_back_the_same_tensors():
    donor, place = network(), network()
    state = weights.rename_by_order(renamed(donor.state_dict()), place, "toy")
    weights.load(place, state, "toy")
    assert all(torch.equal(a, b) for a, b in zip(donor.state_dict().values(), place.state_dict().values(), strict=True))


def test_by_order_refuses_swapped_tensors_of_one_shape():
    """Batch norm's running mean and variance have one shape; only their names tell them apart."""
    state = renamed(network().state_dict())
    keys = list(state)
    mean, var = keys.index("layer4.running_mean"), keys.index("layer5.running_var")
    keys[mean], keys[var] = keys[var], keys[mean]
    with pytest.raises(WeightsError) as info:
        weights.rename_by_order({key: state[key] for key in keys}, network(), "toy")
    assert messages(info) == ["toy: layer5.running_var (4,)", "toy: layer4.running_mean (4,)"]
    assert [p.expected for p in info.value.problems] == ["1.running_mean (4,)", "1.running_var (4,)"]


def test_by_order_refuses_another_shape():
    state = renamed(network().state_dict())
    state["layer0.weight"] = torch.zeros(3, 4)
    with pytest.raises(WeightsError) as info:
        weights.rename_by_order(state, network(), "toy")
    assert messages(info) == ["toy: layer0.weight (3, 4)"]


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_by_order_refuses_another_number(change):
    state = renamed(network().state_dict())
    if change == "missing":
        state.popitem()
    else:
        state["extra.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=f"{len(state)} tensors"):
        weights.rename_by_order(state, network(), "toy")


def test_load_names_everything_that_is_wrong_at_once():
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = dict(network().state_dict())
    del state["0.bias"], state["1.running_var"]
    state["2.weight"] = torch.zeros(5, 4)
    state["stray"] = torch.zeros(1)
    with pytest.raises(WeightsError) as info:
        weights.load(module, state, "toy")
    assert sorted(messages(info)) == [
        "toy: 2.weight has shape (5, 4)",
        "toy: no place for stray",
        "toy: no weights for 0.bias",
        "toy: no weights for 1.running_var",
    ]
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items()), "half loaded"


def test_load_leaves_out_only_what_is_named():
    module = network()
    state = {**module.state_dict(), "fc.weight": torch.zeros(2, 2), "fc2.weight": torch.zeros(1)}
    with pytest.raises(WeightsError) as info:
        weights.load(module, state, "toy", without=("fc",))
    assert messages(info) == ["toy: no place for fc2.weight"]


def test_a_long_list_is_cut_with_a_count():
    with pytest.raises(WeightsError) as info:
        weights.load(network(), {f"k{i}": torch.zeros(1) for i in range(40)}, "toy")
    assert len(info.value.problems) == 11
    assert messages(info)[-1] == f"and {len(network().state_dict()) + 40 - 10} more"


class Malice:
    """What unpickling it does: makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", ["torch", "plain"])
def test_a_malicious_checkpoint_is_refused_and_not_executed(tmp_path, protocol):
    mark, file = tmp_path / "executed", tmp_path / "weights.pth"
    payload = {"weight": torch.zeros(1), "extra": Malice(mark)}
    if protocol == "torch":
        torch.save(payload, file)
    else:
        file.write_bytes(pickle.dumps({"extra": Malice(mark)}))
    with pytest.raises(SourceError, match="holds tensors only"):
        weights.read(file)
    assert not mark.exists()
    # The proof that the payload is live: an unsafe loader executes it.
    (torch.load(file, weights_only=False) if protocol == "torch" else pickle.loads(file.read_bytes()))
    assert mark.exists()


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
def test_both_kinds_of_file_give_the_same(tmp_path, wrapped):
    state = dict(network().state_dict())
    torch.save({wrapped: state, "epoch": 3} if wrapped else state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        read = weights.read(tmp_path / name)
        assert sorted(read) == sorted(state)
        assert all(torch.equal(read[key], state[key]) for key in state)
        assert weights.digest(read) == weights.digest(state)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.safetensors", b"not a safetensors file", "cannot be read"),
        ("a.pth", b"", "cannot be read"),
        ("a.pth", None, "no weights at"),
    ],
)
def test_damaged_and_missing_files(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=words):
        weights.read(tmp_path / name)


def test_something_else_than_tensors_is_refused(tmp_path):
    torch.save({"lr": 0.1}, tmp_path / "a.pth")
    with pytest.raises(SourceError, match="does not hold a state dict"):
        weights.read(tmp_path / "a.pth")


def test_the_digest_sees_names_types_and_single_bits():
    state = {"a": torch.arange(4.0), "b": torch.tensor(3)}
    base = weights.digest(state)
    assert base == weights.digest({"b": torch.tensor(3), "a": torch.arange(4.0)})
    changed = state["a"].clone()
    changed[2] = torch.nextafter(changed[2], torch.tensor(9.0))
    others = [
        {**state, "a": changed},
        {"c": state["a"], "b": state["b"]},
        {**state, "a": state["a"].double()},
        {**state, "a": state["a"].reshape(2, 2)},
    ]
    assert len({base, *(weights.digest(other) for other in others)}) == 5

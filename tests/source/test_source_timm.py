"""Any timm model, from a file or from the hub's cache; names that nobody knows; scratch."""

import socket
from itertools import pairwise

import pytest
import timm
import torch
from safetensors.torch import save_file

from headstart.errors import SourceError, WeightsError
from headstart.source import cards, find

pytestmark = pytest.mark.fast

SMALL = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def donor():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return timm.create_model("test_resnet", pretrained=False).eval()


@pytest.fixture(params=["safetensors", "pth", "pth without head"])
def saved(request, donor, tmp_path):
    state = dict(donor.state_dict())
    if "without head" in request.param:
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    file = tmp_path / f"weights.{request.param.split()[0]}"
    (save_file if request.param == "safetensors" else torch.save)(state, file)
    return file


def test_a_file_of_weights(saved, donor):
    source = find(f"timm:{SMALL}@{saved}")
    module = source.module().eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = donor.forward_head(donor.forward_features(x), pre_logits=True)
        assert torch.equal(module.forward_head(module.forward_features(x), pre_logits=True), expected)
    card = source.card
    assert card.name == f"timm:{SMALL}@{saved}"
    assert card.pretrained
    assert card.features == expected.shape[1] == 96
    assert card.parameters == sum(p.numel() for p in module.parameters())
    assert card.bytes == saved.stat().st_size
    assert card.preprocessing.size == 160


def test_the_revision_is_that_of_the_weights_not_of_the_file(donor, tmp_path):
    state = dict(donor.state_dict())
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    state["conv1.0.weight"] = state["conv1.0.weight"] + 1e-6
    torch.save(state, tmp_path / "c.pth")
    a, b, c = (find(f"timm:{SMALL}@{tmp_path / n}").revision() for n in ("a.safetensors", "b.pth", "c.pth"))
    assert a == b != c


def test_a_file_of_another_model_is_refused_key_by_key(donor, tmp_path):
    save_file(dict(timm.create_model("test_efficientnet", pretrained=False).state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError) as info:
        find(f"timm:{SMALL}@{tmp_path / 'w.safetensors'}").module()
    text = str(info.value)
    assert "no weights for conv1.0.weight" in text
    assert "more" in text
    assert "check that the architecture is right" in text


def test_one_missing_tensor_is_named(donor, tmp_path):
    state = dict(donor.state_dict())
    del state["bn1.running_mean"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as info:
        find(f"timm:{SMALL}@{tmp_path / 'w.pth'}").module()
    assert [p.found for p in info.value.problems] == [
        f"timm:{SMALL}@{tmp_path / 'w.pth'}: no weights for bn1.running_mean"
    ]


def test_offline_says_what_to_do_and_asks_nobody(monkeypatch, tmp_path):
    from huggingface_hub import constants

    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise OSError("no network in tests")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    source = find(f"timm:{SMALL}")
    assert source.card.parameters > 0, "the card needs no weights"
    with pytest.raises(SourceError) as info:
        source.module()
    [problem] = info.value.problems
    assert "not in the hub's cache" in problem.found
    assert f"--source timm:{SMALL}@weights.safetensors" in problem.next
    assert "headstart sources" in problem.next
    assert asked == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("efficentnet_lite0", "efficientnet_lite0"),
        ("scrach", "scratch"),
        ("bundled:efficientnet_lite9", "bundled:efficientnet_lite"),
        ("timm:resnt18", "resnet18"),
        ("timm:test_resnet.r160_in1", SMALL),
        ("scratch:smallcnn", "small_cnn"),
        ("scratch:resnt18", "resnet18"),
        ("bundle:efficientnet_lite0", "bundled"),
    ],
)
def test_unknown_names_suggest_the_spelling(name, hint):
    with pytest.raises(SourceError) as info:
        cards([name])
    assert hint in str(info.value)
    assert len(str(info.value)) < 1500, "timm knows more than a thousand names; a message lists the near ones"


def test_all_unknown_names_are_said_at_once():
    with pytest.raises(SourceError) as info:
        cards(["efficientnet_lite0", "nonsense", "scratch", "scratch:also_nonsense"])
    assert len(info.value.problems) == 2


def test_an_absent_file_is_said_before_anything_is_built(tmp_path):
    with pytest.raises(SourceError, match="no file"):
        find(f"timm:{SMALL}@{tmp_path / 'absent.pth'}")


@pytest.mark.parametrize("architecture", ["small_cnn", "test_resnet"])
def test_scratch_is_seeded_and_leaves_the_global_state_alone(architecture):
    source = find(f"scratch:{architecture}")
    before = torch.random.get_rng_state()
    first, again, other = source.module(3), source.module(3), source.module(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert not source.card.pretrained
    assert source.card.parameters == sum(p.numel() for p in first.parameters())


def test_the_small_cnn_by_hand():
    card = find("scratch:small_cnn").card
    widths = [3, 24, 48, 96, 192]
    convolutions = sum(9 * a * b for a, b in pairwise(widths))
    assert card.parameters == convolutions + 2 * sum(widths[1:])
    assert card.features == 192
    sides = [32, 32, 16, 8]  # stride 2; then 3 x 3 at 32, pooled; at 16, pooled; at 8
    assert card.flops == 2 * 9 * sum(a * b * s * s for a, b, s in zip(widths, widths[1:], sides, strict=False))


def test_the_nothing_source_has_no_network():
    with pytest.raises(TypeError, match="scratch:small_cnn"):
        find("scratch").module()

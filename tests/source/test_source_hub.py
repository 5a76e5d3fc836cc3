"""Weights from a model hub. These tests need one; everything else about hub sources is tested with folders."""

import os

import pytest

from headstart.source import find

pytestmark = [
    pytest.mark.hub,
    pytest.mark.skipif(
        os.environ.get("HEADSTART_HUB") != "1", reason="needs a model hub: HEADSTART_HUB=1 says that there is one"
    ),
]


def test_a_small_timm_checkpoint_arrives_whole():
    source = find("timm:test_resnet.r160_in1k")
    module = source.module()
    assert source.card.pretrained
    assert sum(p.numel() for p in module.parameters()) == source.card.parameters
    assert source.revision() == find("timm:test_resnet.r160_in1k").revision()


def test_a_small_encoder_arrives_whole():
    source = find("hf:sentence-transformers/paraphrase-MiniLM-L3-v2")
    assert source.card.preprocessing.length == 128
    assert sum(p.numel() for p in source.module().parameters()) == source.card.parameters

"""Image-text models in folders, as transformers saves them: small ones with random weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.budget import Budget
from headstart.errors import SourceError
from headstart.features import body_of
from headstart.predictor import load
from headstart.predictor.heads import unit
from headstart.source import ReadingSource, find
from headstart.source.cuts import trace
from headstart.strategy import Bench
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.lora import Lora
from headstart.strategy.adapt.zero_shot import ZeroShot
from headstart.target.inputs import ArrayInputs, StringInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import check_source
from headstart.testing.encoders import WORDS, save_image_text

pytestmark = pytest.mark.fast

transformers = pytest.importorskip("transformers")

KINDS = ("clip", "siglip")
TEXTS = ["w5", "w7 w9 w11", " ".join(f"w{i}" for i in range(3, 17))]


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    """Kind, folder, and the model of transformers."""
    folder = tmp_path_factory.mktemp("models") / request.param
    return request.param, folder, save_image_text(folder, request.param)


def pictures(count, side=32):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def pixels(folder, images):
    """As transformers prepares them."""
    config = json.loads((folder / "config.json").read_text())["model_type"]
    kind = {"clip": transformers.CLIPImageProcessor, "siglip": transformers.SiglipImageProcessor}[config]
    processor = kind.from_pretrained(folder)
    return processor([Image.fromarray(image) for image in images], return_tensors="pt")["pixel_values"]


def in_one_space(found):
    """Of `get_image_features` and `get_text_features`, which have given arrays and outputs."""
    return (found if isinstance(found, torch.Tensor) else found.pooler_output).detach().numpy()


def text_vectors(kind, model, texts):
    """Through transformers alone."""
    rows = [[WORDS - 2, *(int(word[1:]) for word in text.split()), WORDS - 1] for text in texts]
    if kind == "siglip":  # which is trained on texts of one length
        rows = [row + [1] * (20 - len(row)) for row in rows]
    return np.concatenate([in_one_space(model.get_text_features(input_ids=torch.tensor([row]))) for row in rows])


def test_pictures_and_texts_are_where_transformers_puts_them(saved):
    kind, folder, model = saved
    source = find(f"hf:{folder}")
    images = pictures(5)
    found = body_of(source).compute(ArrayInputs(images), np.arange(5)).vectors
    expected = in_one_space(model.get_image_features(pixel_values=pixels(folder, images)))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    read = body_of(source.texts()).compute(StringInputs(TEXTS), np.arange(3)).vectors
    expected = text_vectors(kind, model, TEXTS)
    np.testing.assert_allclose(read, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 0.1, "the texts are told apart"


def test_it_keeps_the_contract_of_sources(saved):
    kind, folder, _ = saved
    source = find(f"hf:{folder}")
    assert isinstance(source, ReadingSource)
    assert check_source(source) >= 10
    card = source.card
    assert (card.modality, card.licence, card.attention, card.reads) == ("image", "mit", True, True)
    assert card.features == source.texts().card.features == {"clip": 24, "siglip": 32}[kind]
    assert card.preprocessing.squash is (kind == "siglip")
    assert card.preprocessing.mean == (0.5, 0.4, 0.3)
    assert source.revision() != source.texts().revision(), "their vectors are kept apart"


def test_it_can_be_cut_after_each_block(saved):
    source = find(f"hf:{saved[1]}")
    module = source.module().eval()
    traced = trace(module)
    assert "blocks.0" in traced.cuts
    assert [stage.name for stage in source.card.stages] == list(traced.cuts)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        pooled, value = traced.with_stages(("blocks.0",))(x)
        again = traced.after("blocks.0")(value)
        whole = module.forward_head(module.forward_features(x), pre_logits=True)
    torch.testing.assert_close(pooled, whole)
    torch.testing.assert_close(again, whole)


def target(count=12):
    labels = np.arange(count) % 3
    said = (("w5",), ("w7 w9", "w7"), ("w11 w12",))
    return TrainView(
        Examples(ArrayInputs(pictures(count)), labels), ("cat", "dog", "hen"), "accuracy", descriptions=said
    )


def test_names_alone_classify_as_the_model_itself_does(saved, tmp_path):
    kind, folder, model = saved
    source, view = find(f"hf:{folder}"), target()
    predictor = ZeroShot(centre=False)(source, view, budget=Budget(), seed=0, bench=Bench(store=tmp_path / "store"))
    vectors = body_of(source).compute(view.examples.inputs, np.arange(len(view))).vectors
    spoken = [unit(text_vectors(kind, model, said)) for said in view.descriptions]
    classes = unit(np.stack([rows.mean(axis=0) for rows in spoken]))
    pictured = in_one_space(model.get_image_features(pixel_values=pixels(folder, pictures(12))))
    expected = float(model.logit_scale.detach().exp()) * unit(pictured) @ classes.T
    np.testing.assert_allclose(predictor.head.logits(vectors), expected, atol=2e-3 * np.abs(expected).max())
    predictor.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(pictures(12)), predictor.predict_proba(pictures(12)), atol=1e-5)


@pytest.mark.parametrize("strategy", [Finetune(epochs=1, last=1), Lora(epochs=1)], ids=["finetune", "lora"])
def test_it_is_tuned_and_saved_as_any_other(saved, strategy, tmp_path):
    source, view = find(f"hf:{saved[1]}"), target()
    predictor = strategy(source, view, budget=Budget(), seed=0, bench=Bench(store=tmp_path / "store"))
    predictor.save(tmp_path / "model")
    expected = predictor.predict_proba(pictures(12))
    np.testing.assert_allclose(load(tmp_path / "model").predict_proba(pictures(12)), expected, atol=1e-4)


def test_all_that_is_wrong_with_its_pictures_is_told_at_once(tmp_path):
    save_image_text(tmp_path / "m", "clip")
    (tmp_path / "m" / "preprocessor_config.json").write_text(
        json.dumps({"resample": 4, "do_normalize": False, "size": {"shortest_edge": 48}})
    )
    with pytest.raises(SourceError) as caught:
        _ = find(f"hf:{tmp_path / 'm'}").card
    assert len(caught.value.problems) == 3
    assert "32, as its network wants" in str(caught.value)

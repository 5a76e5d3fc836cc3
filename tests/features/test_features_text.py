"""Texts to vectors: windows, batches, engines, n-grams; each against an independent computation."""

import json

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from headstart.features import TfidfBody, body_of, extract, restore
from headstart.features.text import STEP, TextBody, Words, batches, fit_words, longer, padded
from headstart.source import Tokens, find
from headstart.source.encoder import BertEncoder, TextCNN
from headstart.target.inputs import ArrayInputs, StringInputs
from headstart.testing.texts import ToyTextSource, kinds, planted_texts, word

pytestmark = pytest.mark.fast


def sentences(count, seed=0, most=12):
    rng = np.random.default_rng(seed)
    return [" ".join(word(int(w)) for w in rng.integers(0, 4000, rng.integers(1, most))) for _ in range(count)]


def toy_vectors(texts):
    """What the toy's vectors must be: the mean over its known words, whatever the windows."""
    table = ToyTextSource().module().words.weight.detach().numpy()
    numbers = {word(i): i + 2 for i in range(4000)}
    return np.stack([table[[numbers.get(w, 1) for w in text.split()]].mean(axis=0) for text in texts])


@pytest.mark.parametrize("compiled", [False, True])
def test_windows_are_averaged_by_their_tokens(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))  # where no other test has compiled it
    if not compiled:
        monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
    texts = [*sentences(70), *sentences(5, 1, most=90), "one-unknown"]
    body = TextBody.of_text(ToyTextSource())
    body.prepare(len(texts))
    assert type(body._engine).__name__ == ("CompiledEngine" if compiled else "_TorchTexts")
    found = body.compute(StringInputs(texts), np.arange(len(texts))).vectors
    np.testing.assert_allclose(found[:-1], toy_vectors(texts)[:-1], atol=1e-5)


def test_a_text_that_cannot_be_read_has_no_vector():
    found = TextBody.of_text(ToyTextSource()).compute(StringInputs(["ba", " ", "be"]), np.array([2, 1, 0]))
    assert found.unreadable == {1: "is empty"}
    assert np.isnan(found.vectors[1]).all()
    assert np.isfinite(found.vectors[[0, 2]]).all()
    with pytest.raises(TypeError, match="texts are needed"):
        TextBody.of_text(ToyTextSource()).compute(ArrayInputs(np.zeros((1, 4, 4), dtype=np.uint8)), np.arange(1))


def test_stages_come_in_the_same_pass_and_are_kept_apart(tmp_path):
    inputs = StringInputs(sentences(6))
    both = extract(body_of(ToyTextSource(), outputs=("words", "pooled")), inputs, store=tmp_path)
    np.testing.assert_allclose(both[:, :8], both[:, 8:], atol=1e-6)  # the toy's mixing changes nothing
    body = body_of(ToyTextSource())
    body.compute = None  # everything is in the store
    np.testing.assert_array_equal(extract(body, inputs, store=tmp_path), both[:, 8:])
    with pytest.raises(ValueError, match="values at every token are not kept"):
        body_of(ToyTextSource(), outputs=("words:map",))


def test_a_body_comes_back_from_its_documents():
    body = TextBody.of_text(ToyTextSource())
    again = restore(json.loads(json.dumps(body.spec())), body.tensors(), "", body.documents())
    inputs = StringInputs(sentences(9))
    mine, theirs = (one.compute(inputs, np.arange(9)).vectors for one in (body, again))
    np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(KeyError):
        restore(body.spec(), body.tensors())


def test_batches_hold_every_text_once_and_no_more_tokens_than_allowed():
    lengths = np.random.default_rng(0).integers(1, 200, 300).tolist()
    made = batches(lengths, 512)
    assert sorted(np.concatenate(made).tolist()) == list(range(300))
    for rows in made:
        width = -(-max(lengths[i] for i in rows) // STEP) * STEP
        assert len(rows) == 1 or len(rows) * width <= 512
    wide = padded([np.array([5, 6], dtype=np.int32), np.array([7], dtype=np.int32)], 256)
    assert wide.tolist() == [[5, 6, 0, 0, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0, 0, 0]]


def test_longer_texts_are_counted():
    texts = [" ".join([word(1)] * n) for n in (15, 16, 17, 40)]
    card, document = ToyTextSource.card, ToyTextSource().tokenizer()
    assert longer(card, document, StringInputs([*texts, ""])) == 2
    windows = Words(document, card.preprocessing).windows(texts)
    assert [[len(w) for w in one] for one in windows] == [[15], [16], [16, 1], [16, 16, 8]]
    cut = Words(document, Tokens(length=16, windows=False)).windows(texts)
    assert [[len(w) for w in one] for one in cut] == [[15], [16], [16], [16]]


def test_a_vocabulary_is_fitted_on_the_texts_alone():
    document = fit_words(["The cat, the CAT sat!", "a dog sat"], 100)
    assert set(json.loads(document)["model"]["vocab"]) == {"[PAD]", "[UNK]", "the", "cat", "sat"}
    words = Words(document, Tokens(length=9))
    (ids,) = words.windows(["The cat barked"])[0]
    assert ids[2] == 1
    assert len(set(ids.tolist())) == 3
    assert fit_words(["b b a a c c"] * 2, 4) == fit_words(["c a b c a b"] * 2, 4), "ties do not depend on the order"


@pytest.mark.parametrize("network", [BertEncoder(50, 16, 2, 4, 32, 64), TextCNN(50, 8, 6)])
def test_no_vector_depends_on_padding(network):
    network.eval()
    numbers = torch.randint(1, 50, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = network.forward_head(network.forward_features(numbers), pre_logits=True)
        wide = torch.nn.functional.pad(numbers, (0, 7))
        np.testing.assert_allclose(
            network.forward_head(network.forward_features(wide), pre_logits=True), plain, atol=1e-6
        )
    assert plain.shape == (3, network.num_features)


def test_the_encoder_computes_what_bert_computes():
    """Against the formulas, in numpy, for one layer with one head's worth of everything written out."""
    network = BertEncoder(20, 8, 1, 2, 12, 10).eval()
    numbers = torch.tensor([[3, 7, 5]])
    p = {name: value.detach().double().numpy() for name, value in network.named_parameters()}

    def norm(x, name):
        z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return z * p[f"{name}.weight"] + p[f"{name}.bias"]

    def dense(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    x = p["embeddings.word_embeddings.weight"][[3, 7, 5]] + p["embeddings.position_embeddings.weight"][:3]
    x = norm(x + p["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    layer = "encoder.layer.0"
    q, k, v = (dense(x, f"{layer}.attention.self.{n}").reshape(3, 2, 4) for n in ("query", "key", "value"))
    scores = np.exp(np.einsum("ihd,jhd->hij", q, k) / 2)
    mixed = np.einsum("hij,jhd->ihd", scores / scores.sum(-1, keepdims=True), v).reshape(3, 8)
    x = norm(x + dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
    inner = dense(x, f"{layer}.intermediate.dense")
    inner = torch.nn.functional.gelu(torch.tensor(inner)).numpy()
    x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    with torch.inference_mode():
        found = network.forward_head(network.forward_features(numbers), pre_logits=True)
    np.testing.assert_allclose(found[0], x.mean(0), atol=1e-5)


def test_ngrams_are_scikit_learns_and_come_back_exactly():
    raw = planted_texts(30, 0)
    texts = [raw.inputs.text(i) for i in range(30)]
    body, vectors = TfidfBody.fitted(("words",), texts)
    assert abs(vectors - body.matrix(texts)).max() == 0
    usual = TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[!?]", sublinear_tf=True, dtype=np.float32
    ).fit(texts)
    others = [*sentences(5), "never seen"]
    assert abs(body.matrix(others) - usual.transform(others)).max() == 0
    again = restore(json.loads(json.dumps(body.spec())), body.tensors(), "", body.documents())
    assert abs(again.matrix(others) - body.matrix(others)).max() == 0
    both, _ = TfidfBody.fitted(("words", "characters"), texts)
    assert both.matrix(others).shape == (6, both.width)
    assert both.compute(StringInputs(["ba", ""]), np.arange(2)).unreadable == {1: "is empty"}
    assert TfidfBody.fitted(("words",), ["...", ",,,"])[0].matrix(["a"]).shape == (1, 0)


def test_the_bundled_encoder_is_what_its_card_says(monkeypatch):
    from torch.utils.flop_counter import FlopCounterMode

    source = find("minilm_l6")
    card, module = source.card, source.module().eval()
    assert card.bytes == source.path().stat().st_size
    assert card.parameters == sum(p.numel() for p in module.parameters())
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module.forward_features(torch.ones(1, Tokens.TYPICAL, dtype=torch.long))
    assert card.flops == counter.get_total_flops()
    assert len(card.stages) == 6
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
    body = body_of(source)
    texts = ["A man is eating food.", "A man eats something.", "The stock market fell today."]
    vectors = body.compute(StringInputs(texts), np.arange(3)).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.7 > 0.2 > similarity[0, 2]


def test_the_planted_words_are_balanced():
    assert kinds().sum() == 2000
    assert len({word(i) for i in range(4000)}) == 4000

"""The word vectors of the bundled encoder as static embeddings."""

import numpy as np
import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from headstart.features import body_of
from headstart.source import BUNDLED, NAMED_ONLY, bundled_names, find
from headstart.target.inputs import StringInputs

pytestmark = pytest.mark.fast

NAME = "bundled:minilm_static"


@pytest.fixture(scope="module")
def table():
    with safe_open(find("minilm_l6").path(), "np") as file:
        return file.get_tensor("embeddings.word_embeddings.weight")


def test_a_text_is_the_mean_of_its_known_wordpieces(table):
    tokenizer = Tokenizer.from_str(find("minilm_l6").tokenizer())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    texts = ["Unbelievably good!", "a ☃ thaws", "☃", " ".join(["splendid"] * 700)]
    pieces = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    unknown = tokenizer.token_to_id("[UNK]")
    assert unknown in pieces[1]
    found = body_of(find("minilm_static")).compute(StringInputs(texts), np.arange(len(texts))).vectors
    for row, numbers in zip(found, pieces, strict=True):
        known = [number for number in numbers if number != unknown]
        mean = table[known].mean(0) if known else np.zeros(384)
        np.testing.assert_allclose(row, mean / max(np.linalg.norm(mean), 1e-12), atol=1e-5)


def test_its_card_says_what_it_is(table):
    source, encoder = find(NAME), find("minilm_l6")
    assert source.card.features == table.shape[1]
    assert source.card.bytes == table.nbytes
    assert source.card.parameters == table.size + table.shape[1], "a row for padding"
    assert source.card.licence == encoder.card.licence
    assert source.revision() != encoder.revision()


def test_it_is_tried_only_where_it_is_named():
    assert NAME in BUNDLED
    assert NAME in NAMED_ONLY
    assert bundled_names("text") == ("bundled:minilm_l6",)

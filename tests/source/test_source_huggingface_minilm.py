"""The bundled encoder is also a folder as the hub holds it: both ways to read it must agree."""

import numpy as np
import pytest

from headstart.budget import Budget
from headstart.features import body_of
from headstart.source import find
from headstart.strategy import Bench
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.lora import Lora
from headstart.target.inputs import StringInputs
from headstart.target.view import Examples, TrainView

pytestmark = pytest.mark.slow

GOOD, BAD = ("a joy to use", "works well", "I love it", "splendid"), ("broke at once", "a waste", "I hate it", "awful")
TEXTS = [f"{part} {end}" for part in (*GOOD, *BAD) for end in ("", "since May", "in the end", "as was said", "for us")]


def folder():
    return find("minilm_l6").path().parent


def test_the_folder_gives_the_vectors_of_the_bundled_source():
    theirs, mine = find(f"hf:{folder()}"), find("minilm_l6")
    assert theirs.card.parameters == mine.card.parameters
    assert theirs.card.preprocessing.length == mine.card.preprocessing.length
    assert theirs.card.preprocessing.normalise
    assert len(theirs.card.stages) == len(mine.card.stages)
    inputs = StringInputs([*TEXTS[:20], "a long one " * 400])
    outputs = [
        body_of(source, outputs=(source.card.stages[2].name, "pooled")).compute(inputs, np.arange(21)).vectors
        for source in (theirs, mine)
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=2e-5)


@pytest.mark.parametrize("strategy", [Finetune(epochs=2, last=2), Finetune(epochs=2, decay=0.9), Lora(epochs=2)])
def test_the_real_encoder_is_tuned_saved_and_comes_back(strategy, tmp_path):
    y = np.repeat([0, 1], 20)
    rows = np.random.default_rng(0).permutation(40)
    seen, held = rows[:30], rows[30:]
    view = TrainView(Examples(StringInputs([TEXTS[i] for i in seen]), y[seen]), ("good", "bad"), "accuracy")
    made = strategy(find("minilm_l6"), view, budget=Budget(), seed=0, bench=Bench(store=tmp_path / "store"))
    texts = StringInputs([TEXTS[i] for i in held])
    assert (made.predict_proba(texts).argmax(axis=1) == y[held]).mean() >= 0.9
    made.save(tmp_path / "model", check=texts)  # raises unless it comes back identical

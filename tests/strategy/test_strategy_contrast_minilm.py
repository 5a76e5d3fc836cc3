"""contrast with a real encoder: it learns a distinction that sentence similarity alone does not make, and is kept."""

import numpy as np
import pytest

from headstart.budget import Budget
from headstart.predictor import load
from headstart.source import find
from headstart.strategy import Bench
from headstart.strategy.adapt.contrast import Contrast
from headstart.target.inputs import StringInputs
from headstart.target.view import Examples, TrainView

pytestmark = pytest.mark.slow

THINGS = ("the phone", "this film", "our hotel", "the soup", "my bike", "the teacher", "that song", "the train")
UNSEEN = ("the printer", "this novel", "the garden", "my shoes", "the concert", "the bread")
ASKED = ("When does {} arrive?", "Who made {}?", "Is {} any good?")
SAID = ("{} arrives in the morning.", "Somebody made {} last year.", "{} is quite good.")


def sentences(things):
    pairs = [
        (form.format(thing), label) for thing in things for label, forms in enumerate((ASKED, SAID)) for form in forms
    ]
    return StringInputs([text for text, _ in pairs]), np.array([label for _, label in pairs], dtype=np.int64)


def test_questions_from_statements_whatever_they_are_about(tmp_path):
    texts, y = sentences(THINGS)
    held, truth = sentences(UNSEEN)
    view = TrainView(Examples(texts, y), ("asked", "said"), "accuracy")
    bench = Bench(store=tmp_path / "store")
    made = Contrast(steps=15)(find("minilm_l6"), view, budget=Budget(), seed=0, bench=bench)
    assert (made.predict_proba(held).argmax(1) == truth).mean() > 0.9
    vectors = made.body.compute(held, np.arange(len(held))).vectors
    cosines = vectors @ vectors.T
    same = truth[:, None] == truth
    assert cosines[same].mean() > cosines[~same].mean() + 0.3
    made.save(tmp_path / "model", check=held)
    again = load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(held), made.predict_proba(held), atol=1e-5)
    state, kept = made.body.module.state_dict(), again.body.tensors()
    assert all(np.array_equal(kept[name], tensor.numpy()) for name, tensor in state.items())

"""With how many threads a trial multiplies matrices."""

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from headstart import strategy as strategies
from headstart import trial
from headstart.budget import Budget
from headstart.strategy import Bench, Needs
from headstart.strategy.adapt.majority import Majority
from headstart.target.inputs import ArrayInputs
from headstart.target.view import Examples, TrainView

pytestmark = pytest.mark.fast


@pytest.fixture
def threads(monkeypatch, tmp_path):
    """The threads that a product has inside a trial on so many examples, by a strategy that trains networks or not."""
    seen = []

    def learn(*arguments, **options):
        seen.append({pool["num_threads"] for pool in ThreadpoolController().select(user_api="blas").info()})
        return Majority()(*arguments, **options)

    def counted(examples, gradients):
        learn.needs, learn.side = Needs(gradients=gradients), "baseline"
        monkeypatch.setattr(strategies, "make", lambda name, settings: learn)
        labels = np.arange(examples) % 2
        view = TrainView(Examples(ArrayInputs(np.zeros((examples, 2, 2, 3), np.uint8)), labels), ("a", "b"), "accuracy")
        spec = trial.Spec("given", "final", "scratch", "majority", {})
        with ThreadpoolController().limit(limits=2, user_api="blas"):
            done = trial.execute(spec, view, None, budget=Budget(), bench=Bench(store=tmp_path))
        assert done.result.status == "ok"
        return seen.pop()

    return counted


def test_products_of_a_small_trial_have_one_thread(threads):
    assert threads(trial.FEW, gradients=False) == {1}


def test_products_of_many_examples_and_those_of_networks_have_all(threads):
    assert threads(trial.FEW + 2, gradients=False) == {2}
    assert threads(trial.FEW, gradients=True) == {2}

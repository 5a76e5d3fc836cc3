"""Choosing fold by fold: by hand, and against what was planted."""

import numpy as np
import pytest

from headstart.search.choice import group, nested
from headstart.strategy import find

pytestmark = pytest.mark.fast


def test_each_fold_has_what_the_others_choose():
    lucky, steady = {0: 1.0, 1: 0.4, 2: 0.4}, {0: 0.5, 1: 0.5, 2: 0.5}
    assert nested([lucky]) == lucky
    # Without fold 0 the steady one is best; without another the lucky one.
    assert nested([lucky, steady]) == {0: 0.5, 1: 0.4, 2: 0.4}
    assert nested([steady, {0: 0.7, 1: 0.5, 2: 0.5}])[0] == pytest.approx(0.6)  # equals count by their mean


def test_the_best_of_many_equals_is_not_taken_for_better():
    """Thirty settings worth 0.8 on five folds of twenty: the best mean is too high, what is nested is not."""
    rng = np.random.default_rng(0)
    best, found = [], []
    for _ in range(300):
        scores = rng.binomial(20, 0.8, size=(30, 5)) / 20
        best.append(scores.mean(axis=1).max())
        found.append(np.mean(list(nested([dict(enumerate(row)) for row in scores]).values())))
    assert np.mean(best) > 0.87
    assert np.mean(found) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("scores", [[], [{0: 0.5}], [{0: 0.5, 1: 0.5}, {0: 0.5}]])
def test_other_folds_are_refused(scores):
    with pytest.raises(ValueError, match="same two folds or more"):
        nested(scores)


def test_what_trains_no_network_is_chosen_from_together():
    assert group(find("probe")) == group(find("prototypes")) == group(find("classical")) == ""
    assert group(find("finetune")) == "finetune"

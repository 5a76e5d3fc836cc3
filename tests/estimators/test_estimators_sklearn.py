"""TransferClassifier is a scikit-learn classifier: its own checks, and what people do with classifiers."""

import re
import warnings
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from headstart.errors import OptionError, SourceError, TargetError
from headstart.estimators import TransferClassifier

pytestmark = pytest.mark.fast

PIXELS = {"features": "pixels", "size": 8}


def classical(**parameters):
    return TransferClassifier("scratch", "classical", parameters=PIXELS | parameters)


def pictures(n=30, classes=3, seed=0):
    """One colour per class, with noise; labels 0, 1, 2, 0, ..."""
    y = np.arange(n) % classes
    X = np.random.default_rng(seed).integers(0, 120, (n, 12, 16, 3), dtype=np.uint8)
    X[np.arange(n), :, :, y] += 100
    return X, y


class Painted(TransferClassifier):
    """Rows of numbers as pictures: a strip of grey patches each, so that scikit-learn's checks have what to send."""

    def fit(self, X, y):
        return super().fit(self._paint(X, fit=True), y)

    def predict_proba(self, X):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return super().predict_proba(self._paint(X))

    def _paint(self, X, fit=False):
        from sklearn.utils.validation import validate_data

        X = validate_data(self, X, reset=fit, dtype=np.float64)
        grey = (255 / (1 + np.exp(-np.clip(X / 2, -50, 50)))).astype(np.uint8)
        return np.repeat(np.repeat(grey, 4, axis=1)[:, None, :, None], 3, axis=3)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = False
        tags.no_validation = False
        return tags


# What cannot hold, and why.
BASELINE = {
    "check_classifiers_train": "it predicts the most frequent class whatever it sees; accuracy is not its point"
}
FLOAT32 = {
    "check_methods_sample_order_invariance": (
        "predictions are float32 matrix products, whose last bits depend on the row; the check asks for 1e-9"
    ),
}


@pytest.mark.parametrize(
    ("model", "expected", "least"),
    [
        (Painted("scratch", "majority"), BASELINE, 50),
        (Painted("scratch", "classical", parameters=PIXELS), FLOAT32, 50),
    ],
    ids=["majority", "classical"],
)
def test_scikit_learn_s_own_checks(model, expected, least):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks provoke warnings on purpose
        results = check_estimator(model, on_skip=None, on_fail=None, expected_failed_checks=expected)
    counts = Counter(result["status"] for result in results)
    failed = [f"{r['check_name']}: {r['exception']!r}" for r in results if r["status"] == "failed"]
    assert not failed, "\n".join(failed)
    assert counts["passed"] >= least, counts
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    # At most: whether the last bits differ is up to the processor.
    assert {r["check_name"] for r in results if r["status"] == "xfail"} <= set(expected)


def test_float32_is_the_only_reason_for_the_exception():
    X, y = pictures(40)
    model, order = classical().fit(X, y), np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(model.predict_proba(X)[order], model.predict_proba(X[order]), atol=1e-5)


def test_clone_and_parameters():
    model = TransferClassifier("scratch", "classical", parameters=PIXELS, random_state=3, device="cpu")
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert set(model.get_params()) == {
        "source",
        "strategy",
        "parameters",
        "describe",
        "random_state",
        "device",
    }
    assert copy.set_params(strategy="majority", parameters=None) is copy
    assert (copy.strategy, model.strategy) == ("majority", "classical")
    X, y = pictures()
    assert not hasattr(clone(model.fit(X, y)), "predictor_")


@pytest.mark.parametrize("names", [["c", "a", "b"], [7, -1, 3], [True, False], ["ü", "10", "9"]])
def test_labels_of_any_kind_come_back_as_they_were(names):
    X, y = pictures(classes=len(names))
    labels = np.array(names)[y]
    model = classical().fit(X, labels)
    assert model.classes_.tolist() == sorted(names)
    predicted = model.predict(X)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels).all()
    assert model.score(X, labels) == 1.0
    p = model.predict_proba(X)
    assert (model.classes_[p.argmax(1)] == labels).all()
    assert model.fit(X, labels.tolist()).predict(X).tolist() == labels.tolist()


def test_paths_pictures_and_arrays_are_the_same(tmp_path):
    X, y = pictures(12)
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, pixels in zip(paths, X, strict=True):
        Image.fromarray(pixels).save(path)
    forms = [X, list(X), [Image.fromarray(x) for x in X], paths, [str(p) for p in paths], np.array(paths, dtype=str)]
    models = [classical().fit(form, y) for form in forms]
    expected = models[0].predict_proba(X)
    for model, form in zip(models, forms, strict=True):
        np.testing.assert_array_equal(model.predict_proba(form), expected)
        np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_not_fitted():
    X, _ = pictures(3)
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(classical(), method)(X)


def test_pipeline_cross_validation_and_grid_search():
    X, y = pictures(36)

    def cut(batch):
        return np.asarray(batch)[:, 2:-2]

    pipeline = make_pipeline(FunctionTransformer(cut), classical())
    assert pipeline.fit(X, y).score(X, y) == 1.0
    scores = cross_val_score(classical(), X, y, cv=3)
    assert scores.tolist() == [1.0, 1.0, 1.0]
    grid = {"strategy": ["classical"], "parameters": [PIXELS, PIXELS | {"machine": "ridge"}]}
    both = [grid, {"strategy": ["majority"], "parameters": [None]}]
    search = GridSearchCV(classical(), both, cv=3).fit(X, y)
    assert search.best_params_["strategy"] == "classical"
    majority = search.cv_results_["params"].index({"parameters": None, "strategy": "majority"})
    assert search.cv_results_["mean_test_score"][majority] == pytest.approx(1 / 3)
    assert (search.predict(X) == y).all()


def test_the_same_random_state_gives_the_same():
    X, y = pictures(16)
    parameters = {"epochs": 1, "size": 16, "batch": 8}

    def fitted(state):
        model = TransferClassifier("scratch:small_cnn", "scratch", parameters=parameters, random_state=state)
        return model.fit(X, y).predict_proba(X)

    first = fitted(1)
    np.testing.assert_array_equal(first, fitted(1))
    assert np.abs(first - fitted(2)).max() > 1e-4
    np.testing.assert_array_equal(fitted(None), fitted(0))


def test_what_it_learned_can_be_kept(tmp_path):
    import headstart

    X, y = pictures(15)
    model = classical().fit(X, np.array(["a", "b", "c"])[y])
    model.predictor_.save(tmp_path / "model")
    assert headstart.load(tmp_path / "model").predict(X) == model.predict(X).tolist()


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (TransferClassifier("efficentnet_lite0"), SourceError, "did you mean 'efficientnet_lite0'"),
        (TransferClassifier("scratch", "clasical"), OptionError, "did you mean 'classical'"),
        (TransferClassifier("scratch", "probe"), OptionError, "needs a network, and scratch has none"),
        (TransferClassifier("efficientnet_lite0", "majority"), OptionError, "uses no network"),
        (classical(sise=8), OptionError, "some of: features, size, machine, C"),
    ],
)
def test_wrong_settings_are_said_at_fit(model, error, words):
    X, y = pictures(6)
    with pytest.raises(error, match=re.escape(words)):
        model.fit(X, y)


def test_wrong_data_are_said_at_fit(tmp_path):
    X, y = pictures(6)
    with pytest.raises(ValueError, match="6 pictures in X but 5 labels in y"):
        classical().fit(X, y[:5])
    with pytest.raises(ValueError, match="two classes or more; y holds 1 class"):
        classical().fit(X, np.zeros(6, dtype=int))
    with pytest.raises(ValueError, match="continuous"):
        classical().fit(X, np.linspace(0, 1, 6))
    with pytest.raises(TargetError, match="mixed"):
        classical().fit([X[0], "a.png"], [0, 1])
    model = classical().fit(X, y)
    with pytest.raises(TargetError, match="does not exist"):
        model.predict([tmp_path / "absent.png"])

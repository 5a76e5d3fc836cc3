"""A saved predictor comes back identical, or it is not saved; a damaged one says so."""

import json
import os
import pickle
import pickletools
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.errors import PredictorError, RunError, TargetError, WeightsError
from headstart.features import EmptyBody, HandcraftedBody, NetworkBody
from headstart.predictor import ConstantHead, KernelHead, LinearHead, Predictor, load
from headstart.predictor import predictor as module
from headstart.predictor.predictor import DESCRIPTION, WEIGHTS
from headstart.source import architecture
from headstart.source.card import Preprocessing
from headstart.target.inputs import ArrayInputs

pytestmark = pytest.mark.fast

CLASSES = ("ant", "bee", "Wespe ñ")
NETWORK = Preprocessing(size=16, squash=True, interpolation="bilinear", mean=(0.4, 0.5, 0.6))


def small_network():
    network = architecture.build("small_cnn", 3)
    with torch.no_grad():  # running statistics that are not the initial ones
        for child in network.modules():
            if isinstance(child, torch.nn.BatchNorm2d):
                child.running_mean += 0.1
                child.running_var *= 1.3
    return NetworkBody(network, "small_cnn", NETWORK, 192)


BODIES = {
    "empty": EmptyBody,
    "pixels": lambda: HandcraftedBody("pixels", 8),
    "hog": lambda: HandcraftedBody("hog", 16),
    "network": small_network,
}


def head(kind, width):
    rng = np.random.default_rng(1)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    if kind == "constant":
        return ConstantHead(draw(3))
    if kind == "linear":
        return LinearHead(draw(3, width) / max(1, width) ** 0.5, draw(3))
    gamma = np.array(1 / max(1, width), dtype=np.float32)
    return KernelHead(draw(9, width), draw(9, 3), draw(3), gamma, draw(width), 1 + draw(width) ** 2)


def pictures(n=7, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 20, 30, 3), dtype=np.uint8)


def predictor(body="network", kind="linear", **more):
    made = BODIES[body]()
    return Predictor(CLASSES, made, head(kind, made.width), **more)


@pytest.mark.parametrize("kind", ["constant", "linear", "kernel"])
@pytest.mark.parametrize("body", BODIES)
def test_it_comes_back_identical(body, kind, tmp_path):
    mine = predictor(body, kind, temperature=1.7, provenance={"source": "x", "nested": {"a": [1, 2.5, None]}})
    mine.save(tmp_path / "model", check=ArrayInputs(pictures(3, seed=5)))
    theirs = load(tmp_path / "model")
    np.testing.assert_array_equal(mine.predict_proba(pictures()), theirs.predict_proba(pictures()))
    assert theirs.classes == CLASSES
    assert theirs.temperature == 1.7
    assert theirs.provenance == mine.provenance
    assert theirs.body.spec() == mine.body.spec()
    assert {k: v.dtype for k, v in theirs.head.arrays().items()} == {k: v.dtype for k, v in mine.head.arrays().items()}
    # And once more from the copy.
    theirs.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "model" / WEIGHTS).read_bytes()


def test_a_run_folder_is_as_good_as_its_model(tmp_path):
    mine = predictor("pixels")
    mine.save(tmp_path / "run" / "model")
    assert load(tmp_path / "run").predict(pictures()) == mine.predict(pictures())
    assert load(str(tmp_path / "run")).classes == CLASSES


def test_there_is_no_pickle_in_the_folder(tmp_path):
    predictor().save(tmp_path / "model")
    files = sorted(path.name for path in (tmp_path / "model").rglob("*"))
    assert files == sorted([WEIGHTS, DESCRIPTION])
    for name in files:
        data = (tmp_path / "model" / name).read_bytes()
        assert not zipfile.is_zipfile(tmp_path / "model" / name), "torch.save writes zip files of pickles"
        with pytest.raises((ValueError, pickle.UnpicklingError)):
            list(pickletools.genops(data))
    json.loads((tmp_path / "model" / DESCRIPTION).read_text(encoding="utf-8"))


@pytest.mark.parametrize("place", [-1, -200, 300])
def test_one_flipped_bit_in_the_weights_is_noticed(tmp_path, place):
    predictor().save(tmp_path)
    data = bytearray((tmp_path / WEIGHTS).read_bytes())
    data[place] ^= 1
    (tmp_path / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(PredictorError, match="damaged"):
        load(tmp_path)


def edit(folder, **changes):
    document = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    for key, value in changes.items():
        if value is None:
            del document[key]
        else:
            document[key] = value
    (folder / DESCRIPTION).write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / WEIGHTS).unlink(), "damaged"),
        (lambda f: (f / WEIGHTS).write_bytes(b""), "damaged"),
        (lambda f: (f / DESCRIPTION).write_text("{"), "damaged"),
        (lambda f: (f / DESCRIPTION).write_bytes(b"\xff\xfe\x00"), "damaged"),
        (lambda f: (f / DESCRIPTION).write_text("[]"), "damaged"),
        (lambda f: edit(f, weights=None), "damaged"),
        (lambda f: edit(f, classes=None), "damaged"),
        (lambda f: edit(f, body=None), "damaged"),
        (lambda f: edit(f, temperature=None), "damaged"),
        (lambda f: edit(f, head={"kind": "oracle"}), "damaged"),
        (lambda f: edit(f, body={"kind": "oracle"}), "damaged"),
        (lambda f: edit(f, format=99), "format 99; this headstart reads format 1"),
    ],
)
def test_damage_and_newer_formats_are_predictor_errors(tmp_path, harm, words):
    predictor().save(tmp_path / "m")
    harm(tmp_path / "m")
    with pytest.raises(PredictorError, match=words):
        load(tmp_path / "m")


def test_weights_of_another_network_are_refused(tmp_path):
    predictor("network").save(tmp_path)
    document = json.loads((tmp_path / DESCRIPTION).read_text(encoding="utf-8"))
    edit(tmp_path, body=document["body"] | {"architecture": "test_resnet"})
    # A network is built when something must be computed by it, so that a compiled one needs no torch.
    with pytest.raises(WeightsError, match=r"no weights for conv1\.0\.weight"):
        load(tmp_path).predict(pictures())


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("a file")])
def test_a_foreign_folder_says_what_was_expected(tmp_path, make):
    make(tmp_path / "place")
    with pytest.raises(RunError, match="no predictor in") as info:
        load(tmp_path / "place")
    assert info.value.exit_code == 2
    assert DESCRIPTION in info.value.problems[0].expected
    assert "headstart fit" in info.value.problems[0].next


def other_weights(head):
    return type(head)(**{key: value * np.float32(1.01) for key, value in head.arrays().items()})


def other_predictions(head):
    """The same weights in a head that makes something else of them."""

    class Wrong(type(head)):
        def logits(self, vectors):
            return 1.01 * super().logits(vectors)

    return Wrong(**head.arrays())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(other_weights, "reloaded weights differ"), (other_predictions, "differs from the one in memory by up to")],
)
def test_a_save_that_does_not_come_back_identical_fails_and_leaves_the_old(tmp_path, monkeypatch, spoil, words):
    old = predictor("pixels")
    old.save(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    real = module.restore_head
    monkeypatch.setattr(module, "restore_head", lambda kind, arrays: spoil(real(kind, arrays)))
    with pytest.raises(PredictorError, match=words):
        predictor("pixels", temperature=0.5).save(tmp_path / "model")
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"], "something half-written was left behind"


def test_what_it_is_made_of_is_compared_even_where_nothing_is_predicted(tmp_path, monkeypatch):
    real = module.restore_head
    monkeypatch.setattr(module.Predictor, "_forward", lambda *_: pytest.fail("it predicted"))
    predictor("pixels").save(tmp_path / "model", predicting=False)
    monkeypatch.setattr(module, "restore_head", lambda kind, arrays: other_weights(real(kind, arrays)))
    with pytest.raises(PredictorError, match="reloaded weights differ"):
        predictor("pixels").save(tmp_path / "model", predicting=False)


def test_a_difference_only_real_pictures_show_is_found_by_check(tmp_path, monkeypatch):
    class Blind(HandcraftedBody):
        """Sees the last picture's brightness only where it is dark, as noise never is."""

        def _start(self, pixels, rows, vectors):
            super()._start(pixels, rows, vectors)
            if pixels.mean() <= 60:
                vectors[list(rows)] += 1

    mine = Predictor(CLASSES, Blind("pixels", 8), head("linear", 192))
    mine.save(tmp_path / "unchecked")
    dark = ArrayInputs(np.zeros((2, 9, 9, 3), dtype=np.uint8))
    with pytest.raises(PredictorError, match="was not saved"):
        mine.save(tmp_path / "checked", check=dark)
    assert not (tmp_path / "checked").exists()


def test_a_disk_that_fills_leaves_the_old_model(tmp_path, monkeypatch):
    predictor("pixels").save(tmp_path / "model")
    before = (tmp_path / "model" / WEIGHTS).read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.files, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        predictor("pixels", "constant").save(tmp_path / "model")
    assert (tmp_path / "model" / WEIGHTS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("temperature", [0.2, 5.0])
def test_temperature_changes_probabilities_and_never_labels(temperature):
    x = pictures(60)
    plain, scaled = predictor("pixels"), predictor("pixels", temperature=temperature)
    for made in (plain, scaled):  # centred, so that no class wins everywhere
        vectors = made.body.compute(ArrayInputs(x), np.arange(60)).vectors
        made.head.weight *= 5
        made.head.bias -= made.head.logits(vectors).mean(axis=0)
    p, q = plain.predict_proba(x), scaled.predict_proba(x)
    assert plain.predict(x) == scaled.predict(x)
    assert len(set(plain.predict(x))) > 1, "one label for everything would prove nothing"
    by_hand = p.astype(float) ** (1 / temperature)
    np.testing.assert_allclose(q, by_hand / by_hand.sum(1, keepdims=True), atol=1e-5)
    assert (q.max(1) > p.max(1)).all() == (temperature < 1)


@pytest.fixture
def mixed(tmp_path):
    """Good, text, good, missing, empty, good."""
    names = ["a.png", "notes.jpg", "b.png", "missing.png", "empty.png", "c.png"]
    for seed, name in enumerate(names):
        if name in ("a.png", "b.png", "c.png"):
            Image.fromarray(pictures(1, seed)[0]).save(tmp_path / name)
    (tmp_path / "notes.jpg").write_text("no picture at all\n")
    (tmp_path / "empty.png").write_bytes(b"")
    return [tmp_path / name for name in names]


def test_rows_say_why_there_is_no_prediction(mixed):
    made = predictor("pixels")
    rows = made.rows(mixed, top=2)
    assert [row.name for row in rows] == [str(path) for path in mixed]
    assert [row.error for row in rows] == ["", "is text, not a picture", "", "does not exist", "is empty (0 bytes)", ""]
    good = [0, 2, 5]
    p = made.predict_proba([mixed[i] for i in good])
    for row, expected in zip([rows[i] for i in good], p, strict=True):
        order = np.argsort(-expected)
        assert row.label == CLASSES[order[0]] == row.top[0][0]
        assert row.probability == pytest.approx(float(expected.max()), abs=1e-6)
        assert [name for name, _ in row.top] == [CLASSES[i] for i in order[:2]]
    for i in (1, 3, 4):
        assert (rows[i].label, rows[i].top) == ("", ())
        assert np.isnan(rows[i].probability)


def test_predict_names_all_that_cannot_be_read(mixed):
    with pytest.raises(TargetError) as info:
        predictor("pixels").predict(mixed)
    assert [os.path.basename(p.found.split(":")[0]) for p in info.value.problems] == [
        "notes.jpg",
        "missing.png",
        "empty.png",
    ]


@pytest.mark.parametrize("body", BODIES)
def test_nothing_in_nothing_out(body):
    made = predictor(body)
    assert made.predict([]) == []
    assert made.rows([]) == []
    assert made.predict_proba([]).shape == (0, 3)


def test_one_path_is_one_picture(mixed):
    made = predictor("pixels")
    assert made.predict(mixed[0]) == made.predict([mixed[0]]) == made.predict(str(mixed[0]))


def test_pictures_in_any_form_give_the_same(mixed):
    made = predictor("pixels")
    image = Image.open(mixed[0])
    forms = [[mixed[0]], [image], [np.asarray(image)], np.asarray(image)[None]]
    for form in forms[1:]:
        np.testing.assert_array_equal(made.predict_proba(form), made.predict_proba(forms[0]))


def test_the_kernel_head_by_hand(monkeypatch):
    made = head("kernel", 4)
    X = np.random.default_rng(3).normal(size=(11, 4)).astype(np.float32)
    Z = (X - made.mean) / made.scale
    squared = ((Z[:, None] - made.support[None]) ** 2).sum(-1)
    expected = np.exp(-float(made.gamma) * squared) @ made.coefficients + made.bias
    np.testing.assert_allclose(made.logits(X), expected, atol=1e-5)
    monkeypatch.setattr("headstart.predictor.heads._BLOCK", 4)
    np.testing.assert_allclose(made.logits(X), expected, atol=1e-5)


def test_probabilities_of_huge_logits_are_still_probabilities():
    made = Predictor(CLASSES, EmptyBody(), ConstantHead(np.array([1e4, -1e4, 0], dtype=np.float32)), temperature=0.05)
    np.testing.assert_array_equal(made.predict_proba(pictures(1)), [[1, 0, 0]])

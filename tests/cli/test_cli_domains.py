"""`headstart shift` and `headstart adapt`: answers on stdout, mistakes told all at once, exit codes."""

import json

import pytest
from PIL import Image

from headstart.testing import null

pytestmark = pytest.mark.fast

FEW = ("--strategy", "joint,coral", "--source", "toy:pixels")


def folder(root, n, seed, *, labelled=True, brighter=0):
    """A domain of pictures: class folders, or files without labels."""
    planted = null(n, 0, seed)
    for i, (picture, label) in enumerate(zip(planted.pictures, planted.labels, strict=True)):
        path = root / (label if labelled else "") / f"{seed}-{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = picture.astype(int) + brighter
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(path)
    return root


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Labelled pictures, brighter ones with labels, and brighter ones without."""
    root = tmp_path_factory.mktemp("domains")
    return (
        folder(root / "dark", 50, 1),
        folder(root / "bright", 60, 2, brighter=60),
        folder(root / "bare", 40, 3, labelled=False, brighter=60),
    )


def test_shift_in_lines_and_as_a_page(headstart, domains, tmp_path):
    page = tmp_path / "moved.html"
    said = headstart("shift", domains[0], domains[2], "--source", "toy:pixels", "--out", page)
    assert said.code == 0, said.err
    assert said.out.startswith("  domains   50 of dark and 40 of bare; 50 and 40 tested, features of toy:pixels\n")
    assert "  setting   transductive: labels are in dark alone" in said.out
    assert "  found     P(X) moved: a classifier tells the domains apart" in said.out
    assert "concept shift, cannot be claimed: no labels in the target" in said.out
    assert "features" not in said.err.splitlines()[-1:]
    text = page.read_text(encoding="utf-8")
    assert "What moved" in text
    assert text.count("data:image") == 24


def test_shift_as_json(headstart, domains):
    said = headstart("shift", domains[0], domains[1], "--source", "toy:pixels", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["labelled"] == [50, 60]
    assert found["inputs"]["p_value"] < 0.01


def test_shift_refuses_everything_at_once(headstart, domains, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for i in range(3):
        (texts / f"{i}.txt").write_text(f"a text, number {i}", encoding="utf-8")
    said = headstart("shift", domains[0], texts, "--source", "toy:pixels")
    assert (said.code, said.out) == (2, "")
    assert "texts has 3 examples" in said.err
    assert "dark is image and texts is text" in said.err


def test_adapt_without_target_labels_is_not_proven(headstart, domains, tmp_path):
    out = tmp_path / "run"
    said = headstart("adapt", domains[0], domains[2], "--out", out, "--source", "toy:pixels", "--strategy", "coral")
    assert said.code == 0, said.err
    assert "labels of the target: there are none" in said.out
    assert "verdict" not in said.out
    assert "  shipped   " in said.out
    assert not (out / "report.html").exists()
    page = (out / "adaptation.html").read_text(encoding="utf-8")
    assert "This is not proven" in page
    assert "<script" not in page
    assert json.loads((out / "adaptation.json").read_text("utf-8"))["target_labels"] == "none"
    assert headstart("predict", out, domains[2]).code == 0


def test_adapt_with_a_few_target_labels_says_so(headstart, domains, tmp_path):
    arguments = ("adapt", *domains[:2], "--target-labels", 2, "--out", tmp_path / "run", *FEW)
    said = headstart(*arguments)
    assert said.code == 0, said.err
    assert "labels of the target: 4 learned from, 56 sealed, for the test alone" in said.out
    assert ", given 4 labels of the target  adaptation " in said.out
    assert "  note      4 labels of the target were given to learn from" in said.out
    assert "labels of each target class" in said.out
    assert "target labels" in said.out
    said = headstart(*arguments, "--json")  # resumed: everything is in the ledger
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["choice"]["learned"] == 4
    assert found["evidence"]["adaptation"]["used"] == "4 learned from, 56 sealed, for the test alone"
    said = headstart("adapt", *domains[:2], "--target-labels", 3, "--out", tmp_path / "run", *FEW)
    assert said.code != 0
    assert "holds another run" in said.err


def test_adapt_from_several_sources(headstart, domains, tmp_path):
    more = folder(tmp_path / "more", 40, 5)
    out = tmp_path / "run"
    said = headstart(
        "adapt", domains[0], more, domains[2], "--out", out, "--source", "toy:pixels", "--strategy", "weigh"
    )
    assert said.code == 0, said.err
    assert "  domains   dark + more (90 labelled) to bare" in said.out
    assert "wanted by" in said.out
    assert "weigh" in said.out
    assert "The source domains" in (out / "adaptation.html").read_text(encoding="utf-8")


def test_adapt_over_domains_in_between(headstart, domains, tmp_path):
    nearer, near = (folder(tmp_path / name, 30, seed, brighter=by) for name, seed, by in (("a", 6, 20), ("b", 7, 40)))
    out = tmp_path / "run"
    options = ("--source", "toy:pixels", "--strategy", "gradual", "--intermediate", nearer, "--intermediate", near)
    said = headstart("adapt", domains[0], domains[2], *options, "--out", out)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert [line[:23] for line in lines if "between" in line] == ["  between   a (30 examp", "  between   b (30 examp"]
    assert " learned from by gradual" in lines[1]
    assert list(json.loads((out / "adaptation.json").read_text("utf-8"))["intermediate"]) == ["a", "b"]
    assert "In between" in (out / "adaptation.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target-labels", "some"), "how many of each class, or all"),
        (("--target-labels", "0"), "'0' target labels"),
        (("--strategy", "corral"), "did you mean 'coral'"),
        (("--strategy", "joint"), "joint needs labelled target examples (--target-labels)"),
        (("--strategy", "weigh"), "weigh needs several source domains"),
    ],
)
def test_mistakes_are_said_before_the_data_is_read(headstart, tmp_path, arguments, words):
    said = headstart("adapt", tmp_path / "absent", tmp_path / "nowhere", "--source", "toy:pixels", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert not (tmp_path / "runs").exists()


def test_what_is_wrong_with_the_domains_is_said_at_once(headstart, domains, tmp_path):
    few = folder(tmp_path / "few", 8, 4)
    said = headstart("adapt", domains[2], few, "--target-labels", 9, "--out", tmp_path / "run", *FEW)
    assert (said.code, said.out) == (2, "")
    for words in ("bare has labels of 0 classes", "few has 8 examples"):
        assert words in said.err
    said = headstart("adapt", domains[0])
    assert said.code == 2
    assert "a labelled domain and a target" in said.err

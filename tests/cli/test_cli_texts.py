"""The whole job on texts through the command line, as on pictures."""

import csv
import io
import json

import pytest

from headstart.api import load, open_run
from headstart.estimators import TransferClassifier
from headstart.testing.texts import planted_texts

fast = pytest.mark.fast

QUICK = ("--source", "toy_text:words", "--strategy", "probe", "--trials", "4")


@pytest.fixture
def table(tmp_path):
    raw = planted_texts(60, 120)
    path = tmp_path / "words.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sentence", "kind", "split"])
        for i, (label, side) in enumerate(zip(raw.labels, raw.sides, strict=True)):
            writer.writerow([raw.inputs.text(i), label, side])
    return path


@pytest.fixture
def fitted(headstart, table, tmp_path):
    said = headstart("fit", table, "--label", "kind", "--out", tmp_path / "run", *QUICK)
    assert said.code == 0, said.err
    return tmp_path / "run", said


@fast
def test_the_whole_job(fitted, headstart, table, tmp_path, monkeypatch):
    folder, said = fitted
    assert "verdict   HELPED" in said.out
    assert "  target    180 texts · 2 classes · 60 train / 120 test (given split)" in said.err
    evidence = open_run(folder).evidence
    assert evidence.target.modality == "text"
    assert evidence.transfer.score > 0.95
    assert evidence.baseline.score < 0.85

    texts = [planted_texts(60, 120).inputs.text(i) for i in range(60, 64)]
    expected = planted_texts(60, 120).labels[60:64]
    assert load(folder).predict(texts) == list(expected)

    def predicted(*arguments):
        out = headstart("predict", folder, *arguments)
        assert out.code == 0, out.err
        return [(row["input"], row["label"]) for row in csv.DictReader(io.StringIO(out.out))]

    assert predicted(*texts) == list(zip(texts, expected, strict=True))
    from_table = predicted(table)
    assert len(from_table) == 180
    assert from_table[60] == (f"{table} row 61", expected[0])
    assert predicted(table, "--input", "sentence") == from_table
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join([*texts, ""]).encode() + b"\n")))
    lines = predicted("-")
    assert lines == [*((f"line {i + 1}", label) for i, label in enumerate(expected)), ("line 5", "")]
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.txt").write_text(text)
    assert predicted(tmp_path / "0.txt", tmp_path / "1.txt") == [
        (str(tmp_path / f"{i}.txt"), expected[i]) for i in range(2)
    ]
    missing = headstart("predict", folder, "abscent.csv")
    assert missing.code == 2
    assert "abscent.csv does not exist" in missing.err

    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What tells the classes apart" in page
    assert 'class="gallery texts"' in page
    assert "<img" not in page
    plain = (folder / "report.md").read_text(encoding="utf-8")
    assert "## What tells the classes apart" in plain
    before = page
    assert headstart("report", folder).code == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == before


@fast
def test_check(headstart, table):
    said = headstart("check", table, "--label", "kind")
    assert said.out.splitlines()[0] == "  target    180 texts · 2 classes · 60 train / 120 test (given split)"
    document = json.loads(headstart("check", table, "--label", "kind", "--json").out)
    assert document["counts"]["warm"] == {"train": 30, "validation": 0, "test": 60}


@fast
def test_sources_of_another_modality_are_refused(headstart, table, tmp_path):
    said = headstart("fit", table, "--label", "kind", "--out", tmp_path / "r", "--source", "efficientnet_lite0")
    assert said.code == 2
    assert "it takes image, and the target is text" in said.err


@pytest.mark.slow
def test_the_estimator_takes_texts():
    raw = planted_texts(60, 120)
    texts = [raw.inputs.text(i) for i in range(180)]
    model = TransferClassifier("toy_text:words").fit(texts[:60], raw.labels[:60])
    assert model.score(texts[60:], raw.labels[60:]) > 0.95
    baseline = TransferClassifier("scratch", "classical").fit(texts[:60], raw.labels[:60])
    assert baseline.score(texts[60:], raw.labels[60:]) < 0.85

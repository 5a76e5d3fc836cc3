"""The page and its Markdown twin say what the evidence says, load nothing, and survive hostile names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from headstart.judge.evidence import Evidence
from headstart.report import html, markdown, sentence, write
from headstart.report.page import (
    _FINDINGS,
    class_counts,
    comparisons,
    confused_pairs,
    context,
    findings,
    label_drawing,
    label_rows,
)
from headstart.target.hygiene import Hygiene

pytestmark = pytest.mark.fast

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Reads a page strictly: every element that opens must close, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.rows: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag, f"</{tag}> at {self.getpos()} closes another element"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in ("style", "title"):
            return
        self.words.append(data)
        if "tr" in self.stack:
            self.rows[-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace("\xa0", " ").split())


@pytest.fixture(params=["helped", "hurt", "undetermined", "bare"])
def evidence(request: pytest.FixtureRequest) -> Evidence:
    return request.getfixturevalue(request.param)


def read(evidence, showcase=None) -> Page:
    page = Page(html(evidence, showcase))
    assert not page.stack, f"never closed: {page.stack}"
    return page


def test_every_page_is_well_formed_and_loads_nothing(evidence, showcase):
    text = html(evidence, showcase)
    page = read(evidence, showcase)
    assert page.tags.count("h1") == 1
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "srcset", "href", "xlink:href", "poster", "data", "action"):
            assert (tag, name) == ("img", "src")
            assert value is not None
            assert value.startswith("data:image/")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "http:" not in text
    assert "https:" not in text


def test_ids_are_unique_and_every_reference_is_met(helped, showcase):
    attributes = read(helped, showcase).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 0
    for _, name, value in attributes:
        if name == "aria-labelledby":
            assert set(value.split()) <= set(ids)


def test_every_chart_has_a_name_or_is_hidden(helped, showcase):
    text = html(helped, showcase)
    charts = re.findall(r"<svg [^>]*(?:class=|viewBox=)[^>]*>(?:<title)?", text)
    assert len(charts) > 20
    for chart in charts:
        assert 'aria-hidden="true"' in chart or 'role="img"' in chart, chart


def test_helped_says_the_numbers(helped):
    expected = (
        "The best transfer route, probe on efficientnet_lite0, reached 95.4 % balanced accuracy; the best baseline, "
        "small_cnn from scratch, reached 66.0 %. That is a gain of +29.4 points (95 % interval +21.6 to +36.6), "
        "measured on 153 sealed test examples, with 5 seeds."
    )
    assert sentence(helped).replace("\xa0", " ") == expected
    page = read(helped)
    assert "Transfer helped: +29.4 points of balanced accuracy" in page.text
    assert expected in page.text
    assert "Shipped: probe on efficientnet_lite0 (the transfer route)." in page.text
    assert "partial" not in page.text


def test_hurt_says_negative_transfer_and_ships_the_baseline(hurt):
    page = read(hurt)
    assert "Transfer hurt: −20.1 points of accuracy" in page.text
    assert "(95 % interval −22.5 to −17.8)" in page.text
    assert "negative transfer" in page.text
    assert "Shipped: classical (the baseline)." in page.text
    assert "Transfer hurts 8 classes: 1, 2, 3, 4, 5, 7, 8, 9." in page.text
    assert "It is shown to help 1 of 10." in page.text


def test_undetermined_says_what_the_test_could_have_shown(undetermined):
    page = read(undetermined)
    assert "Undetermined: transfer was not shown to help, nor to hurt" in page.text
    assert "It could have shown a gain of 12.1 points or more (with 80 % power)." in page.text
    assert "about 1,200 test examples would settle it" in page.text
    assert "measured on 96 examples, each sealed in turn, with 1 seed." in page.text
    assert "This run is partial." in page.text


def test_every_route_stands_on_the_leaderboard(helped, hurt, undetermined):
    for evidence in (helped, hurt, undetermined):
        page = read(evidence)
        rows = [" ".join(row.replace("\xa0", " ").split()) for row in page.rows]
        for route in evidence.leaderboard:
            if route.score is None:
                assert f"{route.status}: {route.note}" in page.text
            else:
                score = f"{100 * route.score:.1f} %"
                assert any(route.strategy in row and score in row for row in rows), route


def test_validation_and_test_scores_are_told_apart(helped):
    rows = [" ".join(row.replace("\xa0", " ").split()) for row in read(helped).rows]
    (winner,) = [row for row in rows if "transfer, finalist, shipped" in row]
    assert "95.1 % 5 trials" in winner
    assert "95.4 %" in winner
    lite1 = next(row for row in rows if "efficientnet_lite1" in row)
    assert "94.7 % 5 trials" in lite1
    assert lite1.count("%") == 1


def test_what_the_scores_had_said(helped):
    assert "What the scores had said" not in read(helped).text
    said = {
        "examples": 244,
        "outcome": {"bundled:efficientnet_lite1": 0.5, "bundled:efficientnet_lite0": 0.75},
        "seconds": 0.3,
        "records": [
            {"name": "logme", "values": {}, "tau": -1.0, "first": "bundled:efficientnet_lite1", "lost": 0.25},
            {"name": "knn", "values": {}, "tau": None, "first": "bundled:efficientnet_lite0", "lost": 0.0},
        ],
    }
    evidence = type(helped).model_validate(helped.model_dump() | {"scores": said})
    page = read(evidence)
    text = " ".join(page.text.split())
    assert "efficientnet_lite0 75.0 %, efficientnet_lite1 50.0 %" in text.replace("\xa0", " ")
    rows = [" ".join(row.split()) for row in page.rows]
    assert any(re.fullmatch(r"logme ?efficientnet_lite1 ?25\.0 ?-1\.00", row) for row in rows)
    assert any(re.fullmatch(r"knn ?efficientnet_lite0 ?0\.0 ?–", row) for row in rows)
    assert "| logme | efficientnet\\_lite1 | 25.0 | -1.00 |" in markdown(evidence)


def test_the_finalist_is_the_row_with_its_parameters(helped):
    double = helped.leaderboard[3].model_copy(update={"parameters": {"head": "logistic"}, "score": 0.97})
    evidence = helped.model_copy(update={"leaderboard": [double, *helped.leaderboard]})
    rows = [row for row in read(evidence).rows if "transfer, finalist" in row]
    assert len(rows) == 1
    assert "head ridge" in rows[0]


def test_the_pictures_have_their_captions_and_their_credit(helped, showcase):
    page = read(helped, showcase)
    assert page.tags.count("img") == 8
    assert "ants baseline: bees transfer: right (93 %)" in page.text
    assert "bees transfer: ants (71 %) baseline: right" in page.text
    assert "Pictures by A. Nother & Co., CC BY-SA 4.0" in page.text


def test_hostile_names_stay_text(undetermined, showcase):
    text = html(undetermined, showcase)
    assert "<script" not in text
    assert "<b>Hunde" not in text
    page = read(undetermined, showcase)
    assert "<script>alert(1)</script>" in page.text
    assert "zwölf <b>Hunde</b>" in page.text
    for name in ("Schäferhund", "柴犬", "كلب", "🦊 fox", "{{ 7*7 }}", "&amp;"):
        assert name in page.text, name
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert any('"><script>.png' in alt for alt in alts)


def test_markdown_has_the_same_facts_and_no_markup_from_names(helped, undetermined):
    text = markdown(helped).replace("\xa0", " ")
    assert text.startswith("# Transfer helped: +29.4 points of balanced accuracy\n")
    assert (
        "| probe on efficientnet\\_lite0 (head ridge, alpha 10) | transfer | 95.1 % | 93.1 to 97.1 % | **95.4 %** |"
        in text
    )
    assert "    headstart fit photos/ --budget 2m --out runs/photos\n" in text
    nasty = markdown(undetermined)
    assert "<script>" not in nasty.replace("\\<script\\>", "")
    assert "a\\|b\\*c\\_d\\`e\\`" in nasty
    table = nasty[nasty.index("## All routes") :].split("\n\n")[2].splitlines()
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert len(table) == 2 + len(undetermined.leaderboard)
    assert widths == {10}


def test_what_is_absent_is_left_out(bare):
    page = read(bare)
    for title in ("Gain per class", "What the shipped model confuses", "What labels are worth", "What transfer fixed"):
        assert title not in page.text
    assert "No check of the data was recorded with this run." in page.text
    assert "nan" not in html(bare).lower()
    assert "None" not in page.text
    assert "None" not in markdown(bare)


def test_the_reliability_diagram_shows_before_and_after(helped, hurt):
    text = html(helped)
    assert text.count('<circle class="hollow"') == 3
    assert "Rings: before temperature scaling; dots: after." in read(helped).text
    assert "before temperature scaling; dots" not in read(hurt).text


def test_many_classes_are_shown_as_pairs(many):
    assert html(many(15)).count('<table class="matrix">') == 1
    for n, mosaic in ((16, 1), (100, 1), (101, 0)):
        text = html(many(n))
        assert '<table class="matrix">' not in text
        assert "Taken for" in text
        assert text.count('<svg class="mosaic"') == mosaic
    assert "All 60 classes" in html(many(60))


def test_pairs_come_most_frequent_first(helped):
    pairs = confused_pairs(helped)
    assert [(pair.truth, pair.predicted, pair.count) for pair in pairs] == [("ants", "bees", 4), ("bees", "ants", 3.2)]
    assert pairs[0].share == pytest.approx(4 / 70)


def test_a_lower_log_loss_is_the_better_one(hurt):
    better = {row.name: row.better for row in comparisons(hurt)}
    assert better["Accuracy"] == better["Log loss"] == "baseline"
    assert better["Calibration error"] == "transfer"


def test_the_label_curve_is_drawn(helped):
    rows = label_rows(helped)
    assert [labels for labels, _ in rows] == [61, 122, 244]
    assert rows[-1][1]["baseline"].score == 0.66
    drawing = label_drawing(helped)
    assert drawing.ticks == (61, 122, 244)
    assert 0 < drawing.x(61) < drawing.x(122) < drawing.x(244) < drawing.x(488) < drawing.WIDTH
    # Logarithmic: doubling is the same step everywhere.
    assert drawing.x(122) - drawing.x(61) == pytest.approx(drawing.x(488) - drawing.x(244), abs=0.2)
    assert drawing.y(0.954) < drawing.y(0.66)
    fit = helped.label_curve.fits[0]
    assert len(drawing.line(fit).split()) == 3
    assert len(drawing.band(fit).split()) == 6
    page = html(helped)
    assert page.count("<polyline") == 1
    assert "more than 900 labels to match &lt;b&gt;all&lt;/b&gt;" in page
    assert "| 122 | 94.1" in markdown(helped).replace("\xa0", " ")


def test_findings_in_plain_words():
    hygiene = Hygiene(
        unreadable=(("a.jpg", "is cut short"),),
        ignored=tuple(f"{k}.txt" for k in range(45)),
        exact_duplicates=(("x.jpg", "y.jpg", "z.jpg"),),
        near_duplicates=(("a.jpg", "b.jpg"),),
        imbalance=3.25,
        warnings=("said above", "few examples"),
        counts={"cat": {"train": 1200, "validation": 0, "test": 3}},
    ).to_json()
    found = findings(hygiene, said=["said above"])
    assert [item.sentence for item in found] == [
        "1 input could not be read as a picture and was left out.",
        "45 files are no pictures, or stand in no class folder, and were left out.",
        "1 picture occurs more than once, byte for byte; one copy of it was kept on each side.",
        "1 pair of pictures is nearly identical.",
        "The split was drawn so that copies stand on the same side.",
        "The largest class has 3.25 times as many examples as the smallest.",
        "few examples",
    ]
    assert found[0].items == ("a.jpg: is cut short",)
    assert (len(found[1].items), found[1].left_out) == (40, 5)
    assert found[2].items == ("x.jpg = y.jpg = z.jpg",)
    assert class_counts(hygiene) == (["train", "test"], [("cat", ["1,200", "3"])])


def test_every_finding_is_a_field_of_hygiene():
    known = Hygiene().to_json()
    assert {key for key, *_ in _FINDINGS} | {"duplicates_were", "counts", "imbalance", "warnings", "moved"} == set(
        known
    )
    assert findings(known) == findings({}) == []


def test_writing_is_repeatable_and_replaces_both_files(tmp_path, helped, hurt):
    path = write(helped, tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    first = path.read_bytes()
    write(hurt, tmp_path / "run")
    assert path.read_bytes() != first
    write(helped, tmp_path / "run")
    assert path.read_bytes() == first
    assert path.with_suffix(".md").read_text(encoding="utf-8") == markdown(helped)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["report.html", "report.md"]


def test_templates_are_compiled_once_where_python_may_keep_what_it_compiled(tmp_path, helped, monkeypatch):
    import sys

    from jinja2 import Environment

    from headstart.report.page import compiled, environment

    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    plain, texts = html(helped), []
    for _ in range(2):
        again = environment().overlay(bytecode_cache=compiled(tmp_path))
        texts.append(again.get_template("page.html.j2").render(context(helped, None)))
        monkeypatch.setattr(Environment, "_parse", None)  # the second time there is nothing to parse
    assert texts == [plain] * 2
    assert list(tmp_path.iterdir())
    assert compiled(tmp_path / "absent") is None
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert compiled(tmp_path) is None


def test_a_failed_write_leaves_the_old_page(tmp_path, helped, hurt, monkeypatch):
    path = write(helped, tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("headstart.files.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(hurt, tmp_path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.md"]

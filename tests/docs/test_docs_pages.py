"""Links between pages lead somewhere, the reference is made from the code, and a stale page is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from docs import generate, measured

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")])


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.is_relative_to(ROOT), target
        assert goal.exists(), target
        if anchor:
            assert anchor in anchors(goal), target


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    decisions = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    pages = [page for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "README.md"]
    assert len(pages) > 10
    for page in pages:
        if page.parent.name == "decisions":
            assert f"({page.name})" in decisions
        else:
            assert f"({page.relative_to(ROOT / 'docs').as_posix()})" in index


def test_the_schema_page_has_every_field_of_every_part():
    from headstart.judge import evidence

    page = generate.evidence_page()
    parts = [kind for kind in vars(evidence).values() if isinstance(kind, type) and issubclass(kind, evidence._Part)]
    parts = [kind for kind in parts if kind.model_fields]
    assert len(parts) > 8
    for part in parts:
        table = page[page.index(f"## {part.__name__}\n") :].split("\n## ")[0]
        for name, field in part.model_fields.items():
            assert f"\n| `{field.alias or name}` |" in table, (part.__name__, name)


def test_a_docstring_becomes_markdown():
    text = generate.markdown(
        """Do it, see :func:`~a.b`.

        >>> 1 + 1
        2

        Args:
            first: the one
                that goes on.
            second: another.

        Returns:
            A number: two.

        Raises:
            InputError: it is wrong.
        """
    )
    assert text == (
        "Do it, see `a.b`.\n\n```python\n>>> 1 + 1\n2\n```\n\nArgs:\n\n- `first`: the one that goes on.\n"
        "- `second`: another.\n\nReturns:\n\n- A number: two.\n\nRaises:\n\n- `InputError`: it is wrong.\n"
    )


def test_results_that_not_every_machine_has_kept_are_shown_where_they_are(tmp_path, monkeypatch):
    shutil.copytree(measured.RESULTS, tmp_path / "results")
    monkeypatch.setattr(measured, "RESULTS", tmp_path / "results")
    for name in ("fastai", "scale"):
        (measured.RESULTS / f"{name}.json").unlink(missing_ok=True)
    page = measured.measured_page()
    assert "## Seconds to an accuracy" not in page
    assert "## Many files" not in page
    line = {"what": "that it is fast", "met": False, "found": "2.00"}
    about = json.loads((measured.RESULTS / "speed.json").read_text(encoding="utf-8"))
    seconds = {"target_read": 2.0, "first_trained": 6.25, "shipped_model": None, "process": 121.0}
    phases = {"prepare": 31.0, "forward": 12.0, "train": 55.0}
    pair = {
        "seed": 0,
        "fastai": {
            "timelines": [[{"seconds": 90.5, "accuracy": 0.9, "phase": "frozen"}]],
            "best_accuracy": 0.9,
            "last_accuracies": [0.9],
            "process_seconds": 95.0,
            "test_images": 100,
        },
        "headstart": {"empty": {"accuracy": 0.95, "seconds": seconds, "phases": phases}},
        "to_the_better": {"empty": {"fastai_seconds": "never"}},
    }
    one = {"peak_mb": 1_200.0, "result_mb": 49.0, "seconds": {"work": 40.0}}
    second = {"files": 10_000, "new_each_round": 100, "first_pass": one, "rounds": [{}, {}]}
    memory = {"runs": {"10000": {"peak_mb": 1_300.0}}, "passes": {"10000": one}}
    found_of = {
        "fastai": {"pairs": [pair], "targets": [line]},
        "scale": {"second_run": second, "memory": memory, "targets": [line]},
    }
    for name, found in found_of.items():
        (measured.RESULTS / f"{name}.json").write_text(json.dumps({**about, "measured": found}), encoding="utf-8")
    page = measured.measured_page()
    assert "| 0 | empty | 95.0 % | 90.0 % | 6.2 s | never | 121.0 s | never | 95 s |" in page
    assert "fastai, 0 epochs, seed 0: 90.0 % at 90 s." in page
    assert "31 s went into preparing networks, 12 s into forward passes, and 55 s into training" in page
    assert "A first pass over 10,000 generated pictures (target read, features of all) took 40.0 s." in page
    assert "| 10,000 | 1,300 MiB | 1,200 MiB | 49 MiB |" in page
    assert page.count("| that it is fast | 2.00 | **no** |") == 2


def test_check_names_the_stale_page_and_writes_nothing(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "docs" / "reference"
    monkeypatch.setattr(generate, "REFERENCE", folder)
    monkeypatch.setattr(generate, "PAGES", {"one.md": lambda: "1\n", "two.md": lambda: "2\n"})
    monkeypatch.setattr(generate, "FILLED", {"README.md": measured.readme_text})
    folder.parent.mkdir()
    (tmp_path / "README.md").write_text("<!-- measured -->\nold\n<!-- /measured -->\n", encoding="utf-8")
    assert generate.main([]) == 0
    assert "old" not in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert generate.main(["--check"]) == 0
    (folder / "two.md").write_text("old\n", encoding="utf-8")
    assert generate.main(["--check"]) == 1
    message = capsys.readouterr().err
    assert "two.md" in message
    assert "one.md" not in message
    assert "make docs" in message
    assert (folder / "two.md").read_text(encoding="utf-8") == "old\n"

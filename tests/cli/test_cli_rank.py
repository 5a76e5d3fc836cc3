"""`headstart rank`: the table on stdout, progress on stderr."""

import json
import re

import pytest

from headstart.score import SCORES

pytestmark = pytest.mark.fast

TOYS = ("--sources", "toy:pixels,toy:detail", "--resamples", 6)


def test_a_table(headstart, photos):
    said = headstart("rank", photos, *TOYS)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == (
        "  ranking   by linear, on 60 training examples of 2 classes: detail ranks first in 100 % of 6 resamples"
    )
    assert re.match(r"    1  detail +(0\.9\d+|1\.0000) +100 % ", lines[2])
    assert re.match(r"    2  pixels +0\.[456]\d+ +0 % ", lines[3])
    shown = [line.split()[0] for line in lines if line.startswith("    ")]
    assert set(SCORES) - {"leep", "nce"} <= set(shown)
    assert "  skipped   leep: it needs the class probabilities" in said.out
    assert "  target    120 images" in said.err
    assert "ranking" not in said.err


def test_json(headstart, photos):
    said = headstart("rank", photos, "--source", "toy:detail", "--json", "--by", "logme")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["by"] == "logme"
    assert found["sources"][0]["source"] == "toy:detail"
    assert found["examples"] == 60


def test_mistakes_are_said_before_the_data_is_read(headstart, tmp_path):
    said = headstart("rank", tmp_path / "absent", "--by", "logmee")
    assert (said.code, said.out) == (2, "")
    assert "did you mean 'logme'" in said.err
    said = headstart("rank", tmp_path / "absent", "--sources", "toy:nothing")
    assert said.code == 2
    assert "nothing" in said.err

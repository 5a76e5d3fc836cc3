"""`headstart plan`: the trials on stdout, progress on stderr."""

import json

import pytest

pytestmark = pytest.mark.fast

TOYS = ("--source", "toy:detail", "--strategy", "probe")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def test_a_table(headstart, photos):
    said = headstart("plan", photos, *TOYS, "--budget", "1m")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("  plan      ")
    assert lines[0].endswith(" of 60 s")
    assert lines[1].split() == ["stage", "side", "route", "trials", "each", "begins", "at"]
    assert lines[2].split()[:4] == ["explore", "baseline", "majority", "fold"]
    finals = [line for line in lines if line.startswith("    final")]
    assert len(finals) == 2
    assert all("seeds 1 to 5" in line for line in finals)
    assert "scores are not known yet" in said.out
    assert lines[-1] == "  seconds   of a usual machine: no run has measured this one yet"
    assert "  target    120 images" in said.err


def test_json(headstart, photos):
    said = headstart("plan", photos, *TOYS, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["budget"] == "2 min 0 s"
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"]))
    assert {step["stage"] for step in found["steps"]} == {"explore", "confirm", "final", "label curve"}
    assert found["steps"][0]["spec"]["strategy"] == "majority"


def test_mistakes_are_said_before_the_data_is_read(headstart, tmp_path):
    said = headstart("plan", tmp_path / "absent", "--budget", "soon")
    assert (said.code, said.out) == (2, "")
    assert "budget 'soon'" in said.err
    assert headstart("plan", tmp_path / "absent", "--strategy", "prob").code == 2

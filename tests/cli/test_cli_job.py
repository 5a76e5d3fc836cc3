"""The main job through the command line: answers on stdout, progress on stderr, files where they belong."""

import csv
import io
import json
import re
import shutil
import socket

import pytest

from headstart.api import open_run
from headstart.trial import Spec

pytestmark = pytest.mark.fast

QUICK = ("--trials", 4, "--source", "toy:detail", "--strategy", "probe")


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def offline(monkeypatch):
    """Any connection to another machine fails, and is written down."""
    tried = []

    def refuse(self, address):
        tried.append(address)
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: refuse(None, a))
    return tried


@pytest.fixture
def fitted(headstart, photos, tmp_path, monkeypatch):
    """A run through the command line, without a network."""
    tried = offline(monkeypatch)
    said = headstart("fit", photos, "--out", tmp_path / "run", *QUICK, "--profile", tmp_path / "profile.json")
    assert said.code == 0, said.err
    assert tried == []
    return tmp_path / "run", said


def test_fit_predict_and_report(fitted, headstart, photos, tmp_path):
    folder, said = fitted
    verdict, _, shipped, *_ = said.out.splitlines()
    assert re.match(r"  verdict   HELPED  \+\d\d\.\d points accuracy \(95 % CI .*\), n = 60, 5 seeds$", verdict)
    assert "best: probe on detail, " in said.out
    assert re.search(r"best baseline: (classical|majority), [45]\d\.\d %", said.out)
    assert shipped.startswith("  shipped   Transfer helped on the sealed test")
    for name in ("model", "report.html", "evidence.json"):
        assert str(folder / name) in said.out
        assert (folder / name).exists()
    assert "  target    120 images · 2 classes · 60 train / 60 test (given split)" in said.err
    assert "  sources   detail, scratch" in said.err
    # The five final trials of a route that trains no network make one line, and so does its label curve.
    assert len(re.findall(r"^  (?:baseline|transfer)  ", said.err, re.M)) == 4 + 2 + 2
    assert len(re.findall(r"^  (?:baseline|transfer)  .* seeds 1 to 5 predicted the test ", said.err, re.M)) == 2
    assert len(re.findall(r"^  (?:baseline|transfer)  .* seeds 1 to 3: 8, 15, 30 labels ", said.err, re.M)) == 2
    assert re.search(r"^  side      route .* validation score .* time  process peak$", said.err, re.M)
    assert "verdict" not in said.err
    command = open_run(folder).evidence.command
    assert command.startswith("headstart fit ")
    assert "--trials 4" in command

    # A quick comparison leaves the slow baselines out, and says so; nothing is called untried for lack of room.
    assert "  note      Baselines that train a network were not tried, because --strategy named only" in said.out
    assert "untried" not in said.out
    _time(folder, said, tmp_path / "profile.json")

    again = headstart("fit", photos, "--out", folder, *QUICK)
    assert (again.code, timeless(again.out)) == (0, timeless(said.out))
    assert "  resuming  32 trials in the ledger will not be repeated" in again.err

    refused = headstart("fit", photos, "--out", folder, *QUICK, "--seed", 3)
    assert refused.code == 2
    assert "holds another run" in refused.err
    assert "--out with another folder" in refused.err

    before = (folder / "evidence.json").read_bytes()
    (folder / "report.html").unlink()
    rebuilt = headstart("report", folder)
    assert (rebuilt.code, rebuilt.out.strip()) == (0, str(folder / "report.html"))
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "evidence.json").read_bytes() == before

    _predict(headstart, folder, photos, tmp_path)
    _suggest(headstart, folder, photos, tmp_path)


def timeless(out):
    """The answer without what the clock decides, and without where the profile went."""
    return [line for line in out.splitlines() if not line.startswith(("  time ", "  profile "))]


def _time(folder, said, file):
    """Where the time went: one line after `shipped`, and the same in a file."""
    lines = said.out.splitlines()
    (number,) = (i for i, line in enumerate(lines) if line.startswith("  time "))
    assert lines[number - 1].startswith(
        "  labels    Transfer with 8 labels is already better than the baseline with 60: +"
    )
    assert lines[number - 2].startswith("  shipped ")
    told = re.fullmatch(r"  time      (\d+\.\d) s: (.*)", lines[number])
    parts = dict(part.split(" ") for part in told[2].split(", "))
    # In a process that did much else before, `import` is the largest part; what is told adds up but for rounding.
    assert next(iter(parts)) == "import"  # the others may take so little here that they are left out
    assert "0.0" not in parts.values()
    assert sum(map(float, parts.values())) == pytest.approx(float(told[1]), abs=0.05 * 12)

    assert f"  profile   {file}" in lines
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["seconds"] == pytest.approx(float(told[1]), abs=0.051)
    phases = {name: phase["seconds"] for name, phase in found["phases"].items()}
    assert sum(phases.values()) + found["other"] == pytest.approx(found["seconds"], abs=1e-3)
    assert all(phases[name] > 0 for name in ("import", "read", "forward", "train", "judge", "save", "report"))
    assert found["phases"]["train"]["count"] == 32
    assert {"python", "headstart"} <= found["versions"].keys()
    assert found["machine"]["cores"] >= 1
    assert found["command"].startswith("headstart fit ")

    ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    results = {Spec(**e["result"]["spec"]).key: e["result"] for e in ledger if e["event"] == "result"}
    assert [trial["key"] for trial in found["trials"]] == list(results)
    for trial in found["trials"]:
        assert trial["wall_seconds"] == pytest.approx(results[trial["key"]]["wall"], abs=1e-5)
        assert trial["cpu_seconds"] >= 0
    probes = [trial for trial in found["trials"] if trial["words"] == "probe on detail"]
    # Two trials look at all pictures of a side for the first time, and every other trial finds them in the store.
    assert [trial["computed"] for trial in probes if trial["computed"]] == [60, 60]
    assert all(trial["recalled"] for trial in probes[1:])


def _predict(headstart, folder, photos, tmp_path):
    plain = headstart("predict", folder, photos / "test")
    answers = rows(plain.out)
    assert plain.code == 0
    assert list(answers[0]) == ["input", "label", "probability", "error"]
    assert len(answers) == 60
    right = [answer["label"] == answer["input"].split("/")[-2] for answer in answers]
    assert sum(right) >= 57
    assert all(0.5 <= float(answer["probability"]) <= 1 for answer in answers)

    one = photos / "test" / "plus"
    pictures = sorted(one.iterdir())[:2]
    top = rows(headstart("predict", folder, *pictures, "--top", 2).out)[0]
    assert {top["label"], top["label_2"]} == {"plus", "minus"}
    assert float(top["probability"]) + float(top["probability_2"]) == pytest.approx(1, abs=1e-5)
    every = rows(headstart("predict", folder, *pictures, "--probabilities").out)[1]
    assert every["p_" + every["label"]] == every["probability"]
    assert float(every["p_plus"]) + float(every["p_minus"]) == pytest.approx(1, abs=1e-5)

    bad = tmp_path / "bad.jpg"
    bad.write_text("not a picture")
    mixed = headstart("predict", folder, pictures[0], bad, tmp_path / "absent.png")
    assert mixed.code == 0
    good, *others = rows(mixed.out)
    assert good["label"]
    assert not good["error"]
    assert [answer["label"] for answer in others] == ["", ""]
    assert all(answer["error"] for answer in others)
    assert "2 of 3 pictures could not be read" in mixed.err

    lines = headstart("predict", folder, pictures[0], bad, "--json", "--top", 2).out.splitlines()
    first, second = map(json.loads, lines)
    assert first["label"] in ("plus", "minus")
    assert first["top"][0] == {"label": first["label"], "probability": first["probability"]}
    assert (second["label"], "probability" in second) == (None, False)
    assert second["error"]

    none = headstart("predict", folder, bad)
    assert none.code == 2
    assert rows(none.out)[0]["error"]
    assert "1 of 1 pictures could not be read" in none.err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert headstart("predict", folder, empty).code == 2
    assert headstart("predict", folder / "model", pictures[0]).code == 0


def _suggest(headstart, folder, photos, tmp_path):
    pool = tmp_path / "pool"
    shutil.copytree(photos / "test", pool / "new")
    for name in ("minus", "plus"):
        first = min((pool / "new" / name).iterdir())
        shutil.copy(first, pool / f"copy-{name}.png")
    (pool / "bad.png").write_text("not a picture")
    found = headstart("suggest", folder, pool, "--count", 5)
    assert found.code == 0, found.err
    answers = rows(found.out)
    assert list(answers[0]) == ["rank", "input", "label", "probability", "why"]
    assert [answer["rank"] for answer in answers] == ["1", "2", "3", "4", "5"]
    assert len({answer["input"] for answer in answers}) == 5
    assert answers[0]["label"] in answers[0]["why"]
    assert "bad.png" in found.err
    assert "left out  2 pictures: a copy of another" in found.err
    # What was labelled is not asked for again.
    known = headstart("suggest", folder, pool, "--labelled", photos)
    assert (known.code, rows(known.out)) == (2, [])
    assert "left out  62 pictures" in known.err


def test_check(headstart, photos, picture, tmp_path):
    said = headstart("check", photos)
    assert said.code == 0
    assert said.out.splitlines()[0] == "  target    120 images · 2 classes · 60 train / 60 test (given split)"
    assert "    minus  train 30  test 30" in said.out
    assert "imbalance 1.00" in said.out
    found = json.loads(headstart("check", photos, "--json").out)
    assert found["counts"] == {name: {"train": 30, "validation": 0, "test": 30} for name in ("minus", "plus")}

    for i in range(6):
        picture(f"messy/{'ab'[i % 2]}/{'x' * i}.png")
    (tmp_path / "messy" / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "messy" / "a" / "notes.txt").write_text("notes")
    said = headstart("check", tmp_path / "messy")
    assert said.code == 0
    assert "unreadable, left out: 1\n    a/broken.jpg: " in said.out
    assert "not pictures, ignored: 1\n    a/notes.txt" in said.out
    assert "no test split: cross-fitting" in said.out


def test_sources(headstart):
    said = headstart("sources")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines() if line.startswith("bundled:")] == [
        *(f"bundled:efficientnet_lite{n}" for n in range(3)),
        "bundled:minilm_l6",
        "bundled:minilm_static",
    ]
    assert "Apache-2.0" in said.out
    assert "minilm_static is tried only where it is named" in said.out
    cards = json.loads(headstart("sources", "--json").out)
    assert [card["name"] for card in cards] == [
        *(f"bundled:efficientnet_lite{n}" for n in range(3)),
        "bundled:minilm_l6",
        "bundled:minilm_static",
    ]
    assert cards[0]["licence"] == "Apache-2.0"
    assert cards[0]["features"] == 1280


def test_replay_says_whether_the_evidence_is_the_same(fitted, headstart, photos, tmp_path):
    folder, _ = fitted
    said = headstart("replay", folder)
    assert said.code == 0, said.err
    assert f"  evidence  the same as in {folder}, but for seconds" in said.out
    assert "  replay    32 trials of" in said.err
    assert "differs" not in said.err
    assert open_run(f"{folder}-replay").evidence.command == open_run(folder).evidence.command
    # Other data, and everything else that is not as it was, is told before the first trial.
    shutil.copytree(photos, tmp_path / "others")
    next((tmp_path / "others").rglob("*.png")).unlink()
    document = json.loads((folder / "spec.json").read_text())
    document["versions"]["numpy"] = "0.1"
    document["trials"] = [trial for trial in document["trials"] if trial["phase"] != "label curve"]
    (tmp_path / "spec.json").write_text(json.dumps(document))
    said = headstart("replay", tmp_path / "spec.json", "--target", tmp_path / "others", "--out", tmp_path / "again")
    assert said.code == 0, said.err
    lines = said.err.splitlines()
    differs = [i for i, line in enumerate(lines) if line.startswith("  differs   ")]
    assert [lines[i].split()[1] for i in differs] == ["the", "numpy"]
    assert max(differs) < min(i for i, line in enumerate(lines) if line.startswith("  baseline "))
    assert headstart("replay", tmp_path / "nowhere").code == 2

"""What the benchmarks share: processes that are watched and ended, generated pictures, options, kept results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as program
from benchmarks import common

pytestmark = pytest.mark.fast


def test_arrays_are_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a folder" / "unit one.npz"
    common.save_arrays(path, said=np.arange(6).reshape(2, 3), names="[]")

    def full(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="full"):
        common.save_arrays(path, said=np.zeros(1))
    assert list(path.parent.iterdir()) == [path]
    with np.load(path) as found:
        assert found["said"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert str(found["names"]) == "[]"


def test_a_process_is_watched_until_after_its_end(tmp_path):
    seen: list[tuple[float, bool]] = []
    code = "import os, time; open('made', 'w').close(); print(os.environ['WORD']); time.sleep(0.3)"
    ran = common.process(
        "-c", code, folder=tmp_path, limit=60, WORD="hello",
        watch=lambda seconds: seen.append((seconds, (tmp_path / "made").exists())),
    )  # fmt: skip
    assert (ran.code, ran.out, ran.err) == (0, "hello\n", "")
    assert seen[-1][1]
    assert [seconds for seconds, _ in seen] == sorted(seconds for seconds, _ in seen)
    assert ran.peak_mb > 0


def test_a_process_beyond_its_limit_is_ended(tmp_path):
    ran = common.process("-c", "import time; time.sleep(600)", folder=tmp_path, limit=0.2)
    assert ran.code != 0


def test_an_interruption_leaves_no_process_behind(tmp_path):
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"

    def interrupted(_: float) -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        common.process("-c", code, folder=tmp_path, limit=60, watch=interrupted)
    assert not common.psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_peer_gives_what_it_measured_and_may_not_take_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "PEERS", tmp_path)
    write = "import json, sys; open(sys.argv[-1], 'w').write(json.dumps({'given': sys.argv[1:-1]}))"
    (tmp_path / "good.py").write_text(write, encoding="utf-8")
    found = common.peer(Path(sys.executable), "good", tmp_path / "out.json", "--seed", 3)
    assert found["given"] == ["--seed", "3", "--json"]
    assert found["wall"] > 0
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)", encoding="utf-8")
    with pytest.raises(subprocess.TimeoutExpired):
        common.peer(Path(sys.executable), "slow", tmp_path / "out.json", limit=0.2)


def test_pictures_of_another_seed_are_others(tmp_path):
    common.generate(tmp_path / "one", 20)
    common.generate(tmp_path / "again", 20)
    common.generate(tmp_path / "both", 20)
    common.generate(tmp_path / "both", 10, seed=1)
    one, again, both = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")}
        for name in ("one", "again", "both")
    )
    assert one == again
    assert len(one) == 20
    assert len({Path(name).parent.name for name in one}) == common.CLASSES
    assert one.items() <= both.items()
    assert len(set(both.values())) == 30


# -- the program ------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(monkeypatch):
    """Two benchmarks that take no time; what they were given is kept."""
    given: list[dict[str, int]] = []

    def decode(small: int = 5) -> dict[str, object]:
        given.append({"small": small})
        return {"figure": small, "targets": [common.target("that it is small", small < 10, str(small))]}

    def speed() -> dict[str, object]:
        return {"skipped": "no data"}

    for name, main in (("decode", decode), ("speed", speed)):
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", SimpleNamespace(main=main))
    return given


def test_results_are_kept_where_asked_with_the_options(two, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["decode", "speed", "--results", str(tmp_path), "--set", "small=7"])
    assert ended.value.code == 0
    assert two == [{"small": 7}]
    kept = json.loads((tmp_path / "decode.json").read_text(encoding="utf-8"))
    assert kept["options"] == {"small": 7}
    assert kept["measured"]["figure"] == 7
    assert not (tmp_path / "speed.json").exists()
    said = capsys.readouterr().err
    assert "met    that it is small: 7" in said
    assert "skipped: no data" in said


def test_a_missed_target_is_the_exit_code(two, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["decode", "--results", str(tmp_path), "--set", "small=70"])
    assert ended.value.code == 1
    assert "MISSED that it is small: 70" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "no benchmark called nothing"),
        (["decode", "--set", "small=big"], "expected OPTION=NUMBER"),
        (["decode", "--set", "large=1"], "has the option large"),
    ],
)
def test_a_wrong_argument_is_said_before_anything_runs(two, arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert two == []


def test_each_benchmark_says_what_it_will_take(two, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    (tmp_path / "decode.json").write_text('{"seconds": 90}', encoding="utf-8")
    assert program.expected("decode") == 1.5
    assert program.expected("speed") == program.NAMES["speed"]
    with pytest.raises(SystemExit):
        program.main(["decode", "speed", "--results", str(tmp_path / "other")])
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "about 10 min: decode 1.5, speed 8"
    assert said[1] == "== decode, about 1.5 min"


def test_every_benchmark_is_listed():
    kept = Path(program.__file__).parent
    known = {"__init__", "__main__", "common", "features_pass", "folds", "texts_pass"}
    known |= {"adapt_deep_record", "adapt_deep_tasks", "adapt_deep_units", "adapt_gradual_tasks"}
    known |= {"adapt_tasks", "adapt_units"}
    assert {path.stem for path in kept.glob("*.py")} == program.NAMES.keys() | known

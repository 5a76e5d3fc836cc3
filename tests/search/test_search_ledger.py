"""The ledger loses nothing: torn lines, damaged lines, a full disk."""

import errno
import json
import os

import numpy as np
import pytest

from headstart import files
from headstart.errors import RunError
from headstart.search import Ledger
from headstart.search import ledger as module
from headstart.search.assemble import stunted
from headstart.search.leaderboard import leaderboard
from headstart.trial import CUT_SHORT, Result, Spec

pytestmark = pytest.mark.fast


def result(seed):
    spec = Spec("test", "search", "scratch", "majority", {}, seed)
    logs = np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32)
    return Result(spec, "baseline", "ok", logs, np.array([0, 1, 0]), wall=0.1 + seed)


@pytest.fixture
def filled(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("run", seed=0)
    for seed in range(3):
        ledger.add(result(seed))
    return ledger


def test_what_is_written_comes_back_exactly(filled, tmp_path):
    again = Ledger(tmp_path)
    assert again.events == filled.events
    for seed in range(3):
        found = again.results[result(seed).spec.key]
        assert (found.log_probabilities == result(seed).log_probabilities).all()
        assert (found.labels == result(seed).labels).all()
        assert found.labels.dtype == np.int64
        assert found.spec == result(seed).spec
    assert [r.spec.seed for r in again.of("test", "search")] == [0, 1, 2]
    assert again.of("other", "search") == again.of("test", "final") == []
    assert again.seconds() == pytest.approx(3.3)
    assert again.first("run") == {"event": "run", "seed": 0}
    assert again.first("end") is None
    assert len(again.all("result")) == 3


def test_results_are_waited_for_once_a_second_and_everything_else_at_once(filled, monkeypatch):
    clock, synced = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: synced.append(filled.path.read_bytes().count(b"\n")))
    for seed, now in ((3, 0.0), (4, 0.1), (5, 0.9), (6, 1.0), (7, 1.5)):
        clock[0] = 1e9 + now
        filled.add(result(seed))
    assert synced == [5, 8]  # lines: the first of these results, and the first after a second
    filled.write("opened", episode="test")
    assert synced == [5, 8, 10]
    filled.add(result(8))
    assert synced == [5, 8, 10]  # what was just waited for counts, whatever it was
    assert len(Ledger(filled.path.parent).results) == 9


def test_an_incomplete_last_line_is_cut_off_wherever_it_was_cut(filled, tmp_path):
    whole = filled.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    kept = sum(map(len, lines[:3]))
    for cut in (kept, kept + 1, kept + len(lines[3]) // 2, len(whole) - 1):
        filled.path.write_bytes(whole[:cut])
        again = Ledger(tmp_path)
        assert len(again.results) == 2
        assert filled.path.read_bytes() == whole[:kept]
        again.add(result(2))
        assert filled.path.read_bytes() == whole
    filled.path.write_bytes(lines[0][:5])
    assert Ledger(tmp_path).events == []
    assert filled.path.read_bytes() == b""


@pytest.mark.parametrize(
    "damage", [b"{\n", b"[1]\n", b'{"no": "event"}\n', b"\xff\xfe\n", b"\n", b'{"event": "result"}\n']
)
def test_a_damaged_line_in_the_middle_is_refused_by_its_number(filled, tmp_path, damage):
    lines = filled.path.read_bytes().splitlines(keepends=True)
    lines[2] = damage
    filled.path.write_bytes(b"".join(lines))
    with pytest.raises(RunError, match="is damaged at line 3") as caught:
        Ledger(tmp_path)
    assert caught.value.problems[0].next == "move the folder away, or give another one with --out"
    assert filled.path.read_bytes() == b"".join(lines)  # nothing is thrown away


def test_a_full_disk_leaves_the_ledger_whole_and_says_how_to_go_on(filled, tmp_path, monkeypatch):
    before = filled.path.read_bytes()

    def full(path, line, sync):
        with path.open("ab") as stream:
            stream.write(line.encode()[:7])  # a part is written before the disk is full
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "append_line", full)
    with pytest.raises(RunError, match="the disk is full") as caught:
        filled.add(result(7))
    assert "make room and run the same command again: it resumes" in str(caught.value)
    assert caught.value.exit_code == 2
    assert filled.path.read_bytes() == before
    assert result(7).spec.key not in filled.results
    monkeypatch.undo()
    filled.add(result(7))
    assert len(Ledger(tmp_path).results) == 4


def test_numbers_that_json_has_no_word_for_are_refused_before_anything_is_written(filled):
    before = filled.path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        filled.write("end", wall=float("nan"))
    assert filled.path.read_bytes() == before


def test_every_line_is_one_document(filled):
    filled.write("limit", why="a\nb\u2028c")
    lines = filled.path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["event"] for line in lines] == ["run", "result", "result", "result", "limit"]
    assert Ledger(filled.path.parent).first("limit")["why"] == "a\nb\u2028c"


def test_a_finalist_s_row_is_about_the_setting_that_was_judged(tmp_path):
    """Two settings may be equal on validation; the leaderboard must not name the other one."""
    ledger = Ledger(tmp_path)
    y = np.arange(20) % 2
    log_probabilities = np.log(np.where(np.eye(2)[y] > 0, 0.9, 0.1)).astype(np.float32)
    for penalty, phase in ((1.0, "search"), (2.0, "search"), (2.0, "final")):
        spec = Spec("whole", phase, "bundled:efficientnet_lite0", "probe", {"C": penalty}, 0)
        ledger.add(Result(spec, "transfer", "ok", log_probabilities, y if phase == "search" else None, wall=1.0))
    (row,) = leaderboard(ledger, "accuracy", [])
    assert row.parameters == {"C": 2.0}
    assert row.trials == 2


def _result(phase, strategy, parameters, fold, right):
    """On 20 examples, of which so many are right."""
    y = np.arange(20) % 2
    said = np.where(np.arange(20) < right, y, 1 - y)
    logs = np.log(np.where(np.eye(2)[said] > 0, 0.9, 0.1)).astype(np.float32)
    spec = Spec("whole", phase, "bundled:efficientnet_lite0", strategy, parameters, fold)
    return Result(spec, "transfer", "ok", logs, None if phase == "final" else y, wall=1.0)


@pytest.mark.parametrize("worth", [14, 17])
def test_a_finalist_that_leads_below_the_best_of_many_says_why(tmp_path, worth):
    """Three probes, each lucky on another fold; fine-tuning is behind the luckiest, or ahead of it anyway."""
    ledger = Ledger(tmp_path)
    for C, rows in enumerate(([20, 13, 14], [12, 20, 14], [13, 12, 20])):
        for fold, right in enumerate(rows):
            ledger.add(_result("search", "probe", {"C": C}, fold, right))
    for fold in range(2):
        ledger.add(_result("search", "finetune", {}, fold, worth))
    ledger.add(_result("final", "finetune", {}, 0, 18))
    notes = {row.strategy: row.note for row in leaderboard(ledger, "accuracy", [])}
    assert notes["probe"] == ""
    # Without the first fold the second probe is best, and without the second the first: 12 and 13 of 20.
    expected = (
        "leads although the best of 3 others has 82.5 % on the same folds, where it has 70.0 %: what is chosen of "
        "those without the fold that it is judged on has 62.5 %"
    )
    assert notes["finetune"] == (expected if worth == 14 else "")


def test_a_baseline_that_was_never_trained_to_its_end_is_named():
    def tried(strategy, source, phase, seed, note="", side="baseline"):
        return Result(Spec("test", phase, source, strategy, {}, seed), side, "ok", note=note)

    short = f"{CUT_SHORT} after 3 epochs"
    cnn = [tried("scratch", "scratch:small_cnn", "search", seed, short) for seed in range(2)]
    others = [
        tried("classical", "scratch", "search", 0),
        tried("finetune", "bundled:efficientnet_lite0", "search", 0, short, "transfer"),
    ]
    assert stunted([*cnn, *others]) == ["small_cnn"]
    # A final trial is never cut short, and its setting is what transfer is compared with.
    assert stunted([*cnn, *others, tried("scratch", "scratch:small_cnn", "final", 0)]) == []
    assert stunted([]) == []

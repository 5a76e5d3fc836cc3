"""kill -9 and Ctrl-C, for real: processes on one folder, and what they leave."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are different there"),
]

UNSTEADY = {"seconds", "cpu_seconds", "memory_mb", "seconds_per_1000", "seconds_total", "cost", "versions", "machine"}
CODE = """
import headstart.cli, headstart.features.network, headstart.testing
headstart.features.network.COMPILE_FROM = 10**9
headstart.cli.main()
"""


def essence(value):
    if isinstance(value, dict):
        return {key: essence(part) for key, part in value.items() if key not in UNSTEADY | {"command"}}
    return [essence(part) for part in value] if isinstance(value, list) else value


def start(photos, folder):
    options = ["--out", str(folder), "--trials", "8", "--source", "toy:detail", "--strategy", "probe"]
    command = [sys.executable, "-c", CODE, "fit", str(photos), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def wait_for(process, folder, lines):
    """Until the ledger holds so many lines."""
    ledger = folder / "ledger.jsonl"
    while process.poll() is None:
        if ledger.exists() and ledger.read_bytes().count(b"\n") >= lines:
            return True
        time.sleep(0.002)
    return False


def keys(folder):
    events = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    return [json.dumps(e["result"]["spec"], sort_keys=True) for e in events if e["event"] == "result"]


def test_killed_at_several_points_it_ends_with_the_same_evidence(photos, tmp_path):
    code, _, _ = finish(start(photos, tmp_path / "whole"))
    assert code == 0
    expected = essence(json.loads((tmp_path / "whole" / "evidence.json").read_text()))
    folder, killed = tmp_path / "killed", 0
    for lines in (1, 5, 11, 18, 24):
        process = start(photos, folder)
        if wait_for(process, folder, lines):
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed >= 4
    before = len(keys(folder))
    code, _, err = finish(start(photos, folder))
    assert code == 0
    assert f"resuming  {before} trials" in err
    assert essence(json.loads((folder / "evidence.json").read_text())) == expected
    assert len(keys(folder)) == len(set(keys(folder))) == 36
    assert len(list(folder.glob("model/*"))) >= 2
    assert not [path for path in folder.rglob("*") if path.suffix in (".tmp", ".old")]


def test_ctrl_c_saves_what_there_is_and_the_same_command_goes_on(photos, tmp_path):
    folder = tmp_path / "run"
    process = start(photos, folder)
    assert wait_for(process, folder, 5)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130
    assert "interrupted: comparing what was found so far" in err
    assert "verdict   HELPED" in out
    assert "Run the same command again to go on" in out
    assert json.loads((folder / "evidence.json").read_text())["partial"] is True
    assert (folder / "model" / "predictor.json").is_file()
    assert (folder / "report.html").is_file()

    code, out, err = finish(start(photos, folder))
    assert code == 0
    assert re.search(r"resuming  \d+ trials", err)
    assert json.loads((folder / "evidence.json").read_text())["partial"] is False
    assert len(keys(folder)) == len(set(keys(folder)))


def test_a_second_ctrl_c_stops_at_once(photos, tmp_path):
    folder = tmp_path / "run"
    process = start(photos, folder)
    assert wait_for(process, folder, 4)
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "interrupted: comparing" in line:
            process.send_signal(signal.SIGINT)
            break
    code, _, err = finish(process)
    assert code == 130
    assert "interrupted; run the same command again to go on" in err
    assert finish(start(photos, folder))[0] == 0

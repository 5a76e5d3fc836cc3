"""What a warm command imports: with cached features and a compiled network, neither torch nor timm."""

import json
import os
import subprocess
import sys

import pytest

from headstart.testing import positive

from .conftest import write_folder

pytestmark = pytest.mark.slow

# The command line as the shell runs it, and at last which modules it has imported.
CODE = """
import json, sys
from pathlib import Path
from headstart.cli import main
imported, sys.argv = sys.argv[1], ["headstart", *sys.argv[2:]]
try:
    main()
finally:
    Path(imported).write_text(json.dumps(sorted(sys.modules)))
"""
HEAVY = {"torch", "torchvision", "timm"}


@pytest.fixture
def command(tmp_path):
    """Runs the command line in a process of its own, with a cache of its own; what it imported of the heavy modules."""

    def call(*arguments):
        listed = tmp_path / "imported.json"
        listed.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(listed), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "HEADSTART_CACHE": str(tmp_path / "cache")},
        )
        assert done.returncode == 0, done.stderr
        modules = set(json.loads(listed.read_text()))
        assert "headstart.cli" in modules
        return modules & HEAVY, done

    return call


def test_a_warm_probe_and_its_predictions_import_neither_torch_nor_timm(command, tmp_path):
    photos = write_folder(positive(100, 60), tmp_path / "photos")
    options = ("--source", "efficientnet_lite0", "--strategy", "probe", "--trials", 4)
    cold, first = command("fit", photos, "--out", tmp_path / "cold", *options)
    assert "torch" in cold  # the network is converted, and compared with torch, once
    assert "leak" not in first.stderr, "what a library says of its own objects at the end is nothing to a user"
    warm, second = command("fit", photos, "--out", tmp_path / "warm", *options)
    assert warm == set()
    one, other = (json.loads((tmp_path / name / "evidence.json").read_text()) for name in ("cold", "warm"))
    assert one["gain"] == other["gain"]
    assert one["verdict"] == other["verdict"]
    assert "time      " in first.stdout
    assert "time      " in second.stdout

    predicted, done = command("predict", tmp_path / "warm", photos / "test")
    assert predicted == set()
    assert len(done.stdout.splitlines()) == 1 + 60

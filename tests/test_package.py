"""The package from outside: public names, lazy imports, `python -m headstart`, telemetry."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

import headstart

pytestmark = pytest.mark.fast

HEAVY = ["numpy", "PIL", "torch", "torchvision", "timm", "sklearn", "scipy", "skimage", "pandas", "pyarrow"]
HEAVY += ["matplotlib", "openvino", "safetensors", "pydantic", "huggingface_hub", "jinja2"]


def python(code, *arguments):
    """Run code in a fresh interpreter; the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout.splitlines()[-1]), done


def test_public_names():
    assert headstart.__all__ == [
        "Adapted",
        "Evidence",
        "HeadstartError",
        "InputError",
        "Predictor",
        "Ranking",
        "Rehearsal",
        "Run",
        "Shift",
        "Target",
        "adapt",
        "check",
        "fit",
        "load",
        "load_target",
        "open_run",
        "plan",
        "rank",
        "replay",
        "shift",
        "sources",
        "suggest",
        "zero_shot",
    ]
    for name in headstart.__all__:
        assert getattr(headstart, name).__doc__, name
    assert headstart.__version__ == metadata.version("headstart")
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        headstart.fitt  # noqa: B018


def test_importing_costs_next_to_nothing():
    code = f"import json, sys, headstart; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    assert python(code)[0] == []


def test_help_imports_nothing_heavy():
    code = f"""
import json, sys
from headstart.cli import main
sys.argv = ["headstart", "fit", "--help"]
try:
    main()
except SystemExit as ended:
    print(json.dumps([ended.code, [m for m in {HEAVY} if m in sys.modules]]))
"""
    found, done = python(code)
    assert found[0] == 0
    assert set(found[1]) <= {"pydantic"}  # typer's own
    assert "--budget" in done.stdout


def test_python_m_headstart():
    done = subprocess.run([sys.executable, "-m", "headstart", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"headstart {headstart.__version__}\n")
    done = subprocess.run([sys.executable, "-m", "headstart", "chek"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "No such command 'chek'" in done.stderr


def test_nothing_calls_home():
    names = ["HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"]
    clean = {key: value for key, value in os.environ.items() if key not in names}
    code = f"import headstart, json, os; print(json.dumps([os.environ[name] for name in {names}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, timeout=60)
    assert json.loads(done.stdout) == ["1", "1"]

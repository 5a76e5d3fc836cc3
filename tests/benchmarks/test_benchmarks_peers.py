"""The peers: nothing of headstart in them, the same weights, versions pinned, an environment whole or absent."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
SCRIPTS = [
    "common",
    "fastai_finetune",
    "frozen_texts",
    "setfit_few_shot",
    "skada_adapt",
    "skada_deep",
    "timm_features",
    "timm_frozen_finetune",
    "timm_probe",
]


def module(name: str) -> ModuleType:
    """A file of benchmarks/peers as a module of its own, with nothing that another test left in it."""
    spec = importlib.util.spec_from_file_location(f"peers_{name}", PEERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made  # dataclasses look their module up
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def environment() -> ModuleType:
    return module("environment")


@pytest.fixture
def common() -> ModuleType:
    return module("common")


def test_every_script_is_listed():
    assert sorted(path.stem for path in PEERS.glob("*.py")) == sorted([*SCRIPTS, "__init__", "environment"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_peer_imports_nothing_of_ours(name):
    for node in ast.walk(ast.parse((PEERS / f"{name}.py").read_text(encoding="utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules = [str(node.module)]
        assert not {part.partition(".")[0] for part in modules} & {"headstart", "benchmarks", "openvino"}


@pytest.mark.parametrize("kind", ["", "-texts", "-domains", "-domains-deep"])
def test_requirements_are_pinned_and_name_no_place(kind):
    name = f"requirements{kind}"
    text = (PEERS / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.+!]*( ; .+)?", line) for line in lines), lines
    assert "://" not in text
    pinned = {line.partition("==")[0] for line in lines}
    asked = (PEERS / f"{name}.in").read_text(encoding="utf-8").splitlines()
    assert {re.split("[<>=]", line)[0] for line in asked if line and not line.startswith("#")} <= pinned


# -- the weights ------------------------------------------------------------------------------------------------------


def test_the_weights_are_those_of_our_source(common):
    import torch

    from headstart.source import find

    weights = common.renamed(common.stored())
    ours = find("bundled:efficientnet_lite0").module()
    state = ours.state_dict()
    assert set(weights) == set(state) | set(common.HEAD)
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.items())
    assert common.verify(ours, weights) == len(state)


def test_a_body_with_one_other_tensor_is_refused(common):
    import torch

    from headstart.source import find

    weights = common.renamed(common.stored())
    ours = find("bundled:efficientnet_lite0").module()
    with torch.no_grad():
        ours.bn2.weight[0] += 1e-3
    with pytest.raises(SystemExit, match=r"bn2\.weight is not the pretrained one"):
        common.verify(ours, weights)


def test_tensors_in_another_order_are_refused(common):
    tensors = common.stored()
    with pytest.raises(SystemExit, match="does not fit"):
        common.renamed(dict(reversed(tensors.items())))
    tensors.popitem()
    with pytest.raises(SystemExit, match="tensors for"):
        common.renamed(tensors)


# -- the clock --------------------------------------------------------------------------------------------------------


def test_the_clock_begins_with_the_process():
    wait = 0.3  # far above the clock's 10 ms, and spent before the module is imported
    code = f"import time; time.sleep({wait}); import common; print(common.process_seconds())"
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system does not tell when a process began")
    done = subprocess.run([sys.executable, "-c", code], cwd=PEERS, capture_output=True, text=True, check=True)
    assert wait - 0.02 <= float(done.stdout) < 60


# -- the environment --------------------------------------------------------------------------------------------------


class Steps:
    """Stands in for the commands that install: notes them, makes the interpreter, fails at the one it is told to."""

    def __init__(self, environment: ModuleType, fail: str = "", says: str = "") -> None:
        self.environment, self.fail, self.says = environment, fail, says
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, *command: str) -> None:
        self.commands.append(command)
        if "venv" in command:
            interpreter = Path(command[-1]) / self.environment.PYTHON
            interpreter.parent.mkdir(parents=True)
            interpreter.touch()
        if self.fail and self.fail in command:
            raise subprocess.CalledProcessError(2, command, stderr=self.says)


def test_it_is_made_once_and_found_again(environment, monkeypatch):
    steps = Steps(environment)
    monkeypatch.setattr(environment, "_run", steps)
    made = environment.python()
    try:
        assert made == environment.directory() / environment.PYTHON
        assert made.exists()
        assert [("venv" in c, "sync" in c, "-c" in c) for c in steps.commands] == [
            (True, False, False),
            (False, True, False),
            (False, False, True),
        ]
        assert str(environment.REQUIREMENTS) in steps.commands[1]
        environment.prepared.cache_clear()
        assert environment.python() == made
        assert len(steps.commands) == 3
        made.unlink()  # as when the Python that it was made from is gone
        environment.prepared.cache_clear()
        assert environment.python() == made
        assert len(steps.commands) == 6
        assert [path.name for path in made.parents[2].iterdir()] == [environment.directory().name]
    finally:
        environment.shutil.rmtree(environment.directory(), ignore_errors=True)


def test_the_product_has_locked_versions_and_the_code_of_today(environment, monkeypatch):
    steps = Steps(environment)
    monkeypatch.setattr(environment, "_run", steps)
    try:
        for days in (1, 2):
            environment.product.cache_clear()
            environment.prepared.cache_clear()
            made = environment.product()
            assert made == environment.directory(environment.PRODUCT) / environment.PYTHON
            installs = [command for command in steps.commands if "install" in command]
            assert len(installs) == 1 + days
            assert installs[0][-3:] == ("--constraint", str(environment.PRODUCT), str(environment.ROOT))
            assert {"--no-deps", "--reinstall", str(made), str(environment.ROOT)} <= set(installs[-1])
        assert (environment.ROOT / "pyproject.toml").is_file()
        assert not any("sync" in command for command in steps.commands)
    finally:
        environment.shutil.rmtree(environment.directory(environment.PRODUCT), ignore_errors=True)


def test_other_requirements_another_place(environment, monkeypatch, tmp_path):
    before = environment.directory()
    other = tmp_path / "requirements.txt"
    other.write_text("timm==1.0\n", encoding="utf-8")
    monkeypatch.setattr(environment, "REQUIREMENTS", other)
    assert environment.directory().parent == before.parent
    assert environment.directory() != before
    assert environment.directory(environment.TEXTS) not in (before, environment.directory())


@pytest.mark.parametrize("step", ["venv", "sync", "-c"])
def test_a_failed_step_leaves_nothing_and_gives_the_reason(environment, monkeypatch, capsys, step):
    address, path = "https:" + "//" + "host.invalid/wheel", "/" + "folder/file.py"
    says = f"{'x' * 1000} error: no route to {address}\n  in {path}, line 3\n"
    monkeypatch.setattr(environment, "_run", Steps(environment, step, says))
    assert environment.python() is None
    reason = environment.prepared().reason
    assert reason.endswith("error: no route to (address) in (path), line 3")
    assert "ended with 2: xxx" in reason
    assert len(reason) < 2 * environment.SHOWN
    assert "invalid" not in reason
    assert str(Path.home()) not in reason
    assert reason in capsys.readouterr().err
    assert list(environment.directory().parent.iterdir()) == []


def test_uv_missing_is_a_reason_and_not_a_crash(environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", None)
    assert environment.python() is None
    assert "uv" in environment.prepared().reason

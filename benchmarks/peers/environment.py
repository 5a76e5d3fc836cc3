"""The environments that the peers run in: made once from their requirements, kept in the user's cache.

    python = environment.python()         # None: it cannot be made here; environment.prepared().reason says why
    python = environment.python(environment.TEXTS)
    python = environment.product()        # headstart as its users have it, without what development brings

requirements.txt, and requirements-texts.txt and requirements-domains*.txt likewise, is resolved anew by

    uv pip compile --no-header --universal --python-version 3.11 --output-file requirements.txt requirements.in
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headstart.files import cache_directory

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
TEXTS = Path(__file__).with_name("requirements-texts.txt")
DOMAINS = Path(__file__).with_name("requirements-domains.txt")
DOMAINS_DEEP = Path(__file__).with_name("requirements-domains-deep.txt")
ROOT = Path(__file__).parents[2]
PRODUCT = ROOT / "requirements.lock"
LIMIT = 1800.0  # seconds to install: some gigabytes, over a slow line
SHOWN = 300  # characters of what a failed step said
CHECKS = {
    REQUIREMENTS: "import fastai.vision.all, sklearn, timm, torch, torchvision",
    TEXTS: "import datasets, setfit, sklearn, torch",
    DOMAINS: "import ot, skada, sklearn",
    DOMAINS_DEEP: "import skada.deep, timm, torch, torchvision",
    PRODUCT: "import headstart",
}
PYTHON = Path("Scripts", "python.exe") if os.name == "nt" else Path("bin", "python")


@dataclass(frozen=True)
class Prepared:
    """The environment's Python, or the reason why there is none."""

    python: Path | None
    reason: str = ""


def python(requirements: Path | None = None) -> Path | None:
    """The Python that runs the peers, or None where it cannot be had (the reason goes to stderr).

    Args:
        requirements: which environment; None: that of `REQUIREMENTS`.
    """
    made = prepared(requirements)
    if made.python is None:
        print(f"no environment for the peers: {made.reason}", file=sys.stderr)
    return made.python


@functools.cache
def product() -> Path | None:
    """The Python of an environment with headstart, installed from this checkout, and its own dependencies alone.

    Their versions are the locked ones. What development brings changes what is measured: pandas, where it is there, is
    imported by scikit-learn, and of an editable installation the bytecode may be missing.
    """
    from uv import find_uv_bin

    made = python(PRODUCT)
    if made is not None:  # it may have been made of the code of another day
        again = ("--quiet", "--no-deps", "--reinstall", "--compile-bytecode", "--python", str(made), str(ROOT))
        _run(find_uv_bin(), "pip", "install", *again)
    return made


def lacking(*folders: Path, requirements: Path | None = None) -> str:
    """Why a benchmark beside the peers cannot be run here; empty: it can.

    Args:
        folders: of the data sets that it reads.
        requirements: as for :func:`python`.
    """
    if absent := [folder.name for folder in folders if not folder.is_dir()]:
        return f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} absent"
    made = prepared(requirements)
    return "" if made.python is not None else f"no environment for the peers: {made.reason}"


@functools.cache
def prepared(requirements: Path | None = None) -> Prepared:
    """The environment for the present requirements, made if it is not there yet. Tried once in a process."""
    place = directory(requirements)
    if (place / PYTHON).exists():
        return Prepared(place / PYTHON)
    try:
        _make(place, requirements or REQUIREMENTS)
    except (OSError, subprocess.SubprocessError, ImportError) as error:
        return Prepared(None, _words(error))
    return Prepared(place / PYTHON)


def directory(requirements: Path | None = None) -> Path:
    """Where the environment for the present requirements lies, whether or not it has been made."""
    return cache_directory() / "peers" / hashlib.sha256((requirements or REQUIREMENTS).read_bytes()).hexdigest()[:16]


def _make(place: Path, requirements: Path) -> None:
    """Make the environment beside its place, try it, and put it there: it is whole, or it is absent.

    A virtual environment may be renamed: only the scripts in its `bin` know its old name, and none of them is used.
    """
    from uv import find_uv_bin

    place.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent))
    try:
        interpreter = building / PYTHON
        print(f"installing the peers of {requirements.name}, once", file=sys.stderr, flush=True)
        _run(sys.executable, "-m", "venv", "--without-pip", str(building))
        # Compiled as a user's packages are by pip, or the first run would pay for that.
        how = ("--quiet", "--compile-bytecode", "--python", str(interpreter))
        if requirements == PRODUCT:
            _run(find_uv_bin(), "pip", "install", *how, "--constraint", str(PRODUCT), str(ROOT))
        else:
            _run(find_uv_bin(), "pip", "sync", *how, str(requirements))
        _run(str(interpreter), "-c", CHECKS[requirements])
        shutil.rmtree(place, ignore_errors=True)  # a damaged one, whose Python is gone
        os.replace(building, place)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _run(*command: str) -> None:
    """Run one step, within the limit.

    Raises:
        subprocess.SubprocessError: it failed, or took too long.
    """
    # The step must see its own environment, not the one that the benchmark runs in.
    clean = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    subprocess.run(command, check=True, capture_output=True, text=True, env=clean, timeout=LIMIT)


def _words(error: Exception) -> str:
    """One line that may stand in a results file: no addresses, no paths of this machine."""
    if isinstance(error, subprocess.CalledProcessError):
        step = Path(str(error.cmd[0])).name + " " + " ".join(str(part) for part in error.cmd[1:3])
        # The cause stands at the end, of a traceback as of uv's chain of causes.
        said = " ".join(_without_places(error.stderr or error.stdout or "").split())
        return f"{step} ended with {error.returncode}: {said[-SHOWN:]}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{Path(str(error.cmd[0])).name} took more than {error.timeout:.0f} s"
    return " ".join(_without_places(f"{type(error).__name__}: {error}").split())[:SHOWN]


def _without_places(text: str) -> str:
    """`text` without addresses and absolute paths."""
    text = re.sub(r"\w+://[^\s)\"'`,]+", "(address)", text)
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[/\\][^\s)\"'`:,]+", "(path)", text)

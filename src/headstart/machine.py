"""What this process runs on and what it costs: versions, cores, memory, seconds."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

PACKAGES = ("headstart", "torch", "timm", "numpy", "scikit-learn", "pillow", "openvino")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """The machine a result was measured on."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def cores() -> int:
    """Processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def features() -> str:
    """What the processor can do (its instruction sets), as one string: compiled things depend on it."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith(("flags", "Features")):
                    return " ".join(sorted(line.partition(":")[2].split()))
    return f"{platform.machine()} {platform.processor()}"


def release() -> None:
    """Give freed memory back to the system, where the C library would keep it (glibc): hundreds of MiB after a peak."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Products of matrices have one thread each: of many small ones, more of them only wait for each other."""
    with _pools().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _pools() -> ThreadpoolController:
    """The thread pools of this process; to find them takes longer than a small fit."""
    import scipy.linalg  # noqa: F401 - it has a BLAS of its own, of which only what is loaded is found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


@dataclass(frozen=True)
class Spent:
    """Wall and CPU seconds, and the highest resident memory in MiB."""

    wall: float
    cpu: float
    memory_mb: float


class Meter:
    """Measures wall seconds, CPU seconds of the process, and the highest resident memory while it is open.

    Memory is sampled every 50 ms, so that each trial has a peak of its own.
    """

    def __enter__(self) -> Meter:
        import psutil

        self._process = psutil.Process()
        self._peak = self._process.memory_info().rss
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="headstart-meter", daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._final = self.spent()

    def spent(self) -> Spent:
        """What was spent so far, or, once closed, in all."""
        if self._stop.is_set() and hasattr(self, "_final"):
            return self._final
        self._peak = max(self._peak, self._process.memory_info().rss)
        return Spent(time.perf_counter() - self._wall, time.process_time() - self._cpu, round(self._peak / 2**20, 1))

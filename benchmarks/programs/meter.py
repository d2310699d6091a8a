"""What a section of a program costs its process: CPU, time, memory."""

from __future__ import annotations

import importlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

# Windows has none.
resource: Any = importlib.import_module("resource") if os.name == "posix" else None


def cpu_seconds() -> tuple[float, float]:
    """Return the user and the system time of this process so far."""
    if resource is None:
        times = os.times()
        return times.user, times.system
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def peak_rss_kib() -> int | None:
    """Return the most memory that this process has had resident, in KiB; None where it cannot be told."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux a process inherits that of the one which started it.
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    if resource is None:
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Octets there, KiB elsewhere.
    return peak // 1024 if platform.system() == "Darwin" else peak


class Meter:
    """Measures one section: call `start`, then `stop`."""

    def __init__(self) -> None:
        self._cpu = (0.0, 0.0)
        self._time = 0.0

    def start(self) -> None:
        """Begin the section."""
        self._cpu = cpu_seconds()
        self._time = time.perf_counter()

    def stop(self) -> dict[str, Any]:
        """End the section, and return what it cost: seconds of the clock and of CPU, and the peak of memory."""
        seconds = time.perf_counter() - self._time
        user, system = cpu_seconds()
        return {
            "seconds": seconds,
            "user_seconds": user - self._cpu[0],
            "system_seconds": system - self._cpu[1],
            "peak_rss_kib": peak_rss_kib(),
        }


def report(measured: dict[str, Any]) -> None:
    """Hand the result to whoever runs this program: one line of JSON."""
    print(json.dumps(measured), flush=True)

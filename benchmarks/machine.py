"""The facts of the machine that figures are worthless without. Nothing here tells whose machine it is."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("pyinfra", "clickhouse-connect")


def facts() -> dict[str, Any]:
    """Return processor, memory, load and versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "memory_gib": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def text(known: dict[str, Any]) -> str:
    """Return the facts in one line."""
    versions = ", ".join(f"{name} {known[name]}" for name in ("python", *_PACKAGES))
    return (
        f"{known['cores']} cores ({known['cpu']}), {known['memory_gib']} GiB, load {known['load_before']} before; "
        f"{known['system']}, kernel {known['kernel']}; {versions}"
    )


def vector() -> str:
    """Return which Vector an embedded stack has here: the installed one's version, or that there is a substitute."""
    program = shutil.which("vector")
    if not program:
        return "the substitute for Vector"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _field(path: str, name: str) -> str:
    """Return the first value of a `name: value` file of the kernel's, or `unknown`."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"

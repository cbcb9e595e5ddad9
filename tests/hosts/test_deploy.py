"""The real deploy command against real hosts over SSH."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .conftest import HostFactory

COMMAND = Path(sys.executable).with_name("cvat-analytics")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=400)


def test_fresh(host_factory: HostFactory, inventory: Callable[..., Path]) -> None:
    host = host_factory()
    path = inventory(host)
    done = run("deploy", "--inventory", path)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    done = run("smoke", "--inventory", path)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    done = run("deploy", "--inventory", path)
    print(done.stdout, done.stderr)
    assert done.returncode == 0

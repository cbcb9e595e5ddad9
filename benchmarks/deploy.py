"""The deploy to one host: fresh, and with nothing to change.

The host is one of the lab of tests/hosts: a systemd host in a container, reached over SSH, packages from a local
mirror.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import BenchmarkError, Measurement, Report, Target, tail
from cvat_analytics.base.project import ROOT
from tests.hosts import docker_engine, inventory
from tests.hosts.lab import lab
from tests.hosts.repository import RepositoryServer

if TYPE_CHECKING:
    from benchmarks.sections import Say

SYSTEM = "bookworm"
NO_CHANGE_SECONDS = 5

_PROGRAMS = Path(sys.executable).parent
_CHANGED = re.compile(r"^(\d+) of (\d+) operations changed something", re.MULTILINE)


def run(runs: int, say: Say) -> Report:
    """Boot a host, deploy to it, deploy again without a change as often as wanted, and report."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, docker_engine.engine() as client:
        directory = Path(name)
        for part in ("lab", "mirror", "inventory"):
            (directory / part).mkdir()
        with (
            lab(client, directory / "lab", outbound=False) as running,
            RepositoryServer.running(directory / "mirror", running.packages.gateway) as server,
        ):
            say(f"booting a host ({SYSTEM})")
            path = inventory.write(
                directory / "inventory", running.start(SYSTEM), **server.complete().settings()
            )
            say("a fresh deploy")
            fresh, output = _deploy(path)
            changed = _CHANGED.search(output)
            if not changed:
                raise BenchmarkError(f"the fresh deploy does not say what it changed:\n{output}")
            deploys, plain = [], []
            for number in range(runs + 1):
                say(
                    f"runs without a change, {number} of {runs}"
                    if number
                    else "runs without a change, to warm up"
                )
                deploys.append(_unchanged(path))
                # in turn, so that a slow moment of the machine does not hit one of them only
                plain.append(_timed([_PROGRAMS / "pyinfra", path, "deploy.py", "-y"])[0])
    ours = Measurement("no change: cvat-analytics deploy", deploys[1:])
    return Report(
        f"deploy: one host ({SYSTEM}) for everything, over SSH with sudo, packages from a local mirror",
        [
            Measurement("fresh: cvat-analytics deploy", [fresh]),
            ours,
            Measurement("no change: pyinfra itself", plain[1:]),
            Measurement("operations of the deploy", [int(changed[2])], unit=""),
            Measurement("of them, that changed a fresh host", [int(changed[1])], unit=""),
        ],
        [Target("no-change run", ours.median, "at most", NO_CHANGE_SECONDS, "s")],
        ["The fresh deploy is one run."],
    )


def _deploy(path: Path) -> tuple[float, str]:
    return _timed([_PROGRAMS / "cvat-analytics", "deploy", "--inventory", path])


def _unchanged(path: Path) -> float:
    """Run our deploy, require that it changes nothing, and return its seconds."""
    seconds, output = _deploy(path)
    if not output.startswith("Nothing to change"):
        raise BenchmarkError(f"a run with nothing to change changed something:\n{output}")
    return seconds


def _timed(command: Sequence[object]) -> tuple[float, str]:
    """Run a command as an operator does; return seconds of the whole process and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        said = tail(done.stdout + done.stderr)
        raise BenchmarkError(
            f"`{Path(str(command[0])).name} {command[1]}` ended with {done.returncode}:\n{said}"
        )
    return seconds, done.stdout

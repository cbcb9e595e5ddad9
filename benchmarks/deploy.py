"""The deploy to one host: fresh, with nothing to change, and beside an Ansible playbook that does the same.

The host is one of the lab of tests/hosts: a systemd host in a container, reached over SSH, packages from a local
mirror. Both tools use the same host, user, key and sudo, and find the same state.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import layout
from benchmarks.ansible_runs import DEFAULTS, TUNED, Ansible, Run, Variant
from benchmarks.report import BenchmarkError, Measurement, Report, Target, ratio, tail
from cvat_analytics.base.project import ROOT
from deploys import facts
from tests.hosts import docker_engine, inventory
from tests.hosts.lab import Lab, lab
from tests.hosts.repository import RepositoryServer

if TYPE_CHECKING:
    from benchmarks.sections import Say
    from tests.hosts.host import Host

SYSTEM = "bookworm"
NO_CHANGE_SECONDS = 5
TIMES_FASTER = 4

_PROGRAMS = Path(sys.executable).parent
_CHANGED = re.compile(r"^(\d+) of (\d+) operations changed something", re.MULTILINE)


@dataclass
class _Figures:
    """What the measuring has yielded. `void` says why there is no comparison with Ansible."""

    fresh: float
    operations: int
    changed: int
    deploy: list[float] = field(default_factory=list)
    pyinfra: list[float] = field(default_factory=list)
    ansible: dict[Variant, list[Run]] = field(default_factory=lambda: {DEFAULTS: [], TUNED: []})
    fresh_ansible: float = 0
    void: str = ""


def run(runs: int, say: Say) -> Report:
    """Boot two hosts, measure on the first, prove on the second that the playbook is a deploy, and report."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, docker_engine.engine() as client:
        directory = Path(name)
        for part in ("lab", "mirror", "ours", "playbook"):
            (directory / part).mkdir()
        with (
            lab(client, directory / "lab", outbound=False) as running,
            RepositoryServer.running(directory / "mirror", running.packages.gateway) as server,
        ):
            settings = server.complete().settings()
            say(f"booting a host ({SYSTEM})")
            host = running.start(SYSTEM)
            path = inventory.write(directory / "ours", host, **settings)
            figures = _fresh(path, say)
            with closing(_ansible(path, host)) as ansible:
                _no_change(figures, path, ansible, runs, say)
            _prove_playbook(figures, running, directory / "playbook", settings, say)
    return _report(figures)


def _fresh(path: Path, say: Say) -> _Figures:
    say("a fresh deploy")
    seconds, output = _timed([_PROGRAMS / "cvat-analytics", "deploy", "--inventory", path])
    found = _CHANGED.search(output)
    if not found:
        raise BenchmarkError(f"the fresh deploy does not say what it changed:\n{output}")
    return _Figures(fresh=seconds, changed=int(found[1]), operations=int(found[2]))


def _no_change(figures: _Figures, path: Path, ansible: Ansible, runs: int, say: Say) -> None:
    """Measure each tool in turn, so that a slow moment of the machine does not hit one of them only."""
    for number in range(runs + 1):
        say(
            "runs without a change, to warm up"
            if number == 0
            else f"runs without a change, {number} of {runs}"
        )
        ours = _unchanged(path)
        plain, _ = _timed([_PROGRAMS / "pyinfra", path, "deploy.py", "-y"])
        theirs = {} if figures.void else {variant: ansible.run(variant) for variant in figures.ansible}
        if number > 0:
            figures.deploy.append(ours)
            figures.pyinfra.append(plain)
            for variant, run in theirs.items():
                figures.ansible[variant].append(run)
        for variant, run in theirs.items():
            if run.changes:
                figures.void = f"Ansible ({variant.name}) changed {', '.join(run.changes)}"
                _timed([_PROGRAMS / "cvat-analytics", "deploy", "--inventory", path])


def _unchanged(path: Path) -> float:
    """Run our deploy, require that it changes nothing, and return its seconds."""
    seconds, output = _timed([_PROGRAMS / "cvat-analytics", "deploy", "--inventory", path])
    if not output.startswith("Nothing to change"):
        raise BenchmarkError(f"a run with nothing to change changed something:\n{output}")
    return seconds


def _prove_playbook(
    figures: _Figures, running: Lab, directory: Path, settings: dict[str, Any], say: Say
) -> None:
    """Deploy a second fresh host with the playbook; what it leaves must pass our own smoke test."""
    say("a fresh deploy of another host with the playbook, and the smoke test on it")
    host = running.start(SYSTEM)
    path = inventory.write(directory, host, **settings)
    _timed([_PROGRAMS / "cvat-analytics", "secrets", "init", "--inventory", path])
    with closing(_ansible(path, host)) as ansible:
        figures.fresh_ansible = ansible.run(TUNED).seconds
    _timed([_PROGRAMS / "cvat-analytics", "smoke", "--inventory", path])


def _ansible(path: Path, host: Host) -> Ansible:
    """Lay the playbook's files out beside the inventory and return Ansible for it."""
    directory = path.parent.parent / "ansible"
    directory.mkdir(mode=0o700)
    # what the deploy itself sees of the host, because templates depend on its memory
    fact = facts.Host()
    state = fact.process(host.run(fact.command(packages=["none"])).output.splitlines())
    return Ansible(layout.write(path, state.memory, state.architecture, directory))


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


def _report(figures: _Figures) -> Report:
    ours = Measurement("no change: cvat-analytics deploy", figures.deploy)
    theirs = {
        variant: Measurement(f"no change: Ansible, {variant.name}", [each.seconds for each in runs])
        for variant, runs in figures.ansible.items()
        if runs
    }
    ratios = {variant: ratio(each, ours) for variant, each in theirs.items()}
    measurements = [
        Measurement("fresh: cvat-analytics deploy", [figures.fresh]),
        Measurement("fresh: Ansible, tuned", [figures.fresh_ansible]),
        ours,
        Measurement("no change: pyinfra itself", figures.pyinfra),
        *theirs.values(),
        *(
            Measurement(f"no change: times faster than Ansible, {variant.name}", [value], unit="x")
            for variant, value in ratios.items()
        ),
        Measurement("operations of the deploy", [figures.operations], unit=""),
        Measurement("of them, that changed a fresh host", [figures.changed], unit=""),
    ]
    if runs := figures.ansible[DEFAULTS]:
        measurements += [
            Measurement("tasks of the playbook without a change", [runs[0].tasks], unit=""),
            Measurement("of them, with each item of a loop counted", [runs[0].steps], unit=""),
        ]
    targets = [
        Target("no-change run", ours.median, "at most", NO_CHANGE_SECONDS, "s"),
        Target(
            "no-change run, against Ansible's defaults", ratios.get(DEFAULTS), "at least", TIMES_FASTER, "x",
            void=figures.void,
        ),
    ]  # fmt: skip
    notes = [
        "Judged against Ansible at its defaults. Tuned: pipelining, connections kept open, one fact, a known Python.",
        "The fresh deploys are one run each; the playbook's passed our smoke test.",
    ]
    title = f"deploy: one host ({SYSTEM}) for everything, over SSH with sudo, packages from a local mirror"
    return Report(title, measurements, targets, notes)

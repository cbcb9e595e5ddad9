"""What it costs to start a command: processor seconds of those that ask nobody, beside Python's own start.

Processor time, because that is what a command takes from the machine wherever it waits; of the whole process and of what it starts.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import BenchmarkError, Measurement, Report, Target, ratio, tail
from cvat_analytics.embedded import stack, starting

if TYPE_CHECKING:
    from benchmarks.sections import Say

LIMIT = 0.4
"""Processor seconds of any of these commands (issue 15)."""
_PROGRAM = str(Path(sys.executable).with_name("cvat-analytics"))


def run(runs: int, say: Say) -> Report:
    """Measure each command `runs` times, in turn with a Python that does nothing."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory, inventory = Path(name) / "stack", Path(name) / "inventory" / "hosts.py"
        say("starting a stack, and stopping it")
        starting.up(directory)
        stack.down(directory)
        _seconds([_PROGRAM, "init", str(inventory.parent)])
        inventory.write_text('clickhouse = vector = grafana = events_api = ["analytics.example.org"]\n')
        commands = {
            "--help": ["--help"],
            "users list --dir": ["users", "list", "--dir", str(directory)],
            "users list --inventory": ["users", "list", "--inventory", str(inventory)],
            "secrets --help": ["secrets", "--help"],
            "secrets init --inventory": ["secrets", "init", "--inventory", str(inventory)],
            "status --dir, of a stack that is down": ["status", "--dir", str(directory)],
        }
        bare: list[float] = []
        seconds: dict[str, list[float]] = {command: [] for command in commands}
        # in turn, so that a slow moment of the machine does not hit one of them only; the first round is a warm-up
        for number in range(runs + 1):
            say(f"round {number + 1} of {runs + 1}")
            bare.append(_seconds([sys.executable, "-c", "pass"]))
            for command, arguments in commands.items():
                # a stack that is down is a finding: exit code 1
                seconds[command].append(
                    _seconds([_PROGRAM, *arguments], exit_code=int(arguments[0] == "status"))
                )
    python = Measurement("python -c pass", bare[1:])
    measured = [Measurement(command, each[1:]) for command, each in seconds.items()]
    return Report(
        "commands: processor seconds (user and system) from start to exit",
        [python, *measured],
        [Target(each.name, each.median, "at most", LIMIT, "s") for each in measured],
        [f"{each.name}: {ratio(each, python):.1f} times Python's own start." for each in measured],
    )


def _seconds(command: Sequence[str], exit_code: int = 0) -> float:
    """Run a command, whose exit code must be that, and return the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != exit_code:
        raise BenchmarkError(
            f"`{' '.join(command[1:])}` ended with {done.returncode}:\n{tail(done.stdout + done.stderr)}"
        )
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

"""The project's own command, run as an operator runs it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("cvat-analytics")


@dataclass(frozen=True)
class Outcome:
    """What a run of the command printed, and how it ended."""

    exit_code: int
    output: str
    error: str

    @property
    def text(self) -> str:
        """Return everything that was printed."""
        return self.output + self.error


def cvat_analytics(*arguments: object, timeout: float = 300) -> Outcome:
    """Run `cvat-analytics` with `arguments`, whatever it ends with."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def deploy(inventory: Path, *arguments: object, timeout: float = 300) -> Outcome:
    """Run `cvat-analytics deploy` and require that it succeeds."""
    outcome = cvat_analytics("deploy", "--inventory", inventory, *arguments, timeout=timeout)
    assert outcome.exit_code == 0, outcome.text
    return outcome


def smoke(inventory: Path) -> list[str]:
    """Run the smoke test, require that it passes, and return its lines."""
    outcome = cvat_analytics("smoke", "--inventory", inventory)
    assert outcome.exit_code == 0, outcome.text
    return outcome.output.splitlines()

"""The project's own command, run as an operator runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import patient

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


def cvat_analytics(
    *arguments: object, timeout: float = 300, program: Sequence[object] = (PROGRAM,)
) -> Outcome:
    """Run `cvat-analytics` with `arguments`, whatever it ends with."""
    done = subprocess.run(
        [*map(str, (*program, *arguments))], capture_output=True, text=True, timeout=timeout, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def deploy(inventory: Path, *arguments: object, timeout: float = 300) -> Outcome:
    """Run `cvat-analytics deploy` and require that it succeeds."""
    outcome = cvat_analytics("deploy", "--inventory", inventory, *arguments, timeout=timeout)
    assert outcome.exit_code == 0, outcome.text
    return outcome


def smoke(inventory: Path) -> list[str]:
    """Run the smoke test, which may see a slow machine, require that it passes, and return its lines."""
    outcome = cvat_analytics("smoke", "--inventory", inventory, timeout=900, program=patient.COMMAND)
    assert outcome.exit_code == 0, outcome.text
    return outcome.output.splitlines()

"""The project's own command, run as an operator runs it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from . import resident

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


def cvat_analytics(*arguments: object, timeout: float = 300, patient: bool = False) -> Outcome:
    """Run `cvat-analytics` with `arguments`, whatever it ends with; `patient`: it may see a slow machine."""
    return Outcome(*resident.run([str(PROGRAM), *map(str, arguments)], timeout, patient=patient))


def deploy(inventory: Path, *arguments: object, timeout: float = 300) -> Outcome:
    """Run `cvat-analytics deploy` and require that it succeeds."""
    outcome = cvat_analytics("deploy", "--inventory", inventory, *arguments, timeout=timeout)
    assert outcome.exit_code == 0, outcome.text
    return outcome


def smoke(inventory: Path) -> list[str]:
    """Run the smoke test, which may see a slow machine, require that it passes, and return its lines."""
    outcome = cvat_analytics("smoke", "--inventory", inventory, timeout=900, patient=True)
    assert outcome.exit_code == 0, outcome.text
    return outcome.output.splitlines()

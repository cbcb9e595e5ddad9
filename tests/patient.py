"""The time limits of the smoke test and of `status`, far beyond what a slow machine needs: for tests that are not about them.

People wait a minute at most. A healthy smoke test on a machine with much else to do has taken half of that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import causes, flow, health, smoke, smoke_export, units, work
from cvat_analytics.connect import remote, ssh

_FACTOR = 10
_LIMITS = (
    (causes, "STEP_SECONDS"),
    (causes, "WHOLE_SECONDS"),
    (causes, "TIDYING_SECONDS"),
    (smoke_export, "_PATIENCE"),
    (health, "_TIMEOUT"),
    (work, "TIMEOUT"),
    (flow, "TIMEOUT"),
    (units, "_PATIENCE"),
    (remote, "_FOR_NOTE"),
    (ssh, "_LOGIN"),
)

COMMAND = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests import patient; patient.main()",
)
"""The project's own command with these limits, as a process of its own."""


def raise_limits(change: Callable[[object, str, object], None] = setattr) -> None:
    """Raise each limit, also of the smoke test's cases."""
    for module, name in _LIMITS:
        change(module, name, _FACTOR * getattr(module, name))
    cases = [replace(case, timeout=_FACTOR * case.timeout) for case in smoke.read_cases()]
    change(smoke, "read_cases", lambda: cases)


def main() -> None:
    """Run the command that the arguments name."""
    from cvat_analytics.__main__ import main as command

    raise_limits()
    sys.argv[0] = str(Path(sys.executable).with_name("cvat-analytics"))
    command()

"""What a run tells the command that started it, as data: pyinfra's log is for people and is passed on unread.

One JSON object a line, in the file that the environment names (`FILE`); without it nobody asked, and nothing is written.
`watch_config.py` tells what pyinfra itself knows, our own modules what only they do.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = "CVAT_ANALYTICS_DEPLOY_REPORT"
"""The environment variable that names the file."""

AGREED = "CVAT_ANALYTICS_DEPLOY_AGREED"
"""The environment variable that is there when somebody has agreed to what is deleted for good."""

HAS_LEFT = "has left this host's groups"
"""What is said of a part that is removed; nothing is deleted then."""


def agreed() -> bool:
    """Return whether what is deleted for good may be."""
    return AGREED in os.environ


LEAVING = "CVAT_ANALYTICS_DEPLOY_LEAVING"
"""The environment variable with the components that this run leaves as they are, as their turn to be upgraded comes in another; it is
there, empty perhaps, where runs take turns."""

HELD = "CVAT_ANALYTICS_DEPLOY_HELD"
"""The environment variable with the name of the upgrade that this run is a turn of, which holds the lock of all hosts (deploys/lock.py)."""


def leaving() -> tuple[str, ...]:
    """Return the components that this run leaves as they are."""
    return tuple(filter(None, os.environ.get(LEAVING, "").split(",")))


MOVING = "CVAT_ANALYTICS_DEPLOY_MOVING"
"""The environment variable with the move of a part to which this run belongs (deploys/moving.py)."""


_told: set[str] = set()


def told(what: str) -> bool:
    """Return whether this process has told that `what` happened."""
    return what in _told


def tell(what: str, **facts: str) -> bool:
    """Add a line to the report: `what` happened, and the facts of it. Return whether there is a report."""
    _told.add(what)
    path = os.environ.get(FILE)
    if path:
        with Path(path).open("a") as report:
            report.write(json.dumps({"what": what, **facts}) + "\n")
    return bool(path)

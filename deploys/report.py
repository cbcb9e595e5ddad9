"""What a run tells the command that started it, as data: pyinfra's log is for people and is passed on unread.

One JSON object a line, in the file that the environment names (`FILE`); without it nobody asked, and nothing is written.
`watch_config.py` has pyinfra call `Callbacks`; what only this project knows, its own modules `tell`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pyinfra.api.state import BaseStateCallback

FILE = "CVAT_ANALYTICS_DEPLOY_REPORT"
"""The environment variable that names the file."""


def tell(what: str, **facts: str) -> bool:
    """Add a line to the report: `what` happened, and the facts of it. Return whether there is a report."""
    path = os.environ.get(FILE)
    if path:
        with Path(path).open("a") as report:
            report.write(json.dumps({"what": what, **facts}) + "\n")
    return bool(path)


class Callbacks(BaseStateCallback):
    """What pyinfra itself knows: which hosts it could not connect to, and that it has begun to change something."""

    @staticmethod
    def host_connect_error(state: Any, host: Any, error: Exception) -> None:
        """Tell which host was not reached, and pyinfra's reason."""
        tell("unreachable", host=host.name, reason=str(error.args[0] if error.args else error))

    @staticmethod
    def operation_start(state: Any, op_hash: str) -> None:
        """Tell that the first change, or one after it, is at hand; everything before was reading."""
        tell("begun")

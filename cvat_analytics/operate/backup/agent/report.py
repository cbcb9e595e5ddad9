"""What the agent says: one line of JSON for each thing that happens, and in the end one with what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cvat_analytics.base.codes import Code

FAILED, BAD_INPUT, AWAY = 1, 2, 3
"""Exit codes, as of every command: a step failed, bad input or settings, something cannot be reached."""


class AgentError(Exception):
    """One sentence for the operator, with the code of its cause and the exit code."""

    def __init__(self, code: Code, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code
        self.exit_code = exit_code


class DamagedError(AgentError):
    """What is at the target is not what was put there."""


def say(step: str, state: str, **more: Any) -> None:
    """Print a line: `step`, `state` (begun, going on, done, note), and what there is to say of it.

    `done` and `total` are numbers of the same kind (bytes, tables), `message` a sentence.
    """
    # of a run by systemd nobody watches how far it is, and each second would be a line in the host's log for good
    if state == "going on" and "JOURNAL_STREAM" in os.environ:
        return
    print(json.dumps({"step": step, "state": state, **more}), flush=True)


def result(exit_code: int, message: str = "", **more: Any) -> int:
    """Print the last line, whose step is `result`: the exit code, the message of an error (and as `code` its code), and what was asked for. Return the code."""
    print(json.dumps({"step": "result", "exit_code": exit_code, "message": message, **more}), flush=True)
    return exit_code


@contextmanager
def step(name: str, **more: Any) -> Iterator[dict[str, Any]]:
    """Say that a step has begun and that it is done; what is put into the mapping is said with its end."""
    say(name, "begun", **more)
    found: dict[str, Any] = {}
    yield found
    say(name, "done", **found)

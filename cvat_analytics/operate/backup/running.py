"""Run the agent, pass its progress on, and turn its last line into an answer or one of our errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code, known
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.base.project import LIBRARY
from cvat_analytics.operate.backup import keys
from cvat_analytics.operate.backup.agent.config import Config

MODULE = "cvat_analytics.operate.backup.agent"
Said = dict[str, Any]
Tell = Callable[[Said], object]
_ERRORS = {2: InputError, 3: UnreachableError}


def answer(lines: Iterable[str], tell: Tell) -> Said:
    """Return the last of the agent's lines; `tell` is told of the others. Raises CvatAnalyticsError with what went wrong."""
    for line in lines:
        try:
            said: Said = json.loads(line)
        except ValueError:
            continue
        if said.get("step") != "result":
            tell(said)
            continue
        if said["exit_code"]:
            # an agent of before says none, and a newer one perhaps one that is not known here
            named, message = said.get("code", Code.BACKUP_AGENT.value), said["message"]
            code = known(named) or Code.BACKUP_AGENT
            text = message if code == named else f"{message} (its code is {named})"
            raise _ERRORS.get(said["exit_code"], CvatAnalyticsError)(code, text)
        return said
    raise CvatAnalyticsError(
        Code.BACKUP_AGENT, "the agent of backups ended without a word. Run the same command again"
    )


def inventory(target: str, recovery_key: str, name: str, tell: Tell) -> bytes:
    """Return the encrypted archive of the inventory of a backup, where there is no stack. Raises as `answer` does."""
    with tempfile.TemporaryDirectory() as directory:
        password, config = Path(directory, "password"), Path(directory, "agent.json")
        write_atomically(password, keys.derived_password(recovery_key) + "\n")
        write_atomically(config, Config("", f"{directory}/state", target, str(password)).text())
        place = here(config, ["fetch", name, "inventory"], tell)["place"]
        return Path(place).read_bytes()


def wait_until_held(lines: Iterator[str]) -> None:
    """Return as soon as the agent that says these lines holds the lock of restores. Raises as `answer` does."""
    before = []
    for line in lines:
        if '"held"' in line:
            return
        before.append(line)
    answer(before, lambda said: None)
    # it ended, and fine: whoever does not know what to hold
    answer((), lambda said: None)


def started(config: Path, arguments: Iterable[str]) -> subprocess.Popen[str]:
    """Start the agent on this machine."""
    command = [sys.executable, "-m", MODULE, "--config", str(config), *arguments]
    environment = os.environ | {"PYTHONPATH": str(LIBRARY.parent)}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    )


@contextmanager
def held_here(config: Path) -> Iterator[None]:
    """Keep other restores on this machine away meanwhile. Raises as `answer` does."""
    with started(config, ["hold"]) as process:
        try:
            wait_until_held(iter(process.stdout or ()))
            yield
        finally:
            process.terminate()


def here(config: Path, arguments: Iterable[str], tell: Tell) -> Said:
    """Run the agent on this machine. Raises as `answer` does."""
    with started(config, arguments) as process:
        try:
            return answer(process.stdout or (), tell)
        except BaseException:
            process.terminate()
            raise

"""Start, find and stop the processes of an embedded stack. A process outlives the command that started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.connect.http import http_client


@dataclass(frozen=True)
class Part:
    """One process of the stack. `applied` stands for everything that needs a restart when it changes."""

    name: str
    command: list[str]
    ready_url: str
    applied: str
    environment: dict[str, str] = field(default_factory=dict)


class Processes:
    """The processes whose notes are in `directory`/run and whose logs are in `directory`/var/log."""

    def __init__(self, directory: Path) -> None:
        self._run = directory / "run"
        self._logs = directory / "var" / "log"

    def log(self, name: str) -> Path:
        """Return where the part `name` logs to."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Return the process id of the part `name`, or None when it does not run."""
        note = self._note(name)
        pid = int(note.get("pid", 0))
        # ticks are counted since the machine's start: after another one they are of a process of somebody else's
        known = (
            _started(pid) == note.get("started") and note.get("boot", _boot()) == _boot() if pid else False
        )
        return pid if known else None

    def started(self, name: str) -> float | None:
        """Return when the part `name` was started, in seconds since 1970; None when it never was."""
        try:
            return (self._run / f"{name}.json").stat().st_mtime
        except FileNotFoundError:
            return None

    def applied(self, name: str) -> str:
        """Return what the part `name` was last started with, empty when it never was."""
        return self._note(name).get("applied", "")

    def ensure(self, part: Part, timeout: float) -> bool:
        """Make `part` run with what it stands for now, and wait until it is ready; return whether it was started.

        Raises CvatAnalyticsError with the last lines of its log when it ends, or is not ready within `timeout` seconds.
        """
        pid = self.pid(part.name)
        if pid and self._note(part.name).get("applied") == part.applied:
            # one that is healthy may be slow on a busy machine
            if is_ready(part.ready_url, 10):
                return False
            self.stop(part.name)
        elif pid:
            self.stop(part.name)
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(part.name).open("ab") as log:
            process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
                # they talk to each other, and Vector would do that through the environment's proxy
                env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
                | part.environment,
            )
        note = {
            "pid": process.pid,
            "started": _started(process.pid),
            "boot": _boot(),
            "applied": part.applied,
        }
        write_atomically(self._run / f"{part.name}.json", json.dumps(note))
        deadline = time.monotonic() + timeout
        while not is_ready(part.ready_url):
            if process.poll() is not None:
                raise CvatAnalyticsError(
                    Code.PART_NOT_STARTED,
                    f"{part.name} ended at once (exit code {process.returncode}). {self._log_tail(part.name)}",
                )
            if time.monotonic() > deadline:
                raise CvatAnalyticsError(
                    Code.PART_NOT_STARTED,
                    f"{part.name} was not ready within {timeout:.0f} s. {self._log_tail(part.name)}",
                )
            time.sleep(0.05)
        return True

    def stop(self, name: str) -> bool:
        """Stop the part `name`: gently, and by force after fifteen seconds. Return whether it ran."""
        pid = self.pid(name)
        if pid is None:
            return False
        started = _started(pid)
        for number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and _started(pid) == started:
                time.sleep(0.02)
            if _started(pid) != started:
                break
        (self._run / f"{name}.json").unlink(missing_ok=True)
        return True

    def _note(self, name: str) -> dict[str, str]:
        try:
            note: dict[str, str] = json.loads((self._run / f"{name}.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return note

    def _log_tail(self, name: str) -> str:
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()[-5:]
        except FileNotFoundError:
            lines = []
        return "\n".join([f"Its log {self.log(name)} ends with:", *lines])


def _boot() -> str:
    """Return which start of the machine this is (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> str | None:
    """Return when the process `pid` started, in clock ticks: with the pid it names a process for good (proc(5))."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a dead child of our own would stay visible until it is waited for
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # its first thread can be dead, and others still hold the files
    ended = fields[0] in ("Z", "X") and int(fields[17]) <= 1
    return None if ended else fields[19]


def is_ready(url: str, timeout: float = 2.0) -> bool:
    """Return whether `url` answers with 200, waiting so many seconds at most each time."""
    import httpx

    try:
        with http_client(url, timeout=timeout) as asking:
            return asking.get(url).status_code == 200
    except httpx.HTTPError:
        return False

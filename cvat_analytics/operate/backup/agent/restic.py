"""Run restic, and say in one sentence what it complains of."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import AWAY, BAD_INPUT, FAILED, AgentError, DamagedError

MANIFEST = "manifest"
PARTS = ("tables", "grafana", "journal", "inventory")
NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z")
_MISSING = re.compile(
    r"unable to open config file|is there a repository at|config file .* does not exist", re.I
)
_HELD = re.compile(r"already locked.*? by PID (\d+) on (\S+).*?\(([\w.]+) ago\)", re.S)
_CAUSES: tuple[tuple[str, Code, int, str], ...] = (
    (r"wrong password or no key found", Code.RECOVERY_KEY, BAD_INPUT, "it was made with another recovery key. Put that one in the place of `backup_recovery_key` in secrets.json, or choose another target"),
    (r"no space left|not enough space|disk quota|insufficient storage|storagefull", Code.BACKUP_TARGET_FULL, FAILED, "it is full. Make room there (`cvat-analytics backup prune` keeps fewer), then run this again"),
    (r"access ?denied|invalidaccesskey|signature|the access key", Code.BACKUP_TARGET_REFUSES, BAD_INPUT, "it refuses the keys of S3. Give the right ones (docs/how-to/back-up.md)"),
    (r"permission denied \(|host key verification|permission denied, please", Code.BACKUP_TARGET_REFUSES, BAD_INPUT, "its SSH does not let root of this host in. Give it a key that is accepted there, and the other host's key in known_hosts"),
    (r"permission denied|read-only file system", Code.BACKUP_TARGET_REFUSES, BAD_INPUT, "it cannot be written. Give this user the right, or choose another target"),
    (r"connection refused|no such host|timeout|timed out|unreachable|could not resolve|connection reset|unable to start the sftp|broken pipe|EOF", Code.BACKUP_TARGET_AWAY, AWAY, "it cannot be reached. Look whether it is up, then run this again"),
)  # fmt: skip
_PASSED = (
    "PATH",
    "HOME",
    "SSH_AUTH_SOCK",
    "TMPDIR",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""What restic gets of the caller's environment: the keys of S3 where nobody has configured any, for an embedded stack or an operator who has lost all else."""
_DAMAGED = re.compile(
    r"ciphertext verification|invalid data returned|does not match|wrong hash|hash mismatch|not found in index",
    re.I,
)
_UNHEARD = 4
"""How often SSH is tried again to hear why it fails: one time in ten restic 0.14 ends first."""
_WAIT = 15.0
_TRIES_HERE, _TRIES = 4, 14
"""How often restic may try again, which it does for a quarter of an hour, also where a file is cut off: here seconds, over a network minutes."""


_LOCKED_FOR = 120.0
"""Seconds to wait for another restic: that of another host, or one that ends as the agent that started it was killed."""


class NoRepositoryError(AgentError):
    """There is nothing at the target yet."""


class UnheardError(AgentError):
    """SSH has failed, and restic ended before it had passed on why."""


class LockedError(AgentError):
    """Another restic is at work at the target."""


class Restic:
    """restic with the target and the passwords of the configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        if not shutil.which("restic"):
            raise AgentError(
                Code.RESTIC_FAILED, "restic is not installed. Run `sudo apt install restic`", BAD_INPUT
            )
        if not config.target:
            raise AgentError(
                Code.BACKUP_TARGET_MISSING,
                "no target: the setting `backup_target` is empty, and none was given",
                BAD_INPUT,
            )

    def run(
        self,
        *arguments: str,
        line: Callable[[dict[str, Any]], object] = lambda said: None,
        fine: Sequence[int] = (0,),
    ) -> str:
        """Return what it prints; `line` is told of each line of JSON as it comes. Raises AgentError.

        Where another restic is at work it waits, and looks whether that one has left a lock that nobody holds.
        """
        deadline, unheard = time.monotonic() + _LOCKED_FOR, 0
        while True:
            try:
                return self._run(arguments, line, fine)
            except UnheardError:
                unheard += 1
                if unheard > _UNHEARD:
                    raise
                continue
            except LockedError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1)
            with contextlib.suppress(LockedError):
                self._run(("unlock",), line, (0,))

    def _run(
        self, arguments: Sequence[str], line: Callable[[dict[str, Any]], object], fine: Sequence[int]
    ) -> str:
        command = ["restic", *self.config.options, *arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(),
            # no terminal of the caller's: ssh would ask there for a password
            start_new_session=True,
            # the agent has no threads when it starts one
            preexec_fn=_end_with_parent,
        )
        complaints: list[str] = []
        tries = _TRIES if ":" in self.config.target else _TRIES_HERE

        def complain(text: str) -> None:
            complaints.append(text)
            if sum("retrying after" in each for each in complaints) > tries:
                process.terminate()

        reader = threading.Thread(target=_read, args=(process.stderr, complain), daemon=True)
        reader.start()
        said: list[str] = []

        def take(text: str) -> None:
            said.append(text)
            if text.startswith("{"):
                with contextlib.suppress(ValueError):
                    line(json.loads(text))
                    if '"message_type":"status"' in text:
                        said.pop()

        try:
            _read(process.stdout, take)
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        reader.join()
        if code not in fine:
            # of a file that is cut off it says this first
            complaints = [each for each in complaints if "retrying after" not in each] or complaints
            raise self._error(code, complaints or said)
        return "\n".join(said)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _PASSED if name in os.environ}
        kept |= {
            "RESTIC_REPOSITORY": self.config.target,
            "RESTIC_PASSWORD_FILE": self.config.password_file,
            "RESTIC_CACHE_DIR": f"{self.config.state}/cache",
            "RESTIC_PROGRESS_FPS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if self.config.environment_file:
            for text in Path(self.config.environment_file).read_text().splitlines():
                name, equals, value = text.partition("=")
                if equals:
                    kept[name.strip()] = value.strip()
        return kept

    def _error(self, code: int, complaints: Sequence[str]) -> AgentError:
        text = " ".join(complaints)
        target = f"target {self.config.target}: "
        if _MISSING.search(text) and "wrong password" not in text:
            return NoRepositoryError(
                Code.BACKUP_UNKNOWN,
                f"{target}there is no backup yet. Make one with `cvat-analytics backup create`",
                BAD_INPUT,
            )
        if held := _HELD.search(text):
            whose = f"process {held[1]} of {held[2]} has locked it, {held[3]} ago"
            return LockedError(
                Code.BACKUP_BUSY,
                f"{target}another restic is at work there: {whose}. Wait for its end; where it was killed, a lock counts no more after half an hour, "
                f"and at once by `restic -r {shlex.quote(self.config.target)} --password-file {self.config.password_file} unlock --remove-all`",
            )
        if "already locked" in text:
            return LockedError(
                Code.BACKUP_BUSY,
                f"{target}another restic is at work there. Wait for its end, then run this again",
            )
        if "unable to start the sftp" in text and "subprocess" not in text:
            return UnheardError(
                Code.BACKUP_TARGET_AWAY,
                f"{target}it cannot be reached. Look whether it is up, then run this again",
                AWAY,
            )
        for pattern, cause, exit_code, reason in _CAUSES:
            if re.search(pattern, text, re.I):
                return AgentError(cause, f"{target}{reason}", exit_code)
        last = next((each for each in reversed(complaints) if each.strip()), f"exit code {code}")
        said = f"{target}restic says: {last.strip()[:400]}"
        if _DAMAGED.search(text):
            return DamagedError(Code.BACKUP_DAMAGED, said)
        return AgentError(Code.RESTIC_FAILED, said)

    # the repository

    def reach(self) -> None:
        """Raise AgentError at once where nobody listens at the target: restic itself tries for a quarter of an hour."""
        target = self.config.target
        if target.startswith("s3:"):
            address = urlsplit(target[3:] if "://" in target else f"https://{target[3:]}")
            port = address.port or (80 if address.scheme == "http" else 443)
            try:
                socket.create_connection((address.hostname or "", port), _WAIT).close()
            except OSError as error:
                raise AgentError(
                    Code.BACKUP_TARGET_AWAY,
                    f"target {target}: it cannot be reached ({error.strerror or error}). Look whether it is up, then run this again",
                    AWAY,
                ) from None

    def open(self, *, create: bool = False) -> None:
        """Make sure that there is a repository that the password opens. With `create` it is made where there never was one.

        A place that had one and has it no more is not mounted, or was emptied: then none is made.
        """
        self.reach()
        known = Path(self.config.state) / "targets.json"
        targets: dict[str, str] = json.loads(known.read_text()) if known.exists() else {}
        target = self.config.target
        if target in targets and not create:
            return  # whatever comes next says what is wrong
        try:
            found = json.loads(self.run("cat", "config", "--no-lock"))["id"]
        except NoRepositoryError:
            if not create:
                raise
            if target in targets:
                raise AgentError(
                    Code.BACKUP_TARGET_EMPTIED,
                    f"target {target}: what was there before is away. Mount it, or, if it is really to begin anew, remove the line of it in {known}",
                    AWAY,
                ) from None
            self.run("init")
            found = json.loads(self.run("cat", "config", "--no-lock"))["id"]
        if targets.get(target) != found:
            known.write_text(json.dumps(targets | {target: found}, indent=1) + "\n")

    def unlock(self) -> None:
        """Take away the locks of runs that were killed: only those that nobody holds any more."""
        self.run("unlock")

    def backup(
        self,
        part: str,
        name: str,
        path: str,
        progress: Callable[[int, int], object],
        more: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Put a file or directory into the repository, and return what restic says of it: its snapshot's id, the bytes."""
        summary: dict[str, Any] = {}

        def line(said: dict[str, Any]) -> None:
            if said.get("message_type") == "status":
                progress(int(said.get("bytes_done", 0)), int(said.get("total_bytes", 0)))
            elif said.get("message_type") == "summary":
                summary.update(said)

        tags = [f"--tag={each}" for each in (part, name, *more)]
        # 3: a file was gone or changed while it was read, as those of the journal are
        fine = (0, 3) if part == "journal" else (0,)
        self.run("backup", "--json", f"--host={self.config.host}", *tags, path, line=line, fine=fine)
        return summary

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        """Return the snapshots that have all of `tags`, the oldest first."""
        found: list[dict[str, Any]] = (
            json.loads(
                self.run("snapshots", "--json", "--no-lock", *([f"--tag={','.join(tags)}"] if tags else []))
                or "null"
            )
            or []
        )
        return sorted(found, key=lambda each: str(each["time"]))


def _end_with_parent() -> None:
    """Have restic told to end when the agent is killed: it takes its lock away and leaves nothing that is listed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _read(stream: Any, take: Callable[[str], object]) -> None:
    for raw in stream:
        if text := raw.decode(errors="replace").strip():
            take(text)
    stream.close()

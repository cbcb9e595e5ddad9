"""The embedded stack as a stage for faults: the fault proxy before ClickHouse, a small disk below Vector.

Vector is the real one where a `vector` is on PATH, otherwise the substitute (cvat_analytics.embedded.stack).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import machine
from cvat_analytics.checks import flow
from cvat_analytics.config.topology import Topology
from cvat_analytics.embedded import stack, starting
from cvat_analytics.pipeline import journal
from cvat_analytics.pipeline.journal_text import Damage
from cvat_analytics.pipeline.refused_rows import REASON
from cvat_analytics.rendering.context import Context
from tests.faults.account import Found, Kept
from tests.faults.proxy import ADDRESS, FaultProxy

PROGRAM = Path(sys.executable).with_name("cvat-analytics")
PARTS = ("clickhouse", "vector")
# hours of a plain journal; the real Vector refuses a disk smaller than its buffers
DISK = "256m" if not shutil.which("vector") else "3g"


class _BehindProxy(Topology):
    """A topology in which Vector reaches ClickHouse at the proxy's address. The port is the same."""

    def clickhouse_address(self, host: str) -> str:
        return ADDRESS


@dataclass(frozen=True)
class _Stack(stack.Stack):
    """An embedded stack whose Vector speaks to the proxy."""

    settings: tuple[tuple[str, Any], ...] = ()

    def context(self) -> Context:
        plain = super().context()
        settings = plain.settings.model_copy(update=dict(self.settings))
        return replace(plain, topology=_BehindProxy(plain.topology.groups, {stack.HOST: settings}))


class Embedded:
    """A running stack below `directory`. Nothing restarts what is killed except `start`."""

    kind = "embedded"
    gap = bool(shutil.which("vector"))

    def __init__(self, directory: Path, *, mount: bool = True) -> None:
        self.disk = _mount(directory / "var" / "lib" / "vector") if mount else "limit"
        try:
            plain = starting.up(directory)
        except BaseException:
            self._unmount(directory / "var" / "lib" / "vector")
            raise
        self._stack = _Stack(plain.directory, plain.port_base)
        self._keep_ports()
        self._backups, self._backed_up_at = 0, datetime.now(UTC)
        self.proxy = FaultProxy(self.settings.clickhouse_http_port)
        self.start(*PARTS)

    @property
    def directory(self) -> Path:
        """Return where the stack is."""
        return self._stack.directory

    @property
    def settings(self) -> Any:
        """Return the settings that are in force."""
        return self._stack.context().settings

    @property
    def vector_config(self) -> Path:
        """Return the rendered vector.toml."""
        return Path(self._stack.paths.vector_config) / "vector.toml"

    @property
    def targets(self) -> list[tuple[str, int]]:
        """Return where Vector takes events."""
        return [("127.0.0.1", port) for port in self.settings.vector_sources.values()]

    @property
    def vector_version(self) -> str:
        """Return which Vector is tested."""
        return machine.vector()

    def start(self, *parts: str) -> None:
        """Start what of `parts` does not run, with the settings as they are now."""
        starting.start(self._stack, parts or PARTS)

    def kill(self, part: str) -> None:
        """End `part` as the kernel's OOM killer does."""
        pid = self._stack.processes.pid(part)
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL)
        # the first of its threads may be gone while the last still holds its port
        while self._stack.processes.pid(part) is not None or Path(f"/proc/{pid}").exists():
            time.sleep(0.01)

    @contextmanager
    def hanging(self, part: str) -> Iterator[None]:
        """Let `part` stand still (SIGSTOP)."""
        pid = self._stack.processes.pid(part)
        assert pid is not None, f"{part} does not run"
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def stop(self, part: str) -> None:
        """Stop `part` in order."""
        self._stack.processes.stop(part)

    def runs(self, part: str) -> bool:
        """Return whether `part` runs."""
        return self._stack.processes.pid(part) is not None

    def reload_vector(self) -> None:
        """Ask Vector to read its configuration again (SIGHUP)."""
        pid = self._stack.processes.pid("vector")
        if pid is not None:
            os.kill(pid, signal.SIGHUP)

    def change(self, **settings: Any) -> None:
        """Let `settings` be in force from the next `start` on."""
        known = dict(self._stack.settings) | settings
        self._stack = _Stack(self.directory, self._stack.port_base, tuple(known.items()))

    def sql(self, statement: str) -> str:
        """Return the administrator's answer to `statement`. Raises AssertionError with ClickHouse's message."""
        context = self._stack.context()
        url = f"http://127.0.0.1:{context.settings.clickhouse_http_port}/?" + urllib.parse.urlencode(
            {"database": context.settings.database, "default_format": "JSONCompact"}
        )
        request = urllib.request.Request(url, statement.encode())
        request.add_header("X-ClickHouse-User", "admin")
        request.add_header("X-ClickHouse-Key", context.secrets["clickhouse_admin"])
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.read().decode()}\n\n{statement}") from None

    def found(self) -> Found:
        """Return what readers see now."""
        return Found.of(
            (int(row[0]) for row in self._rows("SELECT obj_id FROM events FINAL WHERE obj_id > 0")),
            (row[0] for row in self._rows("SELECT original FROM events_dead_letter FINAL")),
            int(self._rows("SELECT count() FROM events")[0][0]),
        )

    def kept(self) -> Kept:
        """Return what the journal has."""
        damages: list[Damage] = []
        files = journal.find(self.journal)
        lines = (line for file in files for block in file.blocks(damages.append) for line in block.lines)
        return Kept.of(lines, damages)

    @property
    def journal(self) -> Path:
        """Return where the journal is."""
        return Path(self._stack.paths.vector_data) / "journal"

    def back_up(self) -> None:
        """Keep the events as they are now (hard links to their parts)."""
        self._backups += 1
        self.sql(f"ALTER TABLE events FREEZE WITH NAME 'backup{self._backups}'")
        self._backed_up_at = datetime.now(UTC)

    def lose_events(self) -> None:
        """Remove every event from the table."""
        self.sql("TRUNCATE TABLE events")

    def restore(self) -> None:
        """Put the events of the last backup into the table."""
        name = f"backup{self._backups}"
        data = Path(self._stack.paths.clickhouse_data)
        (table,) = (
            Path(row[0])
            for row in self._rows(
                "SELECT data_paths[1] FROM system.tables WHERE database = currentDatabase() AND name = 'events'"
            )
        )
        for part in sorted((data / "shadow" / name).glob(f"store/*/{table.name}/*")):
            shutil.copytree(part, table / "detached" / part.name)
            self.sql(f"ALTER TABLE events ATTACH PART '{part.name}'")
        self.sql(f"ALTER TABLE events UNFREEZE WITH NAME '{name}'")

    def replay(self) -> None:
        """Bring back what has come since the last backup, as an operator does."""
        self._command("replay", "--since", f"{self._backed_up_at - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}")

    def rotate(self) -> None:
        """Give Vector another password for ClickHouse. While the command works, Vector goes around the proxy."""
        self._kept.close()
        self._command("secrets", "rotate", "vector")
        self._keep_ports()

    def refused(self) -> set[str]:
        """Return the sinks that ClickHouse refuses, as the operator is told."""
        return {each.sink for each in flow.refusals(self._stack.access())}

    def set_aside(self, sink: str) -> None:
        """Get what waits in `sink` out of the way, as an operator does. Vector goes around the proxy meanwhile, as in `rotate`."""
        self._kept.close()
        self._command("buffer", "set-aside", sink, "--yes")
        self._keep_ports()

    def retry_refused(self) -> None:
        """Send what ClickHouse has refused again, as an operator does when the cause is mended."""
        self._command("dead-letters", "retry", "--reason", REASON)

    def _keep_ports(self) -> None:
        """Stop the parts that are not needed and take a port of theirs, so that others leave ours alone even when all is killed."""
        for part in stack.PARTS:
            if part not in PARTS:
                self.stop(part)
        self._kept = socket.create_server(
            ("127.0.0.1", self._stack.port_base + stack.PORTS.index("events_api_port"))
        )

    def _command(self, *arguments: str) -> None:
        """Run `cvat-analytics` as an operator does. Raises AssertionError with what it says when it fails."""
        done = subprocess.run(
            [PROGRAM, *arguments, "--dir", self.directory],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _rows(self, query: str) -> list[list[Any]]:
        rows: list[list[Any]] = json.loads(self.sql(query))["data"]
        return rows

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let nothing more be written below Vector's data directory."""
        pid = self._stack.processes.pid("vector")
        if self.disk == "limit":
            assert pid is not None
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
            try:
                yield
            finally:
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
            return
        filler = Path(self._stack.paths.vector_data) / "filler"
        try:
            with filler.open("wb") as file:
                _fill(file.fileno())
            yield
        finally:
            filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop everything and give the disk back."""
        self.proxy.close()
        self._kept.close()
        stack.down(self.directory)
        self._unmount(Path(self._stack.paths.vector_data))

    def _unmount(self, path: Path) -> None:
        if self.disk != "limit":
            subprocess.run(["umount", "-l", path], check=False)


def _mount(path: Path) -> str:
    """Give Vector's data a small file system of its own; return how the disk is made full.

    Without root, writes of the running Vector are refused by a limit on the size of files instead (EFBIG where a full
    disk says ENOSPC): the same failed writes, but other programs on the disk are not hindered.
    """
    path.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(path):
        return "tmpfs"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(path)],
        capture_output=True,
        check=False,
    )
    return "tmpfs" if done.returncode == 0 else "limit"


def _fill(descriptor: int) -> None:
    """Write until there is no room left for a single byte."""
    for size in (2**20, 2**12, 1):
        chunk = b"\0" * size
        with suppress(OSError):
            while os.write(descriptor, chunk) == size:
                pass

"""A control group of the kernel's with the memory and the processor time of a small host, version 2 or 1."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report import BenchmarkError
from cvat_analytics.embedded import stack

CORES, MEMORY = 2, 4 * 2**30
_ROOT = Path("/sys/fs/cgroup")
_PERIOD = 100_000


@dataclass
class Cage:
    """The group's directories (in version 1 one for each controller), and what was seen of its memory."""

    memory: Path
    cpu: Path
    highest: dict[str, int] = field(default_factory=dict)
    """The most memory of each part, and of all together under the empty name: what is not page cache."""

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command`, and all that it starts, in the group."""
        folders = " ".join(f"{folder}/cgroup.procs" for folder in {self.memory, self.cpu})
        return ["sh", "-c", f'for group in {folders}; do echo $$ > "$group"; done; exec "$@"', "sh", *command]

    def look(self, running: stack.Stack) -> None:
        """Note how much memory is used now."""
        fields = _fields(self.memory / "memory.stat")
        self._note("", fields["anon"] if "anon" in fields else fields["total_rss"])
        for part in stack.PARTS:
            with suppress(OSError, ValueError, KeyError):
                self._note(
                    part, 1024 * _fields(Path(f"/proc/{running.processes.pid(part)}/status"))["RssAnon:"]
                )

    def _note(self, name: str, size: int) -> None:
        self.highest[name] = max(size, self.highest.get(name, 0))

    @property
    def used(self) -> int:
        """Return the most memory that was seen, without the page cache."""
        return self.highest.get("", 0)

    @property
    def kills(self) -> int:
        """Return how many processes the kernel has killed in the group for want of memory."""
        v2 = self.memory / "memory.events"
        return _fields(v2 if v2.exists() else self.memory / "memory.oom_control")["oom_kill"]

    def text(self) -> str:
        """Return what was seen in one line."""
        return f"{self.used / 2**30:.2f} GiB at most, {self.kills} killed"


@contextmanager
def cage() -> Iterator[Cage]:
    """Make the group, and remove it when nothing runs in it any more. Raises BenchmarkError where it cannot be made."""
    folders = _folders()
    try:
        try:
            _make(*folders)
        except OSError as error:
            raise BenchmarkError(
                f"a control group cannot be made ({error}): run this section as root on a machine of its own"
            ) from None
        yield Cage(*folders)
    finally:
        for folder in set(folders):
            with suppress(OSError):
                folder.rmdir()


def _folders() -> tuple[Path, Path]:
    """Return the directories of the group for memory and for processor time; version 2 has one for both."""
    name = f"cvat-analytics-bench-{os.getpid()}"
    version_2 = (_ROOT / "cgroup.controllers").exists()
    return (_ROOT / name, _ROOT / name) if version_2 else (_ROOT / "memory" / name, _ROOT / "cpu" / name)


def _make(memory: Path, cpu: Path) -> None:
    """Make the group with its limits. Raises OSError."""
    if version_2 := memory == cpu:
        (_ROOT / "cgroup.subtree_control").write_text("+memory +cpu")
    for folder in {memory, cpu}:
        folder.mkdir()
    if version_2:
        (memory / "memory.max").write_text(str(MEMORY))
        with suppress(FileNotFoundError):
            (memory / "memory.swap.max").write_text("0")
        (cpu / "cpu.max").write_text(f"{CORES * _PERIOD} {_PERIOD}")
    else:
        (memory / "memory.limit_in_bytes").write_text(str(MEMORY))
        with suppress(FileNotFoundError):
            (memory / "memory.memsw.limit_in_bytes").write_text(str(MEMORY))
        (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD))
        (cpu / "cpu.cfs_quota_us").write_text(str(CORES * _PERIOD))


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file of the kernel's with a name and a number in each line."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}

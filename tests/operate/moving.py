"""A move of ClickHouse between two databases of one engine, in a process that can be killed: `python -m tests.operate.moving FILE`.

The agents, the engine, the steps and what they note are real. Deploys are not: that everybody uses the new ClickHouse is a word in a file.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cvat_analytics.config import moves
from cvat_analytics.config.moves import Move
from cvat_analytics.operate.backup import running
from cvat_analytics.operate.backup.running import Said, Tell
from cvat_analytics.operate.move import steps
from cvat_analytics.operate.move.copying import Counted, Ends
from tests.operate.backup_site import Site


@dataclass
class Hands:
    """What a move does, to directories and databases. A substitute for hosts."""

    old: Site
    new: Site
    directory: Path
    dies_at: str = ""
    """The step at whose beginning or end the process is killed."""

    @property
    def move(self) -> Move:
        """Return what is noted."""
        noted = (
            moves.read((self.directory / "note").read_text()) if (self.directory / "note").exists() else None
        )
        return noted or Move("clickhouse", "old", "new")

    def at(self, step: str) -> None:
        """Be killed where that is wanted, without a word."""
        if step == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, step: str) -> None:
        """Note how far it is."""
        (self.directory / "note").write_text(replace(self.move, step=step).text())
        self.at(f"noted {step}")

    def prepare(self) -> None:
        """Do nothing: both databases are there."""
        self.at("prepare")

    def both(self) -> None:
        """Never be asked."""
        raise AssertionError

    def switch(self) -> None:
        """Have whoever sends send to the new one."""
        self.at("switch")
        (self.directory / "in use").write_text("new")
        self.at("switched")

    @contextmanager
    def ends(self) -> Iterator[Ends]:
        """Yield the two databases."""
        reached = self.new.reached
        yield Ends(self._agent(self.old), self._agent(self.new), reached.access, reached.list_file)

    def hand_over(self) -> list[Counted]:
        """Never be asked."""
        raise AssertionError

    def clear(self) -> None:
        """Note that it was asked."""
        (self.directory / "cleared").touch()

    def tell(self, said: Said) -> None:
        """Be killed at what is said where that is wanted."""
        self.at(f"{said['step']} {said['state']}")

    def _agent(self, site: Site):  # type: ignore[no-untyped-def] # an Agent
        def run(arguments: Sequence[str], tell: Tell) -> Said:
            # one that outlived who had started it is waited for, as on hosts
            lock = Path(site.config.state) / "lock"
            if lock.exists():
                subprocess.run(["flock", lock, "true"], check=True)
            return running.here(site.file, arguments, tell)

        return run


def main() -> None:
    """Move, or be killed on the way, and print what both have."""
    hands: Hands = pickle.loads(Path(sys.argv[1]).read_bytes())  # the test's own
    for each in steps.clickhouse(hands, hands.tell):
        print(each.table, each.month, each.old, each.new)


if __name__ == "__main__":
    main()

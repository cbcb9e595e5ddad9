"""The hands of a move on deployed hosts: deploys with other groups, the agents of backups, Grafana's database over SSH."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.config.moves import AFTER, BEFORE, BOTH, Move
from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.operate.backup import grafana
from cvat_analytics.operate.backup.running import Tell
from cvat_analytics.operate.move import agents, copying, noting
from cvat_analytics.operate.move.copying import Counted, Ends
from cvat_analytics.operate.move.site import Site
from cvat_analytics.rendering.files import UNITS, Paths
from cvat_analytics.rendering.made import STATE

_COPY = f"{STATE}/move/grafana.db"
_PATIENCE = 600.0
_COPIED = """
import json, sqlite3, sys
live, copy = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=60), sqlite3.connect(sys.argv[2])
live.backup(copy)
if copy.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
    sys.exit(f"{sys.argv[1]} is damaged")
names = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
print(json.dumps({name: copy.execute(f'SELECT count() FROM "{name}"').fetchone()[0] for name in sorted(names)}))
"""
"""Copies Grafana's database, looks whether it is whole, and prints the rows of its tables."""


class Deploy(Protocol):
    """Deploys to hosts with the groups of a stage (deploys/moving.py), all components but those that it leaves."""

    def __call__(
        self, move: Move, stage: str, hosts: Sequence[str], leaving: Sequence[str] = ()
    ) -> object: ...


class HandsOnHosts:
    """What a move does to deployed hosts."""

    def __init__(self, site: Site, deploy: Deploy, tell: Tell) -> None:
        self.site, self.move, self._deploy, self._tell = site, site.move, deploy, tell

    def note(self, step: str) -> None:
        """Note on all hosts how far it is."""
        self.move = noting.note(self.site.shells, self.move, step)

    def prepare(self) -> None:
        """Bring ClickHouse to its new host, and to both what copies."""
        move = self.move
        # whoever else is on these hosts goes on as it was
        self._deploy(move, BEFORE, [move.source], COMPONENTS)
        self._deploy(move, AFTER, [move.target], [each for each in COMPONENTS if each != move.part])
        self._tell({"step": f"{move.part} on {move.target} is made", "state": "done"})

    def look_again(self) -> None:
        """Bring into the new ClickHouse what has come to the old one since it was moved, by somebody who did not know."""
        move, after = self.move, self.site.hosts(self.site.after)
        # a deploy may have taken away what copies. Neither is changed otherwise
        old = AFTER if move.source in after else BEFORE
        self._deploy(move, old, [move.source], COMPONENTS)
        if old == BEFORE:
            agents.end_backups(self.site)
        self._deploy(move, AFTER, [move.target], COMPONENTS)
        with self.ends() as ends:
            copying.brought(ends, self._tell)

    def both(self) -> None:
        """Have the part on both hosts."""
        stack = self.site.both or self.site.after
        self._deploy(self.move, BOTH, self.site.hosts(stack))
        self._tell({"step": f"{self.move.part} on {self.move.target} is at work", "state": "done"})

    def switch(self) -> None:
        """Have all hosts use the part on its new host."""
        self._deploy(self.move, AFTER, self.site.hosts(self.site.after))
        self._tell({"step": f"all hosts use {self.move.part} on {self.move.target}", "state": "done"})
        if self.move.part == "clickhouse" and self.move.source not in self.site.after.topology.settings:
            agents.end_backups(self.site)
            self._tell({"step": f"{self.move.source} makes no backups any more", "state": "done"})

    def ends(self) -> AbstractContextManager[Ends]:
        """Yield the old ClickHouse and the new one."""
        return agents.ends(self.site)

    def hand_over(self) -> list[Counted]:
        """Stop the old Grafana, and what goes with it, and give the new one its database."""
        old, new = self.site.shells[self.move.source], self.site.shells[self.move.target]
        for part in ("gateway", "grafana", "events_api"):
            if part in self.move.parts:
                old.run(f"systemctl disable -q --now {UNITS[part]}", _PATIENCE)
        directory = str(Path(_COPY).parent)
        for shell in (old, new):
            shell.run(f"install -d -m 700 {directory} && rm -f {_COPY}*", _PATIENCE)
        database = f"{Paths().grafana_data}/grafana.db"
        said = old.run(f"umask 077; python3 -c {shlex.quote(_COPIED)} {database} {_COPY}", _PATIENCE)
        content = base64.b64decode(old.run(f"base64 {_COPY}", _PATIENCE))
        new.write(_COPY, content)
        digest = new.run(f"sha256sum {_COPY}", _PATIENCE).split()[0]
        if digest != hashlib.sha256(content).hexdigest():
            raise CvatAnalyticsError(
                Code.MOVE_LACKING,
                f"host {new.host}: Grafana's database has not come there as it was. Run the same command again",
            )
        grafana.put_back(new, _COPY)
        rows: dict[str, int] = json.loads(said)
        self._tell({"step": "Grafana has its users and dashboards", "state": "done"})
        return [
            Counted(f"grafana {name}", "all", rows[name], rows[name])
            for name in ("user", "dashboard")
            if name in rows
        ]

    def clear(self) -> None:
        """Take away what was there for the move alone; that it could not is said, and no reason to begin anew."""
        try:
            agents.clear(self.site)
        except UnreachableError as error:
            self._tell({"step": f"NOT CLEARED: {error.told}. What the copy needed is still there, a key that lets {self.move.source} in at "
                        f"{self.move.target} among it", "state": "done"})  # fmt: skip

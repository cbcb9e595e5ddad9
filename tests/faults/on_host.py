"""A deployed host as a stage for faults: systemd starts again what is killed, and gentler things are asked of it."""

from __future__ import annotations

from cvat_analytics.pipeline.journal_text import Damage, Lines
from tests.faults.account import Found, Kept
from tests.hosts.host import Host
from tests.waiting import until

UNITS = {"vector": "vector", "clickhouse": "clickhouse-server"}
READY = {"vector": ("8282", "/ping"), "clickhouse": ("8123", "/ping")}
BY_ITSELF = 60.0
"""Seconds in which systemd must have started Vector again by itself (RestartSec=2), on a machine that has other work too."""


class OnHost:
    """The stack on `host`, where Vector listens on the host's own address."""

    kind = "systemd host with stand-in packages,"
    vector_version = "the substitute for Vector"
    gap = False

    def __init__(self, host: Host) -> None:
        self._host = host
        self.targets = [(host.ip, 8282)]

    def start(self, *parts: str) -> None:
        """Start what of `parts` does not run, and wait until it answers."""
        for part in parts or UNITS:
            self._host.run(f"systemctl start {UNITS[part]}")
            self._wait_for(part, 60)

    def kill(self, part: str) -> None:
        """End `part` as the kernel's OOM killer does; Vector is back when this returns, without anybody's help."""
        self._host.run(f"systemctl kill -s KILL {UNITS[part]}")
        if part == "vector":
            self._wait_for(part, BY_ITSELF)

    def stop(self, part: str) -> None:
        """Stop `part` in order."""
        self._host.run(f"systemctl stop {UNITS[part]}")

    def reload(self) -> None:
        """Let Vector read its configuration again."""
        self._host.run("systemctl reload vector")

    def found(self) -> Found:
        """Return what readers see now. Raises OSError while ClickHouse does not answer."""
        return Found.of(
            map(int, self._lines("SELECT obj_id FROM cvat.events FINAL WHERE obj_id > 0")),
            self._lines("SELECT original FROM cvat.events_dead_letter FINAL"),
            int(self._lines("SELECT count() FROM cvat.events")[0]),
        )

    def kept(self) -> Kept:
        """Return what the journal has."""
        # with -f, what is not packed is given as it is
        text = self._host.run("cd /var/lib/vector/journal && zstd -qdcf -- events-*.jsonl*").output.encode()
        damages: list[Damage] = []
        lines = Lines("the journal", damages.append)
        return Kept.of([*lines.of(text, len(text)), *lines.rest(len(text))], damages)

    def replay(self) -> None:
        """Do nothing: what is lost here is lost (`gap`)."""

    def _lines(self, query: str) -> list[str]:
        client = "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml"
        result = self._host.run(f"{client} --query '{query}'", check=False)
        if result.exit_code:
            raise ConnectionError(result.error)
        return result.output.splitlines()

    def _wait_for(self, part: str, seconds: float) -> None:
        port, path = READY[part]
        address = self._host.ip if part == "vector" else "127.0.0.1"
        until(
            lambda: self._host.run(f"curl -fsS -m 2 http://{address}:{port}{path}", check=False),
            f"{part} answers",
            lambda result: not result.exit_code,
            patience=seconds,
        )

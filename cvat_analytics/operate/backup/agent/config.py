"""What the agent is told: one JSON file, written by the deploy or for an embedded stack by the command. No password stands in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.report import BAD_INPUT, AgentError


@dataclass(frozen=True)
class Config:
    """Which parts are on this machine, where they are backed up, and where the passwords lie. A part that is not here is empty."""

    host: str
    """The name in the inventory."""
    state: str
    """A directory of the agent's own: its lock, restic's cache, the note of the last run (`last.json`)."""
    target: str
    """What restic calls a repository: a path, `sftp:user@host:/path`, `s3:https://host/bucket`. `--to` and the like win over it."""
    password_file: str
    """The repository's password (`keys.py`), mode 0600."""
    environment_file: str = ""
    """Lines NAME=value that only restic gets, mode 0600: the keys of S3 (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."""
    options: list[str] = field(default_factory=list)
    """More options of restic's, such as `-o sftp.command=ssh -p 2222 backup@store -s sftp`, each word one item."""

    clickhouse_url: str = ""
    """HTTP on this host's loopback; empty where ClickHouse is elsewhere."""
    clickhouse_user: str = "admin"
    clickhouse_password_file: str = ""
    database: str = "cvat"
    staging: str = ""
    """ClickHouse's `backups.allowed_path`: in it tables are written before restic takes them, and read again from there."""
    checks: str = ""
    """A JSON file that `verify --restore` uses: the scripts of the schema, the dashboards' queries (`questions.py`)."""
    grafana_database: str = ""
    """Grafana's SQLite file."""
    journal: str = ""
    """The directory of Vector's journal."""
    inventory: str = ""
    """The encrypted archive of inventory, passwords, users, certificates and the list of erasures."""

    others: list[str] = field(default_factory=list)
    """On ClickHouse's host: what other hosts put there, as in `journal of in`, without which a backup is not complete."""

    keep_daily: int = 7
    keep_weekly: int = 4
    keep_monthly: int = 12
    versions: dict[str, str] = field(default_factory=dict)
    """What is installed, for the manifest: `cvat-analytics`, `vector`, `grafana` (ClickHouse says its own)."""

    @property
    def parts(self) -> list[str]:
        """Return which parts are here."""
        places = {
            "tables": self.clickhouse_url,
            "grafana": self.grafana_database,
            "journal": self.journal,
            "inventory": self.inventory,
        }
        return [name for name, place in places.items() if place]

    def text(self) -> str:
        """Return the file's text."""
        return json.dumps(asdict(self), indent=1) + "\n"


def load(path: Path) -> Config:
    """Return what the file says. Raises AgentError where it is missing or not such a file."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        return Config(**{each.name: values[each.name] for each in fields(Config) if each.name in values})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AgentError(
            Code.BACKUP_AGENT,
            f"configuration {path}: cannot be used ({error}). `cvat-analytics deploy` writes it anew",
            BAD_INPUT,
        ) from None

"""Note that a restored database is being put into the live one: until that has ended, nobody is to put another one in its place."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import AgentError


def begun(config: Config, name: str) -> None:
    """Note that the backup of that name is being put in, until `ended`."""
    since = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    _note(config).write_text(json.dumps({"name": name, "since": since}) + "\n")


def ended(config: Config) -> None:
    """Note that none is being put in."""
    _note(config).unlink(missing_ok=True)


def is_under_way(config: Config) -> bool:
    """Return whether one is being put in."""
    return _note(config).exists()


def refuse(config: Config, name: str) -> None:
    """Raise AgentError where a backup is being put in, unless it is that of the name: its own command goes on, or is run once more."""
    if not _note(config).exists():
        return
    noted = json.loads(_note(config).read_text())
    if noted["name"] != name:
        raise AgentError(
            Code.RESTORE_UNFINISHED,
            f"backup {noted['name']}: is being put in since {noted['since']}. Wait for its end; where that was cut off, complete it with "
            f"`cvat-analytics backup restore {noted['name']}`, or give it up with `sudo rm {_note(config)}`",
        )


def _note(config: Config) -> Path:
    return Path(config.state) / "putting-in.json"

"""Write down what came of a run, for `status` and the alert: in the table `backups`, and in a file where ClickHouse is down."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from cvat_analytics.operate.backup.agent import keeping
from cvat_analytics.operate.backup.agent.clickhouse import quoted
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.creating import clickhouse
from cvat_analytics.operate.backup.agent.report import AgentError

RUNNING, COMPLETE, FAILED, GONE, DAMAGED = "running", "complete", "failed", "gone", "damaged"
INCOMPLETE = "incomplete"
"""Made, but without what belongs to it of another host."""
_NOW = "now64(3)"


def made(lacks: Mapping[str, str] | None) -> tuple[str, str]:
    """Return the state of a backup that was made and `lacks` that, and what there is to say of it."""
    return (INCOMPLETE, keeping.lacking(lacks)) if lacks else (COMPLETE, "")


def end_cut_off(config: Config) -> None:
    """Say of backups at the target that are noted as being made that they were cut off: one at a time is, and none is now."""
    _note_again(config, FAILED, "it was cut off", f"state = {quoted(RUNNING)}")


def end_gone(config: Config, kept: Sequence[str]) -> None:
    """Say of backups that were made at the target and are not among those `kept` that they are gone."""
    made_ones, names = (
        ", ".join(map(quoted, each)) for each in ((COMPLETE, INCOMPLETE, DAMAGED), ["", *kept])
    )
    _note_again(config, GONE, "", f"state IN ({made_ones}) AND name NOT IN ({names})")


def _note_again(config: Config, state: str, message: str, which: str) -> None:
    if not config.clickhouse_url:
        return
    same = "name, target, started, finished, bytes, verified"
    with contextlib.suppress(AgentError):
        clickhouse(config).ask(
            f"INSERT INTO backups ({same}, state, message) SELECT {same}, {quoted(state)}, {quoted(message)} FROM backups FINAL "
            f"WHERE target = {quoted(config.target)} AND {which}",
            config.database,
        )


def note(
    config: Config, name: str, state: str, *, size: int = 0, proven: bool = False, message: str = ""
) -> None:
    """Say how it is with the backup `name`. A ClickHouse that is down or has no such table changes nothing."""
    last = {
        "name": name,
        "target": config.target,
        "state": state,
        "bytes": size,
        "message": message,
        "noted": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    file = Path(config.state) / "last.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps(last, indent=1) + "\n")
    new.replace(file)
    if not config.clickhouse_url:
        return
    began = f"parseDateTime64BestEffort({quoted(name[:11] + name[11:].replace('-', ':'))}, 3, 'UTC')"
    mine = f"FROM backups FINAL WHERE target = {quoted(config.target)} AND name = {quoted(name)}"
    # what an earlier row says and this one does not stays
    values = {
        "name": quoted(name),
        "target": quoted(config.target),
        "started": began,
        "finished": _NOW
        if state in (COMPLETE, INCOMPLETE) and not proven
        else f"(SELECT max(finished) {mine})",
        "state": quoted(state),
        "bytes": str(size) if size else f"(SELECT ifNull(max(bytes), 0) {mine})",
        "verified": _NOW if proven else "NULL" if state == DAMAGED else f"(SELECT max(verified) {mine})",
        "message": quoted(message),
    }
    with contextlib.suppress(AgentError):
        clickhouse(config).ask(
            f"INSERT INTO backups ({', '.join(values)}) SELECT {', '.join(values.values())}", config.database
        )

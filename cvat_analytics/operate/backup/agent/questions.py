"""Use a restored database as people would: its schema brought to today's, every query of the dashboards asked."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.clickhouse import quoted
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.creating import clickhouse
from cvat_analytics.operate.backup.agent.report import BAD_INPUT, AgentError, say, step

READER = {
    "final": 1,
    "do_not_merge_across_partitions_select_final": 1,
    "readonly": 2,
    "max_execution_time": 300,
}


def bring_up_to_date(config: Config, scratch: str, migrations: dict[str, str]) -> None:
    """Give the database beside the live one the migrations that it lacks, and the views. `migrations`: name and checksum of what it has."""
    ask = clickhouse(config)
    scripts: list[dict[str, Any]] = _checks(config)["scripts"]
    unknown = {name for name in migrations if not name.startswith("views/")} - {
        each["name"] for each in scripts
    }
    if unknown:
        raise AgentError(
            Code.BACKUP_VERSION,
            f"the backup has {', '.join(sorted(unknown))}, which this version lacks: it was made by a newer one. Restore it with that",
        )
    with step("schema") as said:
        for table in ask.tables(scratch):
            ask.ask(f"SYSTEM START MERGES {scratch}.`{table}`")
        due = [
            each for each in scripts if each["name"].startswith("views/") or each["name"] not in migrations
        ]
        for script in due:
            for statement in script["statements"]:
                ask.ask(statement.replace("<database>", scratch), scratch)
        said["migrations"] = sum(not each["name"].startswith("views/") for each in due)


def is_older(config: Config, migrations: dict[str, str]) -> bool:
    """Return whether a schema with these migrations lacks some of today's. Raises AgentError for one that is newer, or too old."""
    scripts = {each["name"]: each["checksum"] for each in _checks(config)["scripts"]}
    theirs = {name: checksum for name, checksum in migrations.items() if not name.startswith("views/")}
    if unknown := sorted(theirs.keys() - scripts.keys()):
        raise AgentError(
            Code.BACKUP_VERSION,
            f"the backup has {', '.join(unknown)}, which this version lacks: it was made by a newer one. Restore it with that",
            BAD_INPUT,
        )
    if other := sorted(name for name, checksum in theirs.items() if scripts[name] != checksum):
        raise AgentError(
            Code.BACKUP_VERSION,
            f"the backup was made with another {', '.join(other)}. Restore it with the version that made it, then update",
            BAD_INPUT,
        )
    return any(name not in migrations for name in scripts if not name.startswith("views/"))


def ask_all(config: Config, scratch: str) -> int:
    """Ask each query of the dashboards about the last 30 days of the restored events, and return how many there were. Raises AgentError."""
    ask = clickhouse(config)
    checks = _checks(config)
    newest = ask.rows(
        f"SELECT toUnixTimestamp(max(timestamp)) FROM {scratch}.events WHERE timestamp < now()"
    )[0][0]
    end = int(newest) or int(datetime.now(timezone.utc).timestamp())
    begin = end - (checks["end"] - checks["begin"])
    with step("queries", total=len(checks["queries"])):
        for number, (name, sql) in enumerate(checks["queries"].items(), 1):
            # the instants that the queries were written with
            moved = sql.replace(str(checks["begin"]), str(begin)).replace(str(checks["end"]), str(end))
            try:
                ask.ask(f"SELECT count() FROM (\n{moved}\n)", scratch, **READER)
            except AgentError as error:
                raise AgentError(
                    Code.BACKUP_DAMAGED,
                    f"the restored database does not answer {name}: {error}",
                    error.exit_code,
                ) from None
            say("queries", "going on", done=number, total=len(checks["queries"]))
    return len(checks["queries"])


def drop(config: Config, scratch: str) -> None:
    """Remove the database beside the live one, and with it the background work of its views."""
    ask = clickhouse(config)
    views = ask.rows(
        f"SELECT name FROM system.tables WHERE database = {quoted(scratch)} AND engine LIKE '%View'"
    )
    for (view,) in views:
        ask.ask(f"DROP VIEW IF EXISTS {scratch}.`{view}` SYNC")
    ask.ask(f"DROP DATABASE IF EXISTS {scratch} SYNC")


def _checks(config: Config) -> dict[str, Any]:
    try:
        checks: dict[str, Any] = json.loads(Path(config.checks).read_text())
    except OSError as error:
        raise AgentError(
            Code.BACKUP_AGENT, f"file {config.checks}: cannot be read ({error.strerror}). Deploy once more"
        ) from None
    return checks

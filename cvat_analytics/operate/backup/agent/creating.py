"""Make a backup: each part of the stack that is here becomes a snapshot, and last the manifest that makes them a backup."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent import keeping, parts, putting, staging
from cvat_analytics.operate.backup.agent.clickhouse import ClickHouse, quoted
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import BAD_INPUT, AgentError, say, step
from cvat_analytics.operate.backup.agent.restic import MANIFEST, Restic

FORMAT = 1
_TRANSIENT = ("erasures_under_way", "erasure_rows", "events_rebuild", "import_", "replayed_", "backups")
"""How tables begin that only a command that is at work needs, and that of backups themselves."""
_ROOM = 256 * 2**20
_TABLES = "tables"
"""The directory below `staging` into which tables are written: always the same, so that restic finds the one before."""
_PACE = 50 * 2**20
"""Bytes a second that ClickHouse copies: as fast as it can, inserts wait a second and more for the disk. Nobody waits for a backup."""
_WAITING = 50_000
"""So many events that wait in Vector are gone within a minute where ClickHouse takes them."""


def name_of(moment: datetime) -> str:
    """Return what a backup is called that begins at that moment."""
    return moment.strftime("%Y-%m-%dT%H-%M-%SZ")


def create(config: Config, restic: Restic, now: datetime, awaited: keeping.Awaited) -> dict[str, Any]:
    """Make a backup of what is here, and return its manifest. Raises AgentError; what is unfinished then is never listed."""
    if not config.parts:
        raise AgentError(Code.BACKUP_OF_NOTHING, "nothing of the stack is on this host")
    name = name_of(now)
    with step("target"):
        restic.open(create=True)
        restic.unlock()
        clean(config)
        _refuse_after_a_loss(config, restic)
        keeping.forget_unfinished(config, restic)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "host": config.host,
        "started": _text(now),
        "versions": dict(config.versions),
        "parts": {},
    }
    if config.clickhouse_url:
        _tables(config, restic, name, manifest)
    if config.grafana_database:
        copy = Path(config.state) / "grafana.db"
        with step("grafana"):
            _copy_database(Path(config.grafana_database), copy)
            _put(restic, manifest, "grafana", name, str(copy))
        copy.unlink()
    is_without = bool(config.journal) and not Path(config.journal).is_dir()
    if is_without and not config.clickhouse_url:
        raise AgentError(
            Code.BACKUP_SOURCE,
            f"the journal {config.journal}: is not there. Is its disk mounted? A deploy makes it",
        )
    if config.journal and not is_without:
        with step("journal"):
            _put(restic, manifest, "journal", name, config.journal)
    if config.inventory:
        with step("inventory"):
            _put(restic, manifest, "inventory", name, config.inventory)
    manifest["finished"] = _text(datetime.now(timezone.utc))
    if config.clickhouse_url:
        tags: list[str] = []
        if config.others:
            with step("others", total=len(config.others)):
                adopted, manifest["lacks"], tags = keeping.adopt(config, restic, name, awaited)
            manifest["parts"] |= adopted
        if is_without:
            missing = {f"journal of {config.host}": keeping.NOT_THERE}
            manifest["lacks"] = {**manifest.get("lacks", {}), **missing}
            tags += keeping.lacking_tags(missing)
        file = Path(config.state) / "manifest.json"
        file.write_text(json.dumps(manifest, indent=1) + "\n")
        with step("manifest"):
            events = sum(each["rows"] for each in manifest["tables"].get("events", {}).values())
            size = sum(each["bytes"] for each in manifest["parts"].values())
            restic.backup(
                MANIFEST,
                name,
                str(file),
                _quiet,
                (f"events={events}", f"bytes={size}", *tags),
            )
    return manifest


def _refuse_after_a_loss(config: Config, restic: Restic) -> None:
    """Raise AgentError where the stack has no events while backups have: it is to be restored first, as a new host in a lost one's place."""
    full = next((each for each in keeping.backups(restic) if each["events"]), None)
    if not (config.clickhouse_url and full):
        return
    live = clickhouse(config).rows(
        "SELECT sum(rows) FROM system.parts WHERE active AND table = 'events' AND database = "
        + quoted(config.database)
    )
    if not live[0][0]:
        raise AgentError(
            Code.BACKUP_OF_NOTHING,
            f"the stack has no events, and backup {full['name']} has {full['events']:,}: no empty one takes its place. "
            "Restore first (`cvat-analytics backup restore`), or choose another target for a stack that begins anew",
            BAD_INPUT,
        )


def clean(config: Config) -> None:
    """Take away what a run that was killed has left on this host."""
    for leftover in ("grafana.db", "grafana.db-journal"):
        (Path(config.state) / leftover).unlink(missing_ok=True)
    if not putting.is_under_way(config):
        staging.remove(Path(config.state) / "fetched")
    if config.clickhouse_url:
        ask = clickhouse(config)
        ask.stop_leftovers(("TO File('tables')", "FROM File('restoring')"))
        with staging.opened(config) as own:
            for directory in ("tables", "restoring", "fetched"):
                staging.remove(own / directory)


def clickhouse(config: Config) -> ClickHouse:
    """Return the way to the ClickHouse of this host."""
    return ClickHouse(
        config.clickhouse_url, config.clickhouse_user, config.clickhouse_password_file, config.database
    )


def _tables(config: Config, restic: Restic, name: str, manifest: dict[str, Any]) -> None:
    """Have ClickHouse write its tables, count what it has written, and put that into the repository."""
    ask, place = clickhouse(config), Path(config.staging)
    if not ask.rows(f"SELECT count() FROM system.databases WHERE name = {quoted(config.database)}")[0][0]:
        raise AgentError(Code.BACKUP_SOURCE, f"ClickHouse has no database {config.database}: deploy first")
    sizes = {table: size for table, size in ask.tables().items() if not table.startswith(_TRANSIENT)}
    _refuse_without_room(place, sum(sizes.values()))
    manifest["versions"]["clickhouse"] = str(ask.rows("SELECT version()")[0][0])
    manifest["replay_since"] = _text(_replay_since(ask, datetime.fromisoformat(manifest["started"])))
    erasing, clock = _being_erased(ask), str(ask.rows("SELECT toString(now64(3))")[0][0])
    written = place / _TABLES
    with step("clickhouse", tables=len(sizes)) as said:
        tables = ", ".join(f"TABLE {config.database}.`{table}`" for table in sizes)
        ask.in_background(
            # ClickHouse's own would make of equal files of several tables one (ClickHouse#112403), restic's does it for all
            f"BACKUP {tables} TO File('{_TABLES}') SETTINGS deduplicate_files = 0, max_backup_bandwidth = {_PACE}",
            telling("clickhouse"),
        )
        # on a full disk the engine library says that it was done
        if not (written / ".backup").stat().st_size:
            raise AgentError(
                Code.BACKUP_SOURCE, f"ClickHouse could not write its backup whole: is {place} full?"
            )
        manifest["migrations"] = dict(
            ask.rows(
                f"SELECT name, argMax(checksum, applied_at) FROM {config.database}.schema_migrations GROUP BY name ORDER BY name"
            )
        )
        # one that began in between has its line in the list and may have its events in the tables
        began = ask.rows(
            f"SELECT toString(user_id) FROM erasures WHERE before >= {quoted(clock)}", config.database
        )
        manifest["erasing"] = {**{str(id): False for (id,) in began}, **_being_erased(ask), **erasing}
        manifest["database"] = config.database
        manifest["tables"] = parts.of_backup(written, config.database)
        said["rows"] = sum(each["rows"] for table in manifest["tables"].values() for each in table.values())
    with step("tables"):
        _put(restic, manifest, "tables", name, str(written))
    with staging.opened(config) as own:
        staging.remove(own / _TABLES)


def _being_erased(ask: ClickHouse) -> dict[str, bool]:
    """Return who is being taken out just now, and whether their sums are kept: the list has them, the tables may have them still."""
    try:
        rows = ask.rows("SELECT toString(user_id), keep_sums FROM erasures_under_way", ask.database)
    except AgentError as error:
        if "UNKNOWN_TABLE" not in str(error):
            raise
        return {}
    return {str(id): bool(kept) for id, kept in rows}


def _put(restic: Restic, manifest: dict[str, Any], part: str, name: str, path: str) -> None:
    summary = restic.backup(part, name, path, telling(part))
    manifest["parts"][part] = {
        "snapshot": summary["snapshot_id"],
        "path": path,
        "bytes": int(summary["total_bytes_processed"]),
        "added": int(summary["data_added"]),
    }


def _replay_since(ask: ClickHouse, started: datetime) -> datetime:
    """Return the hour of arrival from which the journal has whatever is not in the tables yet.

    Events wait in Vector before they are inserted: mostly seconds, while ClickHouse is away for hours. Each Vector notes how many wait;
    the one that was calm longest ago counts.
    """
    rows = ask.rows(
        f"SELECT toString(min(calm)) FROM (SELECT maxIf(time, value < {_WAITING}) AS calm FROM pipeline_metrics "
        # where it was never so: the longest
        "WHERE time > now() - INTERVAL 30 DAY AND name = 'buffer_size_events' AND component IN ('events', 'large_bodies') "
        "GROUP BY host, component) HAVING count() > 0",
        ask.database,
    )
    noted = str(rows[0][0])[:19] if rows else ""
    calm = datetime.fromisoformat(noted).replace(tzinfo=timezone.utc) if noted else started
    hour = min(started, max(calm, started - timedelta(days=30))) - timedelta(hours=1)
    return hour.replace(minute=0, second=0, microsecond=0)


def _refuse_without_room(staging: Path, size: int) -> None:
    """Raise AgentError where the tables cannot be written once more."""
    place = staging if staging.exists() else staging.parent
    free = shutil.disk_usage(place).free
    if size + _ROOM > free:
        raise AgentError(
            Code.BACKUP_ROOM,
            f"the disk of {place} has {free // 2**20:,} MiB free, and to back the tables up takes {(size + _ROOM) // 2**20:,} MiB for a while. Make room",
        )


def _copy_database(source: Path, copy: Path) -> None:
    """Copy Grafana's database while Grafana is at work, and look whether it is whole. Raises AgentError."""
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as live,
            closing(sqlite3.connect(copy)) as target,
        ):
            live.backup(target, pages=1000, sleep=0.01)
            answer = target.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise AgentError(
            Code.BACKUP_SOURCE, f"Grafana's database {source}: cannot be copied ({error})"
        ) from None
    if answer != "ok":
        raise AgentError(Code.BACKUP_SOURCE, f"Grafana's database {source}: is damaged ({str(answer)[:200]})")


def telling(what: str) -> Callable[[int, int], object]:
    """Return what says how far a step is."""
    return lambda done, total: say(what, "going on", done=done, total=total)


def _quiet(done: int, total: int) -> None:
    """Say nothing of how far it is."""


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="seconds")

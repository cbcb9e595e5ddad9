"""Bring a backup's tables back into a database beside the live one, and hold every month against the manifest before anybody uses it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent import keeping, parts, staging
from cvat_analytics.operate.backup.agent.clickhouse import ClickHouse, quoted
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.creating import FORMAT, clean, clickhouse, telling
from cvat_analytics.operate.backup.agent.report import BAD_INPUT, AgentError, DamagedError, step
from cvat_analytics.operate.backup.agent.restic import Restic

_ROOM = 256 * 2**20


def beside(database: str) -> str:
    """Return the name of the database beside the live one."""
    return f"{database}_restored"


def manifest_of(restic: Restic, backup: dict[str, Any]) -> dict[str, Any]:
    """Return a backup's manifest. Raises AgentError for one of a newer version of this program."""
    text = restic.run("dump", backup["snapshot"], backup["path"])
    manifest: dict[str, Any] = json.loads(text)
    if manifest["format"] > FORMAT:
        raise AgentError(
            Code.BACKUP_VERSION,
            f"backup {backup['name']}: was made by a newer version ({manifest['versions'].get('cvat-analytics')}). Restore it with that one",
            BAD_INPUT,
        )
    return manifest


def wanted(manifest: dict[str, Any], tables: Sequence[str], months: Sequence[str]) -> parts.Sums:
    """Return which tables and months of the manifest are meant: all of those named, without names every one. Raises AgentError."""
    for table in tables:
        if table not in manifest["tables"]:
            raise AgentError(
                Code.BACKUP_UNKNOWN,
                f"backup {manifest['name']}: has no table {table}; it has {', '.join(manifest['tables'])}",
                BAD_INPUT,
            )
    chosen: parts.Sums = {
        table: {
            partition: sums for partition, sums in partitions.items() if not months or partition in months
        }
        for table, partitions in manifest["tables"].items()
        if not tables or table in tables
    }
    if months:
        chosen = {table: partitions for table, partitions in chosen.items() if partitions}
        if lacking := sorted(set(months) - {month for partitions in chosen.values() for month in partitions}):
            raise AgentError(
                Code.BACKUP_UNKNOWN,
                f"backup {manifest['name']}: has nothing of the month {', '.join(lacking)}",
                BAD_INPUT,
            )
    return chosen


def prepare(
    config: Config,
    restic: Restic,
    backup: dict[str, Any],
    tables: Sequence[str] = (),
    months: Sequence[str] = (),
) -> dict[str, Any]:
    """Have what is meant of a backup in the database beside the live one, compared, and return the manifest with `wanted`.

    What was damaged on its way or at the target is found here, and nothing of the live database has been touched then.
    """
    manifest = manifest_of(restic, backup)
    chosen = wanted(manifest, tables, months)
    ask = clickhouse(config)
    scratch = beside(config.database)
    # who was erased is asked of each
    erased = {table: manifest["tables"][table] for table in ("erasures",) if table in manifest["tables"]}
    filled = {**erased, **chosen}
    clean(config)
    ask.ask(f"DROP DATABASE IF EXISTS {scratch} SYNC")
    _refuse_without_room(config, manifest)
    with staging.opened(config) as own, staging.private(own, "fetched") as ours:
        with step("fetch"):
            # all of it, of a month too: of equal small files ClickHouse writes one, in whichever table, also where it is told not to
            *_, files = fetch(config, restic, backup, "tables", ours).values()
        if wrong := parts.difference(manifest["tables"], parts.of_backup(files, manifest["database"])):
            raise DamagedError(
                Code.BACKUP_DAMAGED,
                f"backup {backup['name']}: is damaged: {wrong}. Take another one; nothing was changed",
            )
        # while it is where nobody else gets in
        staging.hand_over(files, own)
        files.rename(own / "restoring")
    with step("restore", tables=len(chosen)):
        ask.ask(f"CREATE DATABASE {scratch}")
        # all of them, as migrations and views need each; filled is what was chosen, and who was erased
        mapped = {
            table: f"TABLE {manifest['database']}.`{table}` AS {scratch}.`{table}`"
            for table in manifest["tables"]
        }
        every = ", ".join(mapped.values())
        ask.in_background(
            f"RESTORE {every} FROM File('restoring') SETTINGS structure_only = 1", telling("structure")
        )
        for table in mapped:
            # parts stay as they were backed up, so that they can be compared
            ask.ask(f"SYSTEM STOP MERGES {scratch}.`{table}`")
        parts_of = ", ".join(
            mapped[table] + (" PARTITIONS " + ", ".join(map(quoted, partitions)) if months else "")
            for table, partitions in filled.items()
            if partitions
        )
        if parts_of:
            ask.in_background(f"RESTORE {parts_of} FROM File('restoring')", telling("restore"))
    with staging.opened(config) as own:
        staging.remove(own / "restoring")
    with step("compare") as said:
        _compare(ask, scratch, chosen, backup["name"])
        said["rows"] = sum(each["rows"] for table in chosen.values() for each in table.values())
    return {**manifest, "wanted": chosen, "beside": scratch}


def fetch(
    config: Config,
    restic: Restic,
    backup: dict[str, Any],
    part: str,
    where: Path,
    only: Sequence[str] = (),
    hosts: Sequence[str] = (),
) -> dict[str, Path]:
    """Have a part of a backup below the directory `where`, that of each host that has it, and return where exactly by host, the newest last.

    `only`: files of these patterns; `hosts`: those of these alone. Raises AgentError where none has it.
    """
    snapshots = {
        each["hostname"]: each
        for each in restic.snapshots(part)
        if keeping.belongs(each, backup) and (not hosts or each["hostname"] in hosts)
    }
    if not snapshots:
        raise AgentError(Code.BACKUP_UNKNOWN, f"backup {backup['name']}: has no {part}", BAD_INPUT)
    where.mkdir(parents=True, exist_ok=True)
    places = {}
    for number, (host, snapshot) in enumerate(
        sorted(snapshots.items(), key=lambda each: str(each[1]["time"]))
    ):
        path = str(snapshot["paths"][0])
        patterns = [f"--include={path}/{each}" for each in only]
        restic.run("restore", snapshot["id"], f"--target={where}/{number}", *patterns)
        places[host] = Path(f"{where}/{number}{path}")
    return places


def _compare(ask: ClickHouse, scratch: str, chosen: parts.Sums, name: str) -> None:
    """Raise AgentError unless each month has the manifest's rows and files, and ClickHouse can read every block of them."""
    rows = ask.rows(f"SELECT table, path FROM system.parts WHERE database = {quoted(scratch)} AND active")
    paths: dict[str, list[Path]] = {}
    for table, path in rows:
        paths.setdefault(str(table), []).append(Path(str(path)))
    found = {table: parts.of_parts(paths.get(table, ())) for table in chosen}
    if wrong := parts.difference(chosen, found):
        raise DamagedError(
            Code.BACKUP_DAMAGED,
            f"backup {name}: what was restored is not what was backed up: {wrong}. Nothing was changed",
        )
    for table in chosen:
        if paths.get(table):
            bad = ask.rows(f"CHECK TABLE {scratch}.`{table}` SETTINGS check_query_single_value_result = 0")
            for part, passed, message in bad:
                if not passed:
                    raise DamagedError(
                        Code.BACKUP_DAMAGED,
                        f"backup {name}: table {table}, part {part} cannot be read: {str(message)[:300]}. Take another one; nothing was changed",
                    )


def _refuse_without_room(config: Config, manifest: dict[str, Any]) -> None:
    """Raise AgentError where the files and the tables made of them do not fit beside the live ones."""
    size = 2 * int(manifest["parts"]["tables"]["bytes"]) + _ROOM
    place = Path(config.staging)
    free = shutil.disk_usage(place if place.exists() else place.parent).free
    if size > free:
        raise AgentError(
            Code.BACKUP_ROOM,
            f"the disk of {place} has {free // 2**20:,} MiB free, and to restore takes {size // 2**20:,} MiB for a while. Make room; nothing was changed",
        )


def check(config: Config, restic: Restic) -> dict[str, Any]:
    """Read every byte of the repository, and look whether each backup has what its manifest names. Raises AgentError."""
    restic.unlock()
    with step("read"):
        restic.run("check", "--read-data")
    found = keeping.backups(restic)
    with step("manifests", backups=len(found)):
        every = restic.snapshots()
        for backup in found:
            there = {
                (keeping.part(each), each["hostname"]) for each in every if keeping.belongs(each, backup)
            }
            for named in manifest_of(restic, backup)["parts"]:
                part, _, host = named.partition(" of ")
                if (part, host or backup["host"]) not in there:
                    raise AgentError(
                        Code.BACKUP_DAMAGED, f"backup {backup['name']}: its {named} is gone. Take another one"
                    )
    return {"backups": found}

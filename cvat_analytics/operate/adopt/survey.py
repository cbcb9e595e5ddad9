"""What there is to adopt, what will be done and what cannot be taken. Nothing is changed on either side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cvat_analytics.base.codes import Code, marked
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import only_row
from cvat_analytics.connect.volumes import Volume
from cvat_analytics.importing import columns, copying, stock, tables
from cvat_analytics.operate.adopt import hand_made
from cvat_analytics.operate.adopt.containers import Compose, Containers

ROWS_PER_SECOND = 30_000
"""How many events are copied, and then counted on both sides, in a second (docs/why/benchmarks.md#import)."""
_SHARE = 1.0
"""The room that is needed, of what the stock table takes: a third of it in the end, the rest while parts are merged."""
_OTHER_TEXT = "Say how they are encoded, as in --encoding cp1252 or --encoding cp932"


@dataclass(frozen=True)
class Source:
    """The stock table as it is named on the command line."""

    url: str
    user: str
    password: str
    database: str
    table: str
    leave_out: Sequence[str] = ()
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Events:
    """The stock table. `bytes` is None where the login may not see it; days are ISO dates, empty where there are none."""

    version: str
    rows: int
    bytes: int | None
    first: str
    last: str
    unknown_columns: Sequence[str]
    to_copy: int
    """Rows that are not here yet, or of days that have grown since."""
    implausible: int
    """Rows with a date that cannot be: they become dead letters."""
    expired: int
    """Rows that the setting 'events_retention' would remove at once."""


@dataclass(frozen=True)
class Plan:
    """What `adopt apply` would find and do. `refused`: why it would not begin."""

    events: Events
    grafana: hand_made.There | None
    containers: Containers
    needed_bytes: int | None
    free_bytes: int | None
    seconds: int
    notes: Sequence[str]
    not_taken: Sequence[str]
    refused: Sequence[str]
    steps: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Return the plan for machines."""
        return asdict(self)


def table(source: Source, access: Access) -> tuple[tables.Table, tables.Table]:
    """Return the stock table and this stack's own. Raises InputError when one of them is another kind of table."""
    target = stock.destination(access)
    found = tables.find(
        tables.connect(source.url, source.user, source.password),
        source.database,
        source.table,
        source.url,
        source.leave_out,
        "See --database, --table",
    )
    tables.refuse_itself(found, target)
    return replace(found, encoding=source.encoding), target


def key(found: tables.Table) -> str:
    """Return what the ledger of copied days calls a stock table: the same through whatever tunnel it is reached."""
    return f"stock {tables.engine(found)[1] or found.where} {found.database}.{found.name}"


def copy(found: tables.Table, target: tables.Table, access: Access) -> copying.Copy:
    """Return what there is to copy now."""
    return copying.plan(found, target, key(found), access.clickhouse.settings.events_retention)


def look(
    source: Source,
    access: Access,
    grafana: hand_made.There | None,
    compose: Compose,
    volumes: Sequence[Volume],
) -> Plan:
    """Return the plan."""
    refused: list[str] = []
    unknown: list[str] = []
    try:
        found, target = table(source, access)
    except InputError as error:
        unknown = _unknown(source)
        if not unknown:
            raise
        refused.append(error.told)
        wider = replace(source, leave_out=[*source.leave_out, *unknown])
        found, target = table(wider, access)
    try:
        found.refuse_other_text(_OTHER_TEXT)
    except InputError as error:
        refused.append(error.told)
    there = copy(found, target, access)
    events = _events(found, there, unknown)
    needed = (
        None if events.bytes is None else round(events.bytes * _SHARE * events.to_copy / max(events.rows, 1))
    )
    free, refusal = _room(volumes, needed)
    containers = compose.look()
    return Plan(
        events,
        grafana,
        containers,
        needed,
        free,
        -(-events.to_copy // ROWS_PER_SECOND),
        there.notes(),
        _not_taken(grafana, there),
        refused + refusal,
        _steps(grafana, containers, compose),
    )


def _unknown(source: Source) -> list[str]:
    """Return the columns of the stock table for which there is no place and of which nothing was said."""
    client = tables.connect(source.url, source.user, source.password)
    found = tables.Table(client, source.database, source.table, {}, source.url)
    try:
        described = found.query(f"DESCRIBE TABLE {found.sql_name}")
    except CvatAnalyticsError:
        return []
    names = [row[0] for row in described if row[2] not in ("MATERIALIZED", "ALIAS")]
    return [name for name in columns.unknown(names) if name not in source.leave_out]


def _events(found: tables.Table, there: copying.Copy, unknown: Sequence[str]) -> Events:
    version = str(only_row(found.query("SELECT version()"))[0])
    try:
        parts = found.query(
            f"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{found.database}' AND table = '{found.name}'"
        )
        size: int | None = int(only_row(parts)[0])
    except CvatAnalyticsError:  # a user who may read the table alone
        size = None
    days = sorted({**there.expired, **there.days})
    return Events(
        version,
        there.rows + sum(there.expired.values()),
        size,
        copying.iso(days[0]) if days else "",
        copying.iso(days[-1]) if days else "",
        unknown,
        sum(there.pending().values()),
        sum(there.before.values()) + sum(there.ahead.values()),
        sum(there.expired.values()),
    )


def _room(volumes: Sequence[Volume], needed: int | None) -> tuple[int | None, list[str]]:
    """Return how much is free for events, and whether that is too little."""
    of_store = [each for each in volumes if "clickhouse" in each.components]
    if not of_store:
        return None, []
    volume = min(of_store, key=lambda each: each.free)
    free = max(0, volume.free - 2 * volume.reserve)
    if needed is None or needed <= free:
        return free, []
    text = (
        f"host {volume.host}: {volume.directory} has room for {free // 2**20:,} MiB beside the reserve (setting 'disk_reserve'), and "
        f"{needed // 2**20:,} MiB are needed. Make room (docs/how-to/disk-is-full.md), or keep less (setting 'events_retention')"
    )
    return free, [marked(text, Code.DISK_FULL)]


def _not_taken(grafana: hand_made.There | None, there: copying.Copy) -> list[str]:
    lines = []
    if there.expired:
        lines.append("events older than the setting 'events_retention': they stay where they are")
    lines.append(
        "counts beyond 65 535: the stock table has wrapped them (docs/how-to/import.md#numbers-that-the-stock-table-has-wrapped)"
    )
    if grafana is None:
        lines.append(
            "dashboards that people made: no Grafana is asked (--no-grafana, or it was stopped when all of them had been brought)"
        )
        return lines
    if grafana.users is None or grafana.users > 1:
        count = "users" if grafana.users is None else f"{grafana.users} users"
        lines.append(
            f"Grafana's {count} with their rights and preferences: people come in by their login at CVAT"
        )
    if grafana.alert_rules:
        lines.append(
            f"{grafana.alert_rules} alert rules of the stock Grafana (this stack has its own: docs/how-to/turn-on-alerts.md)"
        )
    if grafana.datasources is not None and grafana.datasources > 1:
        lines.append(
            f"{grafana.datasources - 1} datasources beside ClickHouse: panels that ask them are named by `apply`"
        )
    if grafana.saved_stock:
        titles = ", ".join(each.title for each in grafana.saved_stock)
        lines.append(
            f"what was changed in CVAT's own dashboards ({titles}): this stack has its own of the same address. Save a changed one under "
            "another name there, and it comes along"
        )
    return lines


def _steps(grafana: hand_made.There | None, containers: Containers, compose: Compose) -> list[str]:
    steps = ["copy the stock events into this stack, while CVAT goes on sending to the stock Vector"]
    if grafana is not None:
        steps.append(
            f"keep {len(grafana.hand_made)} hand-made dashboards as files, and put them into this stack's Grafana"
        )
    steps += [
        "print the override for CVAT, under which the stock containers go on; you start CVAT with it",
        "wait until CVAT's events arrive here and the stock table grows no more",
        f"ask, then stop cvat_vector ({'by docker' if not containers.unknown else 'you do, where docker is'}), so that nothing can go there",
        "copy what has come there meanwhile, and compare both sides month by month",
        f"stop cvat_grafana, then cvat_clickhouse; nothing is removed, and `{compose.command('start', 'cvat_clickhouse', 'cvat_vector', 'cvat_grafana')}` brings them back",
    ]
    return steps

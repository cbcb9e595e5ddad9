"""A database as the versions before have left it, whose `count` has 16 bits; and what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations, rebuild
from cvat_analytics.store.event_columns import COLUMNS
from cvat_analytics.store.migrations import Script
from tests.clickhouse import Store

INIT = Script("init.sql", "once", (Path(__file__).parent / "former" / "init.sql").read_text())
SCRIPTS = migrations.read(ROOT / "clickhouse")
SHOWN = ", ".join(COLUMNS)
DERIVED = {
    "completed_jobs": "timestamp, user_id, org_id, project_id, task_id, job_id FROM {}.completed_jobs SETTINGS final = 1",
    "working_time_days": "user_id, day, max(furthest_ms), argMaxMerge(last_event), sum(client_events) > 0 FROM {}.working_time_days GROUP BY user_id, day",
    "known_objects": "kind, id, argMaxMerge(name) FROM {}.known_objects GROUP BY kind, id",
}


def make(store: Store, database: str) -> None:
    """Make `database` as such a version has made it."""
    for statement in migrations.bootstrap(database):
        store.post(statement, database="default")
    for script in [INIT, *SCRIPTS[1:]]:
        for statement in migrations.statements(script.text(database)):
            store.post(statement, database=database)
        store.post(migrations.record(script, database))


def ask(store: Store) -> rebuild.Ask:
    """Return how to ask this engine."""

    def answer(query: str) -> list[list[str]]:
        text = store.post(f"{query} FORMAT TSVRaw", database="default")
        return [line.split("\t") for line in text.split("\n") if line]

    return answer


def event(number: int, **fields: Any) -> dict[str, Any]:
    """Return one event of a history that has some of everything; `obj_id` is its number."""
    month, day = 1 + number % 3, 1 + number // 3 % 28
    kinds: list[dict[str, Any]] = [
        {"scope": "create:shapes", "source": "server", "count": number % 65536, "payload": json.dumps({"request": {"id": f"r{number}"}})},
        {"scope": "draw:object", "source": "client", "duration": 7, "job_id": number % 5, "task_id": 1, "user_name": f"u{number % 7}"},
        {"scope": "update:job", "source": "server", "obj_name": "state", "obj_val": "completed", "job_id": number % 11},
        {"scope": "load:cvat", "source": "client", "org_id": 3, "org_slug": "organization", "access_token_id": 2**63 - 1},
    ]  # fmt: skip
    usual = {
        "obj_id": number,
        "user_id": None if number % 13 == 0 else number % 7,
        "timestamp": f"2026-{month:02}-{day:02} {number % 24:02}:{number // 24 % 60:02}:00.{number % 1000:03}",
    }
    return usual | kinds[number % len(kinds)] | fields


def insert(
    store: Store, database: str, events: list[dict[str, Any]], table: str = "events", user: str = "admin"
) -> None:
    """Insert `events`, as Vector does."""
    body = "\n".join(json.dumps(each) for each in events)
    store.post(f"INSERT INTO {database}.{table} FORMAT JSONEachRow\n{body}", user=user, database="default")


def value(store: Store, query: str) -> str:
    """Return the only value that `query` asks for."""
    return ask(store)(query)[0][0]


def contents(store: Store, database: str, columns: str = SHOWN, condition: str = "1") -> str:
    """Return what stands for the events that readers see: how many, and a sum over `columns`."""
    names = [f"CAST({name}, 'Nullable(UInt32)')" if name == "count" else name for name in columns.split(", ")]
    hashes = f"SELECT count(), sum(cityHash64(tuple({', '.join(names)})))"
    return str(ask(store)(f"{hashes} FROM {database}.events FINAL WHERE {condition}"))


def derived(store: Store, database: str) -> dict[str, str]:
    """Return the same of the tables that views have made of the events."""
    return {
        table: str(ask(store)(f"SELECT count(), sum(cityHash64(*)) FROM (SELECT {what.format(database)})"))
        for table, what in DERIVED.items()
    }


def days(store: Store, database: str) -> list[list[str]]:
    """Return how many events have been inserted into each day, repetitions included."""
    return ask(store)(f"SELECT day, sum(inserted) FROM {database}.event_days GROUP BY day ORDER BY day")


def client_days(store: Store, database: str) -> list[list[str]]:
    """Return the same of client events; like the other it may have an insert twice that was cut off by a kill and came again."""
    return ask(store)(
        f"SELECT day, sum(client_events) FROM {database}.working_time_days GROUP BY day ORDER BY day"
    )


def drop_counts(store: Store) -> None:
    """Take away the counts per hour as they are made today, in whose place those of a version before may come."""
    for view in (
        "event_counts",
        "settled_counts",
        "counted_days",
        "event_counts_refresh",
        "event_days_refresh",
    ):
        store.post(f"DROP VIEW {view} SYNC")
    store.post("DROP TABLE event_counts_settled SYNC")

"""`python -m benchmarks.store.candidates`: other ways to store the events, measured beside the chosen one.

Each file of `candidates/` is a table; its first line says what it tries. The chosen one is read from clickhouse/init.sql.
The table that this prints is in docs/why/store.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from benchmarks.report import table
from benchmarks.store import histories
from benchmarks.store.engine import Engine
from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from tests.clickhouse import running

FILES = Path(__file__).parent / "candidates"

READER = (
    "final = 1, do_not_merge_across_partitions_select_final = 1, "
    "optimize_move_to_prewhere_if_final = 1, use_skip_indexes_if_final_exact_mode = 0"
)
QUERIES = {
    "request": "SELECT * FROM {table} WHERE request_id = '{request}'",
    "job": "SELECT * FROM {table} WHERE job_id = {job}",
    "user": "SELECT toDate(timestamp), count() FROM {table} WHERE user_id = {user} GROUP BY 1",
    "7 days": "SELECT toStartOfHour(timestamp), count() FROM {table} WHERE timestamp > toDateTime('{end}') - INTERVAL 7 DAY GROUP BY 1",
    "15 min": "SELECT uniqExact(user_id) FROM {table} WHERE timestamp > toDateTime('{end}') - INTERVAL 15 MINUTE",
    "newest": "SELECT * FROM {table} WHERE timestamp > toDateTime('{end}') - INTERVAL 7 DAY ORDER BY timestamp DESC LIMIT 5000",
    "scopes": "SELECT scope, source, count() FROM {table} GROUP BY 1, 2",
    "exceptions": "SELECT toDate(timestamp), JSONExtractString(payload, 'message') AS message, count() FROM {table} WHERE scope = 'send:exception' GROUP BY 1, 2",
}


def candidates() -> dict[str, str]:
    """Return the statements that make each candidate, with `{table}` for its name; the chosen one first."""
    (chosen,) = (
        statement
        for statement in migrations.statements((ROOT / "clickhouse" / "init.sql").read_text())
        if "EXISTS events\n" in statement
    )
    sql = {"chosen": chosen[chosen.index("CREATE TABLE") :].replace("IF NOT EXISTS events", "{table}", 1)}
    return sql | {file.stem: file.read_text() for file in sorted(FILES.glob("*.sql"))}


def measure(engine: Engine, name: str, sql: str, sessions: int, runs: int) -> list[str]:
    """Fill one candidate, merge it, and return its row of the table."""
    full = f"candidate.{name}"
    engine.ask(sql.replace("{table}", full))
    seconds = histories.load(engine, 0, sessions, full)
    engine.optimize("candidate", name)
    size, rows = engine.bytes("candidate", name)
    (ids,) = engine.ask(
        f"SELECT request_id, job_id, user_id, (SELECT toDateTime(max(timestamp)) FROM {full}) FROM {full} "
        "WHERE scope = 'create:shapes' ORDER BY timestamp LIMIT 1"
    ).cells
    values = {"table": full, **dict(zip(("request", "job", "user", "end"), ids, strict=True))}
    times = [
        engine.timed(what, f"{query.format(**values)} SETTINGS {READER}", runs)
        for what, query in QUERIES.items()
    ]
    engine.ask(f"DROP TABLE {full} SYNC")
    return [
        name,
        f"{size / rows:.2f}",
        f"{sessions * histories.SESSION_EVENTS / seconds / 1000:.0f}",
        *(f"{each.median_ms:.0f}" for each in times),
        "",
    ]


@click.command()
@click.option("--events", default=5_000_000, show_default=True, type=click.IntRange(min=1000))
@click.option("--runs", default=5, show_default=True, type=click.IntRange(min=1))
@click.argument("names", nargs=-1)
def main(events: int, runs: int, names: tuple[str, ...]) -> None:
    """Measure the candidates NAMES (default: all): bytes per event, 1000 events/s of a bulk load, milliseconds."""
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        running(Path(directory), memory_profile="medium", clickhouse_memory_limit=8 * 2**30) as store,
    ):
        engine = Engine(store)
        engine.ask("CREATE DATABASE candidate")
        for name, sql in candidates().items():
            if not names or name in names:
                click.echo(f"… {name}", err=True)
                rows.append(measure(engine, name, sql, events // histories.SESSION_EVENTS, runs))
    click.echo(table(["", "bytes", "load", *QUERIES, ""], rows))


if __name__ == "__main__":
    main()

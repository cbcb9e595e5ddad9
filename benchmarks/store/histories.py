"""CVAT histories for the benchmark: made by ClickHouse itself, the same in every run, into the stock table and ours."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.report import BenchmarkError
from benchmarks.store.engine import Engine
from cvat_analytics.store import event_columns

SQL = Path(__file__).parent
STOCK = "stock.events"

SESSION_EVENTS = 1000
"""How many events a work session has, about."""
DAY_SESSIONS = 77
"""How many annotators work on a workday, each in one session."""

COLUMNS = ", ".join(event_columns.COLUMNS)
ARRIVAL = (
    "fromUnixTimestamp64Milli(toInt64((intDiv(toUnixTimestamp64Milli(timestamp), 2000) AS batch) * 2000 "
    "+ 2300 + cityHash64(batch) % 1000), 'Etc/UTC')"
)
"""When an event would have arrived: CVAT sends every two seconds. What `now()` says of a bulk load compresses too well."""


def generator(first: int, last: int) -> str:
    """Return the query that makes the sessions `first` <= session < `last`."""
    sql = (SQL / "generator.sql").read_text()
    return sql.replace("{first}", str(first)).replace("{last}", str(last))


def create_stock(engine: Engine) -> None:
    """Make CVAT's own table in a database of its own."""
    engine.ask(f"CREATE DATABASE {STOCK.partition('.')[0]}")
    engine.ask((SQL / "stock.sql").read_text().replace("{table}", STOCK))


def load_stock(engine: Engine, first: int, last: int) -> None:
    """Insert sessions into the stock table, a week at a time."""
    for begin, end in _weeks(first, last):
        engine.ask(f"INSERT INTO {STOCK} {generator(begin, end)}")


def load(engine: Engine, first: int, last: int) -> None:
    """Insert sessions into our table, a week at a time."""
    for begin, end in _weeks(first, last):
        engine.ask(
            f"INSERT INTO events ({COLUMNS}, received_at) SELECT {COLUMNS}, {ARRIVAL} FROM ({generator(begin, end)})",
            insert_allow_materialized_columns=1,
            max_partitions_per_insert_block=0,
        )


def batches(engine: Engine, first: int, last: int, size: int) -> list[str]:
    """Return sessions as Vector sends them: JSON lines in order of time, `size` events in each text."""
    lines = engine.ask(
        f"SELECT {COLUMNS} FROM ({generator(first, last)}) ORDER BY timestamp FORMAT JSONEachRow",
        output_format_json_quote_64bit_integers=0,
    ).text.splitlines()
    return ["\n".join(lines[start : start + size]) for start in range(0, len(lines), size)]


def send(engine: Engine, batch: str, table: str, user: str) -> float:
    """Insert one batch as Vector does and return the events per second."""
    answer = engine.ask(f"INSERT INTO {table} FORMAT JSONEachRow\n{batch}", user=user, async_insert=0)
    return (batch.count("\n") + 1) / answer.seconds


def ingest(engine: Engine, first: int, last: int) -> tuple[float, float]:
    """Send sessions to both tables in turn, 10 MB at once as a busy Vector does; return stock's and our events per second."""
    speeds = [
        (send(engine, batch, STOCK, "admin"), send(engine, batch, "incoming_events", "vector"))
        for batch in batches(engine, first, last, 28_000)
    ]
    stock, ours = zip(*speeds, strict=True)
    return statistics.median(stock), statistics.median(ours)


def refreshable_views(engine: Engine) -> list[str]:
    """Return the names of the views that are computed every so often."""
    database = engine.store.context.settings.database
    found = engine.ask(f"SELECT view FROM system.view_refreshes WHERE database = '{database}' ORDER BY view")
    return [name for (name,) in found.cells]


def pause(engine: Engine) -> None:
    """Keep the refreshable views from being computed while something else is loaded or measured.

    Nothing is inserted while they are computed here, so that no day needs the time to settle that life needs.
    """
    engine.ask(
        "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, settle_seconds) "
        "SELECT threshold_ms, duration_scopes, retention_seconds, 0 FROM working_time_settings FINAL WHERE settle_seconds > 0"
    )
    for view in refreshable_views(engine):
        engine.ask(f"SYSTEM STOP VIEW {view}")


def refresh_once(engine: Engine) -> float:
    """Compute the refreshable views once and return the seconds."""
    seconds = 0.0
    for view in refreshable_views(engine):
        for action in ("START", "REFRESH", "WAIT"):
            seconds += engine.ask(f"SYSTEM {action} VIEW {view}").seconds
    return seconds


def refresh(engine: Engine, rounds: int = 100) -> float:
    """Compute the refreshable views until working time holds every client event and no day is to be counted; return the seconds.

    Raises BenchmarkError when it never does.
    """
    events = engine.value("SELECT count() FROM events FINAL WHERE source = 'client'")
    seconds = 0.0
    for _ in range(rounds):
        seconds += refresh_once(engine)
        if (
            engine.value("SELECT sum(events) FROM working_time") == events
            and engine.value("SELECT countIf(is_due) FROM event_days_state") == "0"
        ):
            return seconds
    raise BenchmarkError(f"working time does not hold all {events} client events after {rounds} refreshes")


def settle(engine: Engine) -> float:
    """Bring everything into the state that it reaches by itself when a history is at rest; return the seconds of the refreshes.

    That is: one part per month of every table, everything computed that is computed from the events, what was replaced gone, and no day
    left that is counted while it is asked for. Raises BenchmarkError when it is not so.
    """
    database = engine.store.context.settings.database
    engine.optimize(database, "events")
    seconds = refresh(engine)
    pause(engine)
    tables = engine.ask(
        f"SELECT name FROM system.tables WHERE database = '{database}' AND engine LIKE '%MergeTree' ORDER BY name"
    )
    for (table,) in tables.cells:
        engine.optimize(database, table)
    if problem := unsettled(engine):
        raise BenchmarkError(f"the history does not come to rest: {problem}")
    return seconds


def unsettled(engine: Engine) -> str:
    """Return what is not yet as it is in a history at rest; empty when all is."""
    database = engine.store.context.settings.database
    uncounted = engine.value("SELECT length(days.uncounted) FROM counted_days")
    parts = f"FROM system.parts WHERE active AND database = '{database}'"
    several = engine.ask(f"SELECT table {parts} GROUP BY table, partition_id HAVING count() > 1 LIMIT 1").text
    # of a part without its projections the counts themselves are read
    without = engine.value(
        f"SELECT countIf(length(projections) != (SELECT count() FROM system.projections WHERE database = '{database}' AND table = 'event_counts_settled')) "
        f"{parts} AND table = 'event_counts_settled'"
    )
    if several:
        return f"a partition of {several.strip()} has several parts"
    if without != "0":
        return f"{without} parts of event_counts_settled are without projections"
    return f"{uncounted} days are not counted" if uncounted != "0" else ""


def _weeks(first: int, last: int) -> list[tuple[int, int]]:
    step = 6 * DAY_SESSIONS
    return [(begin, min(begin + step, last)) for begin in range(first, last, step)]

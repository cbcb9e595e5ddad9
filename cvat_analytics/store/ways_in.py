"""Whether what is inserted is handed on: behind each of the two tables that are inserted into, and keep nothing, stand views.

Without them such a table would accept every insert, and all of it would be gone. So it has a constraint that names each view behind it:
where one is missing, or does not know the newest column, ClickHouse refuses each insert, even one of no rows, and whoever inserts tries again.
"""

from __future__ import annotations

from dataclasses import dataclass

from cvat_analytics.store.erasures import INCOMING, INCOMING_LETTERS
from cvat_analytics.store.event_columns import COLUMNS


@dataclass(frozen=True)
class Way:
    """A view that hands on from a table that keeps nothing."""

    source: str
    target: str

    @property
    def column(self) -> str:
        """Return the newest of its columns: a view of before there was this one would leave it out, and nobody would know."""
        return "sender" if self.source == INCOMING_LETTERS else next(reversed(COLUMNS))


VIEWS = {
    "incoming_events_judged": Way(INCOMING, "judged_events"),
    "judged_events_let_in": Way("judged_events", "events"),
    "judged_events_late": Way("judged_events", "late_events"),
    "late_events_let_in": Way("late_events", "events"),
    "incoming_dead_letters_let_in": Way(INCOMING_LETTERS, "events_dead_letter"),
}
"""Of each view what it reads and writes."""
SCRIPT = "views/incoming.sql"
"""The script that makes all of it."""


def behind(table: str) -> dict[str, str]:
    """Return the views that stand behind `table`, however far, each with its newest column."""
    found: dict[str, str] = {}
    for view, way in VIEWS.items():
        if way.source == table:
            found |= {view: way.column} | behind(way.target)
    return found


def broken_query(database: str) -> str:
    """Return the query for those of the views, with commas between, that are missing, or not between the table and what it is to write to.

    It has no backslashes: the deploy's shell would take them.
    """
    ways = ", ".join(f"('{view}', '{way.source}', '{way.target}')" for view, way in VIEWS.items())
    inserted = ", ".join(f"'{table}'" for table in (INCOMING, INCOMING_LETTERS))
    tables = f"FROM system.tables WHERE database = '{database}'"
    into = f"extract(replaceAll(create_table_query, '`', ''), ' TO {database}[.]([0-9A-Za-z_]+) ')"
    return (
        f"SELECT arrayStringConcat(groupArray(view), ',') FROM (SELECT arrayJoin([{ways}]) AS way, way.1 AS view, way.2 AS source, way.3 AS target) "
        f"WHERE (source, view) NOT IN (SELECT name, arrayJoin(dependencies_table) {tables} AND engine = 'Null' "
        f"AND (name NOT IN ({inserted}) OR position(create_table_query, 'hasColumnInTable') > 0)) "
        f"OR (view, target) NOT IN (SELECT name, {into} {tables} AND engine = 'MaterializedView')"
    )


def problem(database: str, broken: str) -> str:
    """Return what is wrong where `broken_query` has found something."""
    views = " and ".join(f"{database}.{view}" for view in broken.split(","))
    targets = " and ".join(
        f"{database}.{table}" for table in dict.fromkeys(_stored_in(view) for view in broken.split(","))
    )
    return f"nothing comes into {targets}: the view {views}, which hands on what is inserted, is missing, or is not as the deploy makes it"


def _stored_in(view: str) -> str:
    """Return the table into which in the end what `view` hands on comes."""
    target = VIEWS[view].target
    return next((_stored_in(name) for name, way in VIEWS.items() if way.source == target), target)

"""Whether what is inserted is handed on: behind each of the two tables that keep nothing stands one view.

Without its view such a table would accept every insert, and all of it would be gone. So it has a constraint that names the view: where
there is none, ClickHouse refuses each insert, even one of no rows, and whoever inserts tries again.
"""

from __future__ import annotations

from cvat_analytics.store.erasures import INCOMING, INCOMING_LETTERS

_TARGETS = {INCOMING: "events", INCOMING_LETTERS: "events_dead_letter"}
VIEWS = {f"{table}_let_in": target for table, target in _TARGETS.items()}
"""Of each view what it writes to."""
SCRIPT = "views/incoming.sql"
"""The script that makes all of it."""


def broken_query(database: str) -> str:
    """Return the query for those of the views, with commas between, that are missing, or not between the table and what it is to write to.

    It has no backslashes: the deploy's shell would take them.
    """
    ways = ", ".join(f"('{table}', '{target}')" for table, target in _TARGETS.items())
    tables = f"FROM system.tables WHERE database = '{database}'"
    into = f"extract(replaceAll(create_table_query, '`', ''), ' TO {database}[.]([0-9A-Za-z_]+) ')"
    return (
        f"SELECT arrayStringConcat(groupArray(view), ',') FROM (SELECT arrayJoin([{ways}]) AS way, way.1 AS incoming, way.2 AS target, "
        "concat(incoming, '_let_in') AS view) "
        f"WHERE incoming NOT IN (SELECT name {tables} AND engine = 'Null' AND has(dependencies_table, concat(name, '_let_in')) "
        "AND position(create_table_query, 'hasColumnInTable') > 0) "
        f"OR (view, target) NOT IN (SELECT name, {into} {tables} AND engine = 'MaterializedView')"
    )


def problem(database: str, broken: str) -> str:
    """Return what is wrong where `broken_query` has found something."""
    views = " and ".join(f"{database}.{view}" for view in broken.split(","))
    targets = " and ".join(f"{database}.{VIEWS[view]}" for view in broken.split(","))
    return f"nothing comes into {targets}: the view {views}, which hands on what is inserted, is missing, or is not as the deploy makes it"

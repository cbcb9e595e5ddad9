"""What each user of ClickHouse's may do: written into users.d by the deploy, and compared by `status` with what is so.

Stated once, so that a right that was taken away by hand is found before somebody needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cvat_analytics.store import ways_in

READABLE = (
    *("events", "events_as_stored"),
    *("working_time", "working_time_local", "working_time_slots", "working_time_in_range"),
    *(
        "event_counts",
        "settled_counts",
        "event_counts_settled",
        "counted_days",
        "no_counted_days",
        "event_days",
        "event_days_state",
        "event_sources",
        "completed_jobs",
    ),
    *("user_names", "organization_names", "project_names", "task_names"),
    *("events_dead_letter", "pipeline_metrics", "refused_sinks", "insert_errors", "background_failures"),
    *(
        "storage_tables",
        "storage_parts",
        "storage_disks",
        "storage_forecast",
        "server_versions",
        "deployments",
        "backups",
    ),
)
"""What docs/reference/tables.md offers to whoever sees the dashboards."""

BEHIND = (
    *("working_time_by_day", "working_time_results", "working_time_settings"),
    *(
        "event_months",
        "job_changes",
        "known_names",
        "known_objects",
    ),
)
"""What views among these read with the rights of who asks them."""


@dataclass(frozen=True)
class Right:
    """Some privileges on a table, or on all of a database (no `table`); without `database` on the table engine `table`."""

    privileges: tuple[str, ...]
    database: str
    table: str = ""
    columns: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """Return it as a GRANT without its user, as users.d has it."""
        columns = f"({', '.join(self.columns)})" if self.columns else ""
        what = ", ".join(f"{privilege}{columns}" for privilege in self.privileges)
        on = f"{self.database}.{self.table or '*'}" if self.database else self.table
        return f"GRANT {what} ON {on}"


def former_of_vector(database: str) -> tuple[Right, ...]:
    """Return what Vector of an earlier version needs, which wrote into the tables themselves: lent to it until it runs with what is new."""
    return tuple(Right(("INSERT",), database, table) for table in ("events", "events_dead_letter"))


def of_users(database: str, cvat_columns: Sequence[str] = ()) -> dict[str, tuple[Right, ...]]:
    """Return what each user may do where the stack's database has that name; `cvat_columns` is the setting."""
    return {
        "vector": (
            *(
                Right(("INSERT",), database, table)
                for table in ("incoming_events", "incoming_dead_letters", "pipeline_metrics")
            ),
            # each insert sees whether the view behind the table is there
            *(Right(("SHOW COLUMNS",), database, view) for view in ways_in.VIEWS),
            # Only for stacks of before there was `judged_events`: ClickHouse takes up its users before its schema is brought up to date, and
            # until then the constraint of `incoming_events` asks for this view. To go together with the line that drops it (views/incoming.sql)
            Right(("SHOW COLUMNS",), database, "incoming_events_let_in"),
        ),
        "grafana": tuple(Right(("SELECT",), database, table) for table in (*READABLE, *BEHIND)),
        # how far an export is; not what others ask
        "events_api": (
            *(Right(("SELECT",), database, table) for table in ("events", "events_as_stored")),
            Right(("SELECT",), "system", "processes", ("query_id", "read_rows", "total_rows_approx")),
        ),
        # its export, and at its start "create if not exists", "add column if not exists": of columns that are there already, as one
        # that is not could get a default that throws, and stop every insert
        "cvat": (
            Right(("CREATE DATABASE",), database),
            Right(("SELECT", "CREATE TABLE"), database, "events"),
            Right(("ALTER ADD COLUMN",), database, "events", ("access_token_id", *cvat_columns)),
            Right(("TABLE ENGINE",), "", "MergeTree"),
        ),
    }


Rows = Callable[[str], Sequence[Sequence[Any]]]

_OTHERS = "SELECT name, storage FROM system.users WHERE storage != 'users_xml' ORDER BY name"


def others(rows: Rows) -> list[str]:
    """Return who was made by SQL, with where that is kept: a deploy, which writes files, neither knows them nor takes a right from them."""
    return [f"{name} ({storage})" for name, storage in rows(_OTHERS)]


_HELD = """
SELECT user_name, toString(access_type), ifNull(database, ''), ifNull(table, ''), ifNull(column, ''), is_partial_revoke
FROM system.grants
WHERE user_name IN ('{users}')
"""


def lacking(rows: Rows, database: str, cvat_columns: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return of each user the rights, as statements, that somebody has taken away. `rows` asks ClickHouse as administrator."""
    groups = {
        str(one): str(group)
        for one, group in rows("SELECT toString(privilege), toString(parent_group) FROM system.privileges")
    }
    wanted = of_users(database, cvat_columns)
    held = rows(_HELD.format(users="', '".join(wanted)))

    def has(user: str, privilege: str, place: tuple[str, str, str]) -> bool:
        names = [privilege]
        while group := groups.get(names[-1]):
            names.append(group)
        found = [
            bool(revoked)
            for holder, name, *where, revoked in held
            if holder == user
            and name in names
            # what is taken from a part is missing in the whole
            and all(
                not mine or mine == there or (revoked and not there)
                for mine, there in zip(where, place, strict=True)
            )
        ]
        return bool(found) and not any(found)

    return {
        user: [
            right.statement
            for right in rights
            if not all(
                has(user, privilege, (right.database, right.table if right.database else "", column))
                for privilege in right.privileges
                for column in right.columns or ("",)
            )
        ]
        for user, rights in wanted.items()
    }

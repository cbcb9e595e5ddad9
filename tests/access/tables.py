"""What each of ClickHouse's users may do with each table and view, and beyond them: each tried, as that user."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

import httpx

_VALUES = {"DateTime64": "'2026-01-01 00:00:00'", "DateTime": "'2026-01-01 00:00:00'"}
"""For the parameters of a view, by the beginning of their type; a number for all others."""

VERBS = {
    "S": ("reads it", "SELECT * FROM {table}{arguments} LIMIT 1"),
    "I": ("inserts into it", "INSERT INTO {table} FORMAT JSONEachRow"),
    "M": (
        "makes it if it is not there",
        "CREATE TABLE IF NOT EXISTS {table} (a UInt8) ENGINE = MergeTree ORDER BY a",
    ),
    "E": (
        "adds a column if it is not there, which it is",
        "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} UInt8",
    ),
    "A": ("adds a column of its own", "ALTER TABLE {table} ADD COLUMN intruder UInt8"),
    "D": ("drops it", "DROP TABLE {table}"),
}
"""What is tried with each table: its letter, its meaning, its statement."""

_UNDO = {"A": "ALTER TABLE {table} DROP COLUMN intruder"}

POWERS = {
    "make a table": ("CREATE TABLE intruder (a UInt8) ENGINE = MergeTree ORDER BY a", "DROP TABLE intruder"),
    "make a view": ("CREATE VIEW intruder AS SELECT 1", "DROP VIEW intruder"),
    "make a view that sees each insert of events": (
        "CREATE MATERIALIZED VIEW intruder ENGINE = MergeTree ORDER BY tuple() AS SELECT scope FROM events",
        "DROP VIEW intruder",
    ),
    "make a database": ("CREATE DATABASE intruder", "DROP DATABASE intruder"),
    "fill a temporary table": (
        "CREATE TEMPORARY TABLE intruder ENGINE = MergeTree ORDER BY a AS SELECT number AS a FROM numbers(1000)",
        "",
    ),
    "make a table of files": ("CREATE TABLE intruder (a UInt8) ENGINE = File(CSV)", "DROP TABLE intruder"),
    "make a table of another server": (
        "CREATE TABLE intruder (a UInt8) ENGINE = URL('http://127.0.0.1:1/', CSV)",
        "DROP TABLE intruder",
    ),
    "make a table on a disk elsewhere": (
        "CREATE TABLE intruder (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:1/')",
        "DROP TABLE intruder",
    ),
    "make a dictionary of another server": (
        "CREATE DICTIONARY intruder (a String, b String) PRIMARY KEY a SOURCE(HTTP(URL 'http://127.0.0.1:1/' FORMAT CSV)) "
        "LAYOUT(COMPLEX_KEY_DIRECT())",
        "DROP DICTIONARY intruder",
    ),
    "name another server": (
        "CREATE NAMED COLLECTION intruder AS url = 'http://127.0.0.1:1/'",
        "DROP NAMED COLLECTION intruder",
    ),
    "give a view somebody else's rights": (
        "CREATE VIEW intruder (a UInt8) DEFINER = default SQL SECURITY DEFINER AS SELECT 1 AS a",
        "DROP VIEW intruder",
    ),
    "grant": ("GRANT SELECT ON {database}.events TO cvat", ""),
    "make a user": ("CREATE USER intruder", "DROP USER intruder"),
    "read who the users are": ("SELECT name FROM system.users", ""),
    "read what others ask": ("SELECT query FROM system.processes", ""),
    "see how far a query is": ("SELECT query_id, read_rows, total_rows_approx FROM system.processes", ""),
    # of file() the engine's library asks no right: nothing here is a place for it to read from (test_files_of_the_machine.py)
    "read files of the server": ("SELECT count() FROM filesystem('/etc')", ""),
    "read from other addresses": ("EXPLAIN SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", ""),
    "end the queries of others": ("KILL QUERY WHERE query_id = 'intruder'", ""),
    "stop merges": ("SYSTEM STOP MERGES {database}.events", "SYSTEM START MERGES {database}.events"),
    "stop working time": (
        "SYSTEM STOP VIEW {database}.working_time_refresh",
        "SYSTEM START VIEW {database}.working_time_refresh",
    ),
    "ask without a limit of time": ("SELECT 1 SETTINGS max_execution_time = 0", ""),
    "ask without a limit of memory": ("SELECT 1 SETTINGS max_memory_usage = 0", ""),
}
"""What is tried beyond the tables: its statement, and what undoes it."""


class Outcome(Enum):
    """What comes of a statement."""

    DONE = auto()
    REFUSED = auto()
    IMPOSSIBLE = auto()
    """No right was in the way, but nobody can do that with a view."""


_REFUSALS = {
    "164",  # READONLY
    "201",  # QUOTA_EXCEEDED
    "452",  # SETTING_CONSTRAINT_VIOLATION
    "497",  # ACCESS_DENIED
}
"""ClickHouse's codes for "you may not"."""
_NOT_OF_VIEWS = {
    "48",  # NOT_IMPLEMENTED
    "53",  # TYPE_MISMATCH
    "90",  # EMPTY_LIST_OF_COLUMNS_PASSED
}
"""Its codes for what nobody can do with a view; it has asked for rights before."""


@dataclass(frozen=True)
class Store:
    """A stack's ClickHouse, which is of no use afterwards: whoever may drop a table has dropped it."""

    url: str
    database: str
    passwords: Mapping[str, str] = field(repr=False)
    client: httpx.Client = field(repr=False)

    def ask(self, user: str, statement: str) -> httpx.Response:
        """Return what ClickHouse answers."""
        login = {"X-ClickHouse-User": user, "X-ClickHouse-Key": self.passwords.get(user, "")}
        statement = statement.replace("{database}", self.database)
        options = {"database": self.database, "default_format": "JSONCompact"}
        return self.client.post(self.url, params=options, content=statement, headers=login)

    def rows(self, statement: str) -> list[list[str]]:
        """Return the rows that the administrator is answered."""
        answer = self.ask("admin", statement)
        assert answer.is_success, answer.text
        found: list[list[str]] = json.loads(answer.text)["data"]
        return found

    def outcome(self, user: str, statement: str, undo: str = "", *, of_view: bool = False) -> Outcome:
        """Return what comes of a statement of `user`; what it has done is undone.

        Raises AssertionError where it fails for another reason than these: then nobody knows whether they may.
        """
        answer = self.ask(user, statement)
        if not answer.is_success:
            code = answer.headers.get("X-ClickHouse-Exception-Code")
            if of_view and code in _NOT_OF_VIEWS:
                return Outcome.IMPOSSIBLE
            assert code in _REFUSALS, f"{user}: {statement}: neither done nor refused: {answer.text}"
            return Outcome.REFUSED
        if undo:
            undone = self.ask("admin", undo)
            assert undone.is_success, undone.text
        return Outcome.DONE

    def users(self) -> list[str]:
        """Return all users, the administrator last."""
        return sorted(
            (name for (name,) in self.rows("SELECT name FROM system.users")),
            key=lambda name: (name == "admin", name),
        )


def powers(store: Store) -> list[tuple[str, list[str]]]:
    """Return of each of `POWERS` who has it."""
    users = store.users()
    return [
        (name, [user for user in users if store.outcome(user, statement, undo) == Outcome.DONE])
        for name, (statement, undo) in POWERS.items()
    ]


def tables(store: Store) -> list[tuple[str, dict[str, str]]]:
    """Return of each table and view of the database the letters of what each user may do with it. Afterwards there are none."""
    users = store.users()
    found = store.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = '{database}' ORDER BY name"
    )
    columns = dict(
        store.rows(
            "SELECT table, argMin(name, if(name = 'access_token_id', 0, position)) FROM system.columns WHERE database = '{database}' GROUP BY table"
        )
    )

    def place(name: str, definition: str) -> dict[str, str]:
        is_view = definition.startswith("CREATE VIEW")
        parameters = sorted(re.findall(r"\{(\w+):(\w+)", definition)) if is_view else []
        arguments = ", ".join(f"{key} = {_VALUES.get(type_, '1')}" for key, type_ in dict(parameters).items())
        return {
            "table": f"{store.database}.{name}",
            "arguments": f"({arguments})" if arguments else "",
            "column": columns.get(name, "a"),
        }

    places = {name: place(name, definition) for name, definition in found}
    views = {name for name, definition in found if re.match(r"CREATE (MATERIALIZED )?VIEW", definition)}
    allowed = {name: dict.fromkeys(users, "") for name in places}
    for letter, (_, statement) in VERBS.items():  # the last one is what takes the tables away
        for user in users:
            for name, values in places.items():
                undo = _UNDO.get(letter, "").format(**values)
                outcome = store.outcome(user, statement.format(**values), undo, of_view=name in views)
                allowed[name][user] += {
                    Outcome.DONE: letter,
                    Outcome.IMPOSSIBLE: letter.lower(),
                    Outcome.REFUSED: "",
                }[outcome]
    return list(allowed.items())

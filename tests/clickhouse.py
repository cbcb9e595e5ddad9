"""A real ClickHouse engine with the stack's own configuration and schema, for tests that run SQL.

One engine serves all tests of a process (the fixture `shared_engine`): each module or folder takes a database of its own on it.
Whoever kills an engine, has settings of their own, or looks at what is the whole server's (its errors, its logs, its disks),
runs another one.

Queries run as the `grafana` user with its read-only profile, so that a panel which needs more than that user has fails here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from cvat_analytics.base.project import ROOT
from cvat_analytics.config import topology
from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.config.settings import GROUPS
from cvat_analytics.connect.access import Access
from cvat_analytics.credentials import secrets
from cvat_analytics.embedded.engine import PACKAGE_FILES as ENGINE_FILES
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Paths
from cvat_analytics.rendering.render import clickhouse_files
from cvat_analytics.store import migrations
from tests.waiting import until

PACKAGE_FILES = ROOT / "cvat_analytics" / "embedded" / "package_files"


ENDLESS = "SELECT sum(sleep(1)) FROM numbers(1000000000) FORMAT Null"
"""A query that does nothing until it is killed or its user's time is over; a second each block. It gives out one row: one that gave out a block a
second would be ended at the limit for rows."""


@dataclass(frozen=True)
class Store:
    """A running engine and the context that configured it."""

    context: Context
    schema: tuple[str, ...] = ()
    """What makes another database with the schema of this one, whose name is in it as `DATABASE`; without, the scripts are run."""

    @property
    def database(self) -> str:
        """Return the name of the database with the schema."""
        return self.context.settings.database

    @property
    def http_port(self) -> int:
        """Return the engine's HTTP port."""
        return self.context.settings.clickhouse_http_port

    def post(self, sql: str, *, user: str = "admin", database: str | None = None) -> str:
        """Return what ClickHouse answers. Raises AssertionError with its message when it refuses."""
        options = {
            "user": user,
            "password": self.context.secrets[f"clickhouse_{user}"],
            "database": database or self.database,
            "default_format": "JSONCompact",
        }
        url = f"http://127.0.0.1:{self.http_port}/?{urllib.parse.urlencode(options)}"
        try:
            with urllib.request.urlopen(url, data=sql.encode(), timeout=120) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.read().decode()}\n\n{sql}") from None

    def ask_without_end(self, user: str) -> None:
        """Have `ENDLESS` run as `user` until somebody kills it. Raises AssertionError when it ends otherwise."""
        refused = "TOO_MANY_SIMULTANEOUS_QUERIES"
        # a query of the test before may not have ended yet, and is one of those that may run
        while "TOO_MANY_SIMULTANEOUS_QUERIES" in refused:
            try:
                self.post(ENDLESS, user=user)
            except AssertionError as error:
                refused = str(error)
            else:
                raise AssertionError("it has ended by itself")
        assert "QUERY_WAS_CANCELLED" in refused, refused

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query that Grafana's user runs, by column name.

        What is asked of the server (`system.`), or of a table of the administrator's, the administrator asks: to Grafana's user there is none.
        """
        user = "admin" if re.search(r"\bsystem\.|\b(?:events_stock|working_time_days)\b", sql) else "grafana"
        answer = json.loads(self.post(sql, user=user))
        names = [column["name"] for column in answer["meta"]]
        return [dict(zip(names, row, strict=True)) for row in answer["data"]]

    def insert(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Insert events as Vector does."""
        body = "\n".join(json.dumps(event) for event in events)
        self.post(f"INSERT INTO incoming_events FORMAT JSONEachRow\n{body}", user="vector")

    def refresh(self, database: str | None = None) -> None:
        """Bring the working time up to date at once, as `cvat-analytics working-time refresh` does."""
        for word in ("REFRESH", "WAIT"):
            self.post(f"SYSTEM {word} VIEW working_time_refresh", database=database)

    @contextmanager
    def another(self) -> Iterator[Store]:
        """Make a database that nobody else uses, with an empty schema, and remove it at the end."""
        name = _UNUSED.pop()
        settings = self.context.settings.model_copy(update={"database": name})
        topology = replace(self.context.topology, settings={self.context.host: settings})
        store = replace(self, context=replace(self.context, topology=topology))
        store.create(name)
        try:
            yield store
        finally:
            store.post(f"DROP DATABASE {name} SYNC", database="default")
            _UNUSED.append(name)

    def with_schema(self) -> Store:
        """Return the store as one whose other databases are copies of this one, which is as the scripts have made it.

        A copy takes half of what the scripts take. Its views are brought up to date when it is made and whenever a test says so, not
        each 20 seconds: all databases of an engine together would keep it at work.
        """
        tables = self.post(
            "SELECT name, create_table_query, total_rows FROM system.tables WHERE database = currentDatabase()"
        )
        queries, filled = dict[str, str](), list[str]()
        for name, query, rows in json.loads(tables)["data"]:
            named = re.sub(rf"(?<![\w:]){self.database}(?=\.)|(?<='){self.database}(?=')", DATABASE, query)
            queries[name] = re.sub(
                r"REFRESH EVERY \d+ SECOND( DEPENDS ON \S+)?", "REFRESH EVERY 1 YEAR", named
            )
            if int(rows or 0):
                values = self.post(f"SELECT * FROM {name} FORMAT Values")
                filled.append(f"INSERT INTO {DATABASE}.{name} VALUES {values}")
        uses = {
            name: set(re.findall(rf"{DATABASE}\.(\w+)", query)) - {name} for name, query in queries.items()
        }
        order = TopologicalSorter({name: used & queries.keys() for name, used in uses.items()}).static_order()
        return replace(
            self, schema=(f"CREATE DATABASE {DATABASE}", *(queries[name] for name in order), *filled)
        )

    def create(self, database: str) -> None:
        """Make a database with an empty schema."""
        for statement in self.schema:
            self.post(statement.replace(DATABASE, database), database="default")
        if self.schema:
            return
        for statement in migrations.bootstrap(database):
            self.post(statement, database="default")
        for script in migrations.read(ROOT / "clickhouse"):
            for statement in migrations.statements(script.text(database)):
                self.post(statement, database=database)


DATABASE = "<database>"
SHARED = tuple(f"cvat_{number}" for number in range(40))
"""Databases to which the stack's users have the same rights as to the first one: who reads users from a file takes no GRANT."""
_UNUSED = list(SHARED)
_RESERVED: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, and that nobody else is given as long as this process lives.

    Each stays bound by a socket that never listens: the kernel gives it to nobody who asks for any port, connections to it are
    refused, and whoever names it may listen there with SO_REUSEADDR, as servers do (socket(7), ip(7)).
    """
    reserved = [socket.socket() for _ in range(count)]
    for each in reserved:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", 0))
    _RESERVED.extend(reserved)
    return [each.getsockname()[1] for each in reserved]


def free_row() -> int:
    """Return the first of ten ports in a row, which are free as those of `free_ports` are; the embedded stack never chooses these."""
    for base in range(19000, 29000, 10):
        row = [socket.socket() for _ in range(10)]
        try:
            for offset, each in enumerate(row):
                each.bind(
                    ("127.0.0.1", base + offset)
                )  # refused where anybody has it, whether they listen or not
        except OSError:
            for each in row:
                each.close()
            continue
        for each in row:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _RESERVED.extend(row)
        return base
    raise AssertionError("no ten free ports in a row between 19000 and 29000")


def context(directory: Path, **settings: Any) -> Context:
    """Return the context of a stack on one host below `directory`, on free ports."""
    http, native, vector, grafana = free_ports(4)
    values = {
        "clickhouse_http_port": http,
        "clickhouse_native_port": native,
        "vector_port": vector,
        "grafana_port": grafana,
        "grafana_root_url": f"http://127.0.0.1:{grafana}/analytics/",
    } | settings
    hosts = topology.build({group: ["host"] for group in GROUPS}, {"host": values}, where="test")
    return Context("host", hosts, secrets.generate(), Paths(root=str(directory)))


def way_to(context: Context, **running: tuple[str, int]) -> Access:
    """Return the way to the ClickHouse of `context`, and to what else is `running` at an address; the rest is away."""

    def endpoint(component: str) -> Endpoint:
        return Endpoint(*running.get(component, ("127.0.0.1", 1)), context.settings)

    clickhouse = Endpoint("127.0.0.1", context.settings.clickhouse_http_port, context.settings)
    return Access(clickhouse, endpoint("vector"), endpoint("grafana"), secrets=context.secrets)


@contextmanager
def running(directory: Path, **settings: Any) -> Iterator[Store]:
    """Run an engine with an empty schema below `directory`."""
    store = configured(directory, **settings)
    with engine(store, directory):
        store.create(store.context.settings.database)
        yield store


def configured(directory: Path, **settings: Any) -> Store:
    """Write the configuration of an engine whose data is, or will be, below `directory`; it does not run yet."""
    store = Store(context(directory, **settings))
    configuration = Path(store.context.paths.clickhouse_config)
    for file in clickhouse_files(store.context):
        if file.path.startswith(str(configuration)):
            _write(Path(file.path), _for_each_database(file.content))
    for name, target in {
        "config.xml": "config.xml",
        "users.xml": "users.xml",
        **ENGINE_FILES,
    }.items():
        text = (PACKAGE_FILES / name).read_text()
        for path in ("clickhouse_data", "clickhouse_config"):
            text = text.replace(f"{{{{ paths.{path} }}}}", str(getattr(store.context.paths, path)))
        _write(configuration / target, text)
    return store


@contextmanager
def engine(store: Store, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the engine that `running` has configured below `directory`; its data outlasts it."""
    configuration = Path(store.context.paths.clickhouse_config)
    log = directory / "engine.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cvat_analytics.embedded.engine",
                f"--config-file={configuration / 'config.xml'}",
            ],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    try:
        _wait(process, store.http_port, log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _for_each_database(users: str) -> str:
    """Return a file of users in which each right to the database is one to the shared ones too."""
    return re.sub(
        r"( *<query>GRANT [^<]* ON )cvat(\.[^<]*</query>\n)",
        lambda right: "".join(f"{right[1]}{name}{right[2]}" for name in ("cvat", *SHARED)),
        users,
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def tail() -> str:
        return log.read_text()[-3000:]

    def answers() -> bool:
        assert process.poll() is None, f"the engine did not start:\n{tail()}"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=10):
            return True

    until(answers, "the engine answers", despite=OSError, told=tail)

"""A stack to adopt into, and a stand-in of CVAT's stock compose to adopt: a real engine, a stand-in of Grafana, and a program `docker`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics.connect.access import Access
from cvat_analytics.dashboards import DASHBOARDS
from scripts.cli import main
from tests.adopting.stock_compose import SENDERS, StockCompose, history
from tests.clickhouse import Store, configured, engine, way_to
from tests.dashboards.grafana_stand_in import StandIn, serving
from tests.importing.samples import fill, stock_table

CVATS_OWN = ("all-events", "management", "monitoring")


@pytest.fixture(scope="session")
def store_of_all(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


@pytest.fixture
def store(store_of_all: Store) -> Store:
    """Return this stack's store, without events."""
    store_of_all.post("DROP TABLE IF EXISTS imported_days SYNC")
    store_of_all.post("TRUNCATE TABLE events")
    store_of_all.post("TRUNCATE TABLE events_dead_letter")
    return store_of_all


@pytest.fixture(scope="session")
def stock_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    directory = tmp_path_factory.mktemp("stock")
    store = configured(directory)
    with engine(store, directory):
        yield store


@pytest.fixture(scope="session")
def weeks() -> list[dict[str, Any]]:
    """Return what the stock table has of a team's weeks, as rows."""
    return history(6000)


@pytest.fixture
def stock(stock_engine: Store, weeks: list[dict[str, Any]]) -> Store:
    """Return the stock ClickHouse with a team's weeks, some of them twice, as after a retry."""
    stock_engine.post("DROP DATABASE IF EXISTS cvat SYNC", database="system")
    stock_engine.post("CREATE DATABASE cvat", database="system")
    stock_table(stock_engine, database="cvat")
    fill(stock_engine, weeks + weeks[:50], "cvat")
    return stock_engine


@pytest.fixture
def compose(tmp_path: Path) -> StockCompose:
    """Return the containers of CVAT's project."""
    return StockCompose(tmp_path)


@pytest.fixture
def stock_grafana() -> Iterator[tuple[StandIn, str]]:
    """Yield the stock Grafana, with CVAT's own dashboards and two that people have made, and its address."""
    stand_in = StandIn("", prefix="", anonymous=True, version="10.1.2")
    stand_in.lists = {
        "/api/org/users": [{}, {}, {}],
        "/api/datasources": [{}],
        "/api/v1/provisioning/alert-rules": [],
    }
    for name in CVATS_OWN:
        stand_in.provision(json.loads((DASHBOARDS / f"{name}.json").read_text()))
    for uid, title, sql in (
        ("night", "Night shift", "SELECT $__timeInterval(timestamp) AS t, count() FROM cvat.events WHERE $__timeFilter(timestamp) GROUP BY t"),
        ("old", "Old numbers", "SELECT count(userid) FROM `cvat`.`events`"),
    ):  # fmt: skip
        stand_in._store(dashboard(uid, title, sql))
    with serving(stand_in) as (host, port):
        yield stand_in, f"http://{host}:{port}"


def dashboard(uid: str, title: str, sql: str) -> dict[str, Any]:
    """Return a dashboard with one panel, as Grafana's editor saves it."""
    source = {"type": "grafana-clickhouse-datasource", "uid": "PDEE91DDB90597936"}
    target = {
        "refId": "A",
        "datasource": source,
        "rawSql": sql,
        "format": 1,
        "queryType": "sql",
        "editorType": "sql",
    }
    panel = {
        "id": 1, "type": "table", "title": "By hour", "datasource": source, "targets": [target],
        "gridPos": {"h": 8, "w": 12, "x": 0, "y": 0}, "fieldConfig": {"defaults": {}, "overrides": []}, "options": {},
    }  # fmt: skip
    return {
        "uid": uid,
        "title": title,
        "panels": [panel],
        "schemaVersion": 38,
        "time": {"from": "now-7d", "to": "now"},
    }


@pytest.fixture
def own_grafana(store: Store) -> Iterator[tuple[StandIn, tuple[str, int]]]:
    """Yield this stack's Grafana, and its address."""
    stand_in = StandIn(store.context.secrets["grafana_admin"])
    with serving(stand_in) as address:
        yield stand_in, address


@pytest.fixture
def access(store: Store, own_grafana: tuple[StandIn, tuple[str, int]]) -> Access:
    return way_to(store.context, grafana=own_grafana[1])


@pytest.fixture
def side(stock: Store, stock_grafana: tuple[StandIn, str], tmp_path: Path) -> list[object]:
    """Return the options that say how the stock side is reached."""
    password = tmp_path / "password"
    password.write_text(stock.context.secrets["clickhouse_admin"] + "\n")
    url = f"http://127.0.0.1:{stock.http_port}"
    return ["--from", url, "--user", "admin", "--password-file", password, "--grafana", stock_grafana[1]]


@pytest.fixture
def switched(compose: StockCompose, store: Store) -> None:
    """Have a CVAT that sends here already, and has sent."""
    compose.switch(*SENDERS)
    store.post(
        "INSERT INTO incoming_events (scope, source, timestamp, obj_id) SELECT 'load:job', 'client', now64(3), 5"
    )


@pytest.fixture
def run(
    access: Access, compose: StockCompose, store: Store, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Return what runs a command on the stack, and returns its exit code and all it printed."""

    def run(*arguments: object, answer: str = "") -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", compose.path)
            patch.setattr("scripts.target.Target.reach", lambda target, **how: nullcontext(access))
            patch.setattr(
                "scripts.target.Target.embedded",
                lambda target: SimpleNamespace(context=lambda: store.context),
            )
            result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run

"""Several hosts back up into one place, each what it has, and one of them completes it: real engine, real restic, real SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clickhouse import Store
from tests.operate.backup_site import Site, events, site


@pytest.fixture
def store(shared_engine: Store, tmp_path: Path) -> Iterator[Site]:
    """Return the host of ClickHouse, which has nothing else."""
    with shared_engine.another() as database:
        database.insert(events(5))
        there = site(database, tmp_path / "store", str(tmp_path / "repository"), tmp_path / "none.json")
        yield replace(there, config=replace(there.config, host="store", journal=""))


@pytest.fixture
def view(store: Site, tmp_path: Path) -> Site:
    """Return the host of Grafana, which has its database and no ClickHouse."""
    (directory := tmp_path / "view").mkdir()
    database = directory / "grafana.db"
    with closing(sqlite3.connect(database)) as made, made:
        made.execute("CREATE TABLE user (login)")
        made.execute("INSERT INTO user VALUES ('reader')")
    told = replace(
        store.config, host="view", state=str(directory / "state"), clickhouse_url="", staging="", grafana_database=str(database)
    )  # fmt: skip
    return replace(store, config=told, directory=directory)


def test_what_other_hosts_have_brought_belongs_to_the_backup_and_comes_back(store: Site, view: Site) -> None:
    view.agent("create")
    # no backup by itself
    assert store.agent("list")["backups"] == []
    manifest = store.agent("create")["manifest"]
    assert set(manifest["parts"]) == {"tables", "grafana of view"}
    assert 0 <= manifest["parts"]["grafana of view"]["age"] < 600

    # what is forgotten and given back leaves what belongs to one that is kept
    assert store.agent("prune")["kept"] == [manifest["name"]]
    Path(view.config.grafana_database).unlink()
    place = view.agent("fetch", manifest["name"], "grafana")["place"]
    with closing(sqlite3.connect(place)) as back:
        assert back.execute("SELECT login FROM user").fetchall() == [("reader",)]

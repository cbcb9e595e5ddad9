"""Several hosts back up into one place, each what it has, and one of them completes it: real engine, real restic, real SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from cvat_analytics.operate.backup import reaching, running
from cvat_analytics.operate.backup.agent import restoring
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import AgentError
from cvat_analytics.operate.backup.agent.restic import Restic
from tests.clickhouse import Store
from tests.operate.backup_site import Site, events, site

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access


@pytest.fixture
def store(shared_engine: Store, tmp_path: Path) -> Iterator[Site]:
    """Return the host of ClickHouse, which has nothing else."""
    with shared_engine.another() as database:
        database.insert(events(5))
        there = site(database, tmp_path / "store", str(tmp_path / "repository"), tmp_path / "none.json")
        yield replace(there, config=replace(there.config, host="store"))


@pytest.fixture
def view(store: Site, tmp_path: Path) -> Site:
    """Return the host of Grafana and of another Vector, which has no ClickHouse."""
    (directory := tmp_path / "view").mkdir()
    (directory / "journal").mkdir()
    database = directory / "grafana.db"
    with closing(sqlite3.connect(database)) as made, made:
        made.execute("CREATE TABLE user (login)")
        made.execute("INSERT INTO user VALUES ('reader')")
    told = replace(
        store.config, host="view", state=str(directory / "state"), clickhouse_url="", staging="", grafana_database=str(database),
        journal=str(directory / "journal"),
    )  # fmt: skip
    return replace(store, config=told, directory=directory)


def expecting(store: Site, *parts: str) -> Site:
    """Return the host of ClickHouse that awaits these parts of others."""
    return replace(store, config=replace(store.config, others=list(parts)))


def aged(store: Site, snapshot: str, by: timedelta) -> str:
    """Have a snapshot be so much older, under the name that it had. Return its new id."""
    restic = Restic(store.config)
    (there,) = json.loads(restic.run("snapshots", "--json", snapshot))
    again = ["--force", f"--host={there['hostname']}", *(f"--tag={tag}" for tag in there["tags"])]
    began = datetime.fromisoformat(there["time"][:19]).replace(tzinfo=UTC) - by
    restic.run("backup", *again, f"--time={began.astimezone():%Y-%m-%d %H:%M:%S}", *there["paths"])
    restic.run("forget", snapshot)
    return str(Restic(store.config).snapshots(*there["tags"])[0]["id"])


def noted(store: Site) -> list[list[Any]]:
    query = "SELECT state, message, finished IS NOT NULL, verified IS NOT NULL FROM backups FINAL ORDER BY started"
    rows: list[list[Any]] = json.loads(store.store.post(query))["data"]
    return rows


def test_without_the_part_of_another_host_it_is_made_and_not_called_complete(store: Site, view: Site) -> None:
    store = expecting(store, "journal of view", "journal of in")
    (Path(view.config.journal) / "events-2026-11-30T01.jsonl").touch()
    (old,) = [
        each["snapshot"]
        for name, each in view.agent("create")["manifest"]["parts"].items()
        if name == "journal"
    ]
    aged(store, old, timedelta(hours=21))
    # its own as well, where the disk of it is not mounted
    Path(store.config.journal).rmdir()
    manifest = store.agent("create")["manifest"]
    since = manifest["lacks"]["journal of view"]
    own = "journal of host store (its directory is not there)"
    words = f"it lacks journal of host view (the newest is of {since[:16].replace('T', ' ')} UTC), journal of host in (there never was one), {own}"
    lacks = {"journal of view": since, "journal of in": "", "journal of store": "its directory is not there"}
    assert manifest["lacks"] == lacks
    assert noted(store) == [["incomplete", words, 1, 0]]
    # what is there stands in
    assert "journal of view" in manifest["parts"]
    (listed,) = store.agent("list")["backups"]
    assert (listed["lacks"], listed["events"]) == (manifest["lacks"], 5)


def test_it_waits_for_what_another_host_has_not_brought_yet(store: Site, view: Site) -> None:
    store = expecting(store, "journal of view")
    with store.begun("create", "--wait", "600") as process:
        for line in process.stdout or ():
            said = json.loads(line)
            if (said["step"], said.get("state")) == ("others", "begun"):
                view.agent("create")
    assert (said["exit_code"], said["manifest"]["lacks"]) == (0, {})
    assert [row[0] for row in noted(store)] == ["complete"]


def test_what_was_brought_for_it_belongs_to_it_however_long_the_others_took(store: Site, view: Site) -> None:
    store = expecting(store, "journal of view")
    brought = view.agent("create")["manifest"]["parts"]["journal"]["snapshot"]
    brought = aged(store, brought, timedelta(hours=3))[:8]
    assert store.agent("create", f"--with={brought}")["manifest"]["lacks"] == {}
    assert store.agent("create")["manifest"]["lacks"].keys() == {"journal of view"}


def test_what_other_hosts_have_brought_belongs_to_the_backup_and_comes_back(store: Site, view: Site) -> None:
    store = expecting(store, "grafana of view", "journal of view")
    journals = [
        Path(each.config.journal) / f"events-{datetime.now(UTC):%Y-%m-%dT%H}.jsonl" for each in (store, view)
    ]
    for number, file in enumerate(journals, 2):
        file.write_text("".join(json.dumps(row) + "\n" for row in events(number, user=number)))
    view.agent("create")
    # no backup by itself
    assert store.agent("list")["backups"] == []
    manifest = store.agent("create")["manifest"]
    assert set(manifest["parts"]) == {"tables", "journal", "grafana of view", "journal of view"}
    assert manifest["lacks"] == {}
    assert [row[0] for row in noted(store)] == ["complete"]

    # what is forgotten and given back leaves what belongs to one that is kept
    assert store.agent("prune")["kept"] == [manifest["name"]]
    Path(view.config.grafana_database).unlink()
    place = view.agent("fetch", manifest["name"], "grafana")["place"]
    with closing(sqlite3.connect(place)) as back:
        assert back.execute("SELECT login FROM user").fetchall() == [("reader",)]

    # of each of them what its Vector had kept
    for file in journals:
        file.unlink()
    assert store.reached.replay(manifest, lambda said: None) == 5
    users = "SELECT user_id, count() FROM events GROUP BY user_id ORDER BY user_id"
    assert json.loads(store.store.post(users))["data"] == [[1, 5], [2, 2], [3, 3]]


class _Repository(Restic):
    """A repository that has these snapshots. A substitute for restic."""

    def __init__(self, manifest: dict[str, Any], there: list[tuple[str, str]]) -> None:
        self._manifest, self._there = manifest, there

    def run(self, *arguments: str, **more: Any) -> str:
        return json.dumps(self._manifest)

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        name = self._manifest["name"]
        return [
            {"id": "1", "time": name, "hostname": host, "tags": [part, name], "paths": ["/file"]}
            for part, host in [*self._there, ("manifest", "store")]
            if not tags or part in tags
        ]


def test_a_part_that_one_host_lost_is_not_made_up_for_by_that_of_another() -> None:
    parts: dict[str, Any] = {"tables": {}, "journal": {}, "journal of a": {}, "journal of b": {}}
    manifest = {"format": 1, "name": "2026-11-30T02-30-00Z", "parts": parts}
    there = [("tables", "store"), ("journal", "store"), ("journal", "a"), ("journal", "b")]
    config = Config("store", "", "", "")
    restoring.check(config, _Repository(manifest, there))
    for number, lost in enumerate(("tables", "journal", "journal of a", "journal of b")):
        left = [each for other, each in enumerate(there) if other != number]
        with pytest.raises(AgentError, match=f"its {lost} is gone"):
            restoring.check(config, _Repository(manifest, left))


def test_the_hour_after_its_end_comes_back_too_where_a_clock_is_ahead() -> None:
    asked: list[str] = []

    def run(arguments: Sequence[str], tell: running.Tell) -> running.Said:
        asked.extend(arguments)
        return {"places": {}}

    stack = reaching.Reached(
        run, cast("Access", None), Path("none"), lambda: [], lambda place: [], nullcontext, {}
    )
    manifest = {"name": "one", "parts": {"journal of a": {}}, "replay_since": "2026-11-30T01:00:00+00:00",
                "finished": "2026-11-30T02:59:00+00:00"}  # fmt: skip
    stack.replay(manifest, lambda said: None)
    hours = [word.removeprefix("--only=events-2026-11-30T") for word in asked if "T" in word]
    assert hours == ["01.*", "02.*", "03.*"]

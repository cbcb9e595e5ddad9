"""A part that answers and does not do its work is found out: by what has lately come of it, and by what it may.

ClickHouse is the real engine. Vector and Grafana here are what they leave behind and what they answer: rows, and a stand-in.
"""

from __future__ import annotations

import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.checks import flow, work
from cvat_analytics.checks.health import Health
from cvat_analytics.checks.status import Part, Report, with_room
from cvat_analytics.checks.units import Unit
from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.volumes import Volume
from cvat_analytics.credentials.secrets import Secrets
from cvat_analytics.store import rights
from tests.api.harness import FakeVector, running_api
from tests.clickhouse import Store, running, way_to
from tests.dashboards.grafana_stand_in import StandIn, serving
from tests.serving import served
from tests.waiting import until

NOW = datetime.now(UTC).timestamp()
JUST_NOW = -60
"""Seconds ago, and some in hand: on a busy machine it takes a while until somebody looks."""
OLD = Unit(active=True, started=NOW - 3600, now=NOW, hostname="one")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Run an engine whose errors are nobody else's."""
    with running(tmp_path_factory.mktemp("work")) as store:
        yield store


@pytest.fixture
def access(store: Store) -> Access:
    store.post("TRUNCATE TABLE pipeline_metrics")
    return way_to(store.context)


def old() -> Unit:
    """Return a Vector that has been running for an hour, as its host sees it now."""
    now = datetime.now(UTC).timestamp()
    return replace(OLD, started=now - 3600, now=now)


def young() -> Unit:
    now = datetime.now(UTC).timestamp()
    return replace(OLD, started=now - 20, now=now)


def reading(store: Store, seconds_ago: float, host: str = "one") -> None:
    store.post(
        f"INSERT INTO pipeline_metrics (time, host, name, value) VALUES (now() - {seconds_ago}, '{host}', 'uptime_seconds', 1)"
    )


def refuse(store: Store, user: str = "vector") -> None:
    """Let somebody log in with a wrong password."""
    url = f"http://127.0.0.1:{store.http_port}/?user={user}&password=wrong&query=SELECT+1"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url, timeout=60)


@pytest.fixture
def grown_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a ClickHouse that was not started just now."""
    monkeypatch.setattr(work, "STARTING_SECONDS", -1)


def test_a_vector_whose_readings_come_works(store: Store, access: Access) -> None:
    reading(store, JUST_NOW)
    assert work.works(access, "vector", old()) == Health("running")


@pytest.mark.usefixtures("grown_up")
def test_a_vector_of_which_nothing_comes_does_not(store: Store, access: Access) -> None:
    reading(store, JUST_NOW, host="another")
    found = work.works(access, "vector", old())
    assert found == Health("failing", "nothing of it has come into ClickHouse yet: see its log")
    reading(store, 200)
    found = work.works(access, "vector", old())
    assert found.state == "failing"
    assert found.problem.startswith("nothing of it has come into ClickHouse since 20")


@pytest.mark.usefixtures("grown_up")
def test_a_wrong_password_is_the_reason(tmp_path: Path) -> None:
    with running(tmp_path) as store:  # what it remembers of this would be told of the next one too
        access = way_to(store.context)
        reading(store, 40)
        assert work.works(access, "vector", old()) == Health("running"), "a reading or two may be late"
        refuse(store)
        for unit in (old(), young()):
            found = work.works(access, "vector", unit)
            assert found.state == "failing"
            assert (
                "ClickHouse refuses it, and all events wait: vector: Authentication failed" in found.problem
            )
            assert found.problem.endswith("deploy again")
        # a stranger's attempt is nothing to a Vector that delivers
        reading(store, JUST_NOW)
        assert work.works(access, "vector", old()) == Health("running")


def test_whose_password_is_wrong_of_several_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "STARTING_SECONDS", -1)
    with running(tmp_path) as store:
        access = way_to(store.context)
        reading(store, 300)
        reading(store, JUST_NOW, host="another")
        refuse(store)
        assert work.works(access, "vector", young()).state == "starting"
        with monkeypatch.context() as patient:
            patient.setattr(work, "SILENCE_SECONDS", 3600)
            assert work.works(access, "vector", old()) == Health("running"), "it is late, and no more"
        found = work.works(access, "vector", old())
        assert found.state == "failing"
        assert re.fullmatch(
            "nothing of it has come into ClickHouse since .* UTC: ClickHouse refuses a Vector, of this host or another: "
            "vector: Authentication failed.*: deploy again, or see its log",
            found.problem,
        )


def test_what_was_started_just_now_is_not_called_broken(store: Store, access: Access) -> None:
    found = work.works(access, "vector", young())
    assert found.state == "starting"
    reading(store, 30)  # of its life before
    assert work.works(access, "vector", young()).state == "starting"
    reading(store, JUST_NOW)
    assert work.works(access, "vector", young()) == Health("running")
    # readings have whole seconds, and a start need not
    last = int(store.post("SELECT toUnixTimestamp(max(time)) FROM pipeline_metrics FORMAT TSV"))
    assert work.works(access, "vector", replace(young(), started=last + 0.9)) == Health("running")
    # one that ends again and again is not young each time
    store.post("TRUNCATE TABLE pipeline_metrics")
    assert not replace(young(), restarts=7).young


def test_after_a_start_of_clickhouse_vector_has_a_while_to_come_back(
    store: Store, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "STARTING_SECONDS", 1e9)
    reading(store, 300)
    found = work.works(access, "vector", old())
    assert found.state == "running"
    assert "not known: ClickHouse has just been started" in found.problem


def test_a_host_whose_clock_is_behind_has_no_silent_vector(store: Store, access: Access) -> None:
    reading(store, 560)
    unit = old()
    assert unit.now
    assert unit.started
    behind = replace(unit, now=unit.now - 600, started=unit.started - 600)
    assert work.works(access, "vector", behind) == Health("running")


@pytest.mark.parametrize("component", ["vector", "grafana", "events_api"])
def test_what_cannot_be_known_while_clickhouse_is_away_is_said(store: Store, component: str) -> None:
    away = way_to(store.context)
    away = replace(away, clickhouse=replace(away.clickhouse, port=1))
    assert work.works(away, component, OLD) == Health(
        "running", "whether it does its work is not known while ClickHouse cannot be asked"
    )


def test_what_clickhouse_says_instead_of_an_answer_is_the_reason(store: Store, access: Access) -> None:
    store.post("RENAME TABLE pipeline_metrics TO elsewhere")
    try:
        found = work.works(access, "vector", OLD)
    finally:
        store.post("RENAME TABLE elsewhere TO pipeline_metrics")
    assert found.state == "running"
    assert found.problem.startswith("whether it does its work is not known: the stack's ClickHouse: ")
    assert "pipeline_metrics" in found.problem


def test_an_answer_without_its_row_is_no_traceback(
    store: Store, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_rights", lambda *_: [])
    monkeypatch.setattr(work, "_asking", lambda access: lambda query: [])
    found = work.works(access, "vector", OLD)
    assert found.state == "running"
    assert "answered with nothing where a row was due" in found.problem


def test_a_clickhouse_that_does_not_let_the_administrator_in_is_failing(store: Store) -> None:
    access = way_to(store.context)
    access = replace(access, secrets={**access.secrets, "clickhouse_admin": "another"})
    found = work.works(access, "clickhouse", OLD)
    assert found.state == "failing"
    assert "cannot be reached as admin" in found.problem


def test_a_view_that_is_stopped_is_told_with_what_starts_it(store: Store, access: Access) -> None:
    until(
        lambda: work.works(access, "clickhouse", OLD),
        "all views are refreshed",
        lambda found: found == Health("running"),
    )
    store.post("SYSTEM STOP VIEW working_time_refresh")
    try:
        found = until(
            lambda: work.works(access, "clickhouse", OLD),
            "the view is stopped",
            lambda found: found.state == "failing",
        )
        assert "its view working_time_refresh" in found.problem
        assert f"is stopped: `SYSTEM START VIEW {store.database}.working_time_refresh`" in found.problem
    finally:
        store.post("SYSTEM START VIEW working_time_refresh")


def test_a_view_that_fails_soon_after_a_start_is_not_called_failing(
    store: Store, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first refresh may come before all databases are there; the one of an engine just started stands for that."""
    until(
        lambda: work.works(access, "clickhouse", OLD),
        "all views are refreshed",
        lambda found: found == Health("running"),
    )
    store.post(
        "CREATE MATERIALIZED VIEW never REFRESH EVERY 1 HOUR (x UInt8) ENGINE = Memory AS SELECT throwIf(1, 'no such thing')::UInt8 AS x"
    )
    try:
        until(
            lambda: store.post("SELECT exception FROM system.view_refreshes WHERE view = 'never'"),
            "the failure",
            lambda seen: "no such thing" in seen,
        )
        # whether it is early is ClickHouse's to say: tests/store/test_background_failures.py
        given = "SELECT 'failing' AS state, 'never' AS work, NULL::Nullable(DateTime) AS since, 'no such thing' AS why, {} AS early"
        for early, unit, state in (
            (1, OLD, "running"),  # a later attempt may do it
            (1, young(), "starting"),
            (0, OLD, "failing"),
        ):
            asked = work._asking(access)
            with monkeypatch.context() as patch:
                patch.setattr(
                    work,
                    "_asking",
                    lambda _, asked=asked, early=early: (
                        lambda query: asked(
                            query.replace("background_failures(at = now())", f"({given.format(early)})")
                        )
                    ),
                )
                found = work.works(access, "clickhouse", unit)
            assert (found.state, "no such thing" in found.problem) == (state, state != "running")
    finally:
        store.post("DROP VIEW never SYNC")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (("failing", "v", 9_900, "no memory"), "has not been refreshed since 1970-01-01 02:45:00 UTC: no memory"),
        (("failing", "v", None, "gone"), "its view v, by which dashboards know of later events, has not been refreshed ever: gone"),
        (("idle", "v", 9_000, ""), "since 1970-01-01 02:30:00 UTC: `SYSTEM REFRESH VIEW cvat.v`"),
        (("stopped", "v", 9_000, ""), "is stopped: `SYSTEM START VIEW cvat.v`"),
        (("mutation", "events", 9_000, "no room"), "a mutation of its table events, asked for at 1970-01-01 02:30:00 UTC, fails: no room"),
        (("merges", "events", 9_000, "no room"), "the parts of its table events have not been merged since 1970-01-01 02:30:00 UTC, "
         "which retention needs, too: no room"),
    ],
    ids=["failing", "never", "idle", "stopped", "mutation", "merges"],
)  # fmt: skip
def test_what_clickhouse_fails_at_by_itself_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, failure: tuple[Any, ...], told: str
) -> None:
    """What it fails at is given: tests/store/test_background_failures.py asks a real engine."""
    monkeypatch.setattr(work, "_rights", lambda *_: [])
    (fault,) = work._clickhouse(
        way_to(store.context),
        OLD,
        lambda query: [("",)] if "system.tables" in query else [(*failure, 0)],
    )
    assert told in fault.text


@pytest.mark.parametrize(("component", "user"), [("vector", "vector"), ("grafana", "grafana"), ("events_api", "events_api"), ("clickhouse", "cvat")])  # fmt: skip
def test_a_right_that_was_taken_away_makes_its_part_fail(
    store: Store, access: Access, monkeypatch: pytest.MonkeyPatch, component: str, user: str
) -> None:
    """What a user lacks is asked for real in tests/store/test_rights.py; here somebody has narrowed what it has."""
    wanted = rights.of_users

    def more(database: str, *columns: Sequence[str]) -> dict[str, tuple[rights.Right, ...]]:
        granted = wanted(database, *columns)
        return {**granted, user: (*granted[user], rights.Right(("OPTIMIZE",), database))}

    reading(store, JUST_NOW)
    monkeypatch.setattr(rights, "of_users", more)
    with serving(StandIn(access.secrets["grafana_admin"])) as address:
        access = replace(
            way_to(store.context, grafana=address), events_api=Endpoint(*address, store.context.settings)
        )
        found = work.works(access, component, old())
    assert found.state == "failing"
    assert f"ClickHouse's user {user} lacks what it needs (GRANT OPTIMIZE ON cvat.*)" in found.problem


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "Plugin not registered", "status": 404}, "refuses a query: Plugin not registered"),
        ({"status": 200, "frames": []}, "answers no rows"),
    ],
)
def test_a_grafana_whose_datasource_answers_nothing_is_failing(
    store: Store, answer: dict[str, Any], reason: str
) -> None:
    password = store.context.secrets["grafana_admin"]
    with serving(StandIn(password, query=lambda sql: answer)) as address:
        access = way_to(store.context, grafana=address)
        found = work.works(access, "grafana", OLD)
        assert found.state == "failing"
        assert reason in found.problem
        assert work.works(access, "grafana", young()).state == "starting"
    with serving(StandIn(password)) as address:
        assert work.works(way_to(store.context, grafana=address), "grafana", OLD) == Health("running")
    with serving(StandIn("changed by hand")) as address:
        found = work.works(way_to(store.context, grafana=address), "grafana", OLD)
        assert found.state == "running"
        assert "not known: Grafana refuses the administrator's login" in found.problem


def test_an_events_api_with_a_wrong_password_is_failing(store: Store, tmp_path: Path) -> None:
    def asked(api_port: int) -> Health:
        endpoint = Endpoint("127.0.0.1", api_port, store.context.settings)
        return work.works(replace(way_to(store.context), events_api=endpoint), "events_api", OLD)

    with served(FakeVector()) as vector:
        with running_api(tmp_path / "right", store, vector.url) as api:
            found = asked(api.port)
            assert found == Health("running"), found.problem
        wrong = Store(
            replace(
                store.context, secrets=Secrets({**store.context.secrets, "clickhouse_events_api": "wrong"})
            )
        )
        with running_api(tmp_path / "wrong", wrong, vector.url) as api:
            found = asked(api.port)
    assert found.state == "failing"
    assert "nobody can read events: " in found.problem
    assert "Authentication failed" in found.problem


def test_faults_of_the_host_stand_with_the_part(store: Store, access: Access) -> None:
    reading(store, JUST_NOW)
    unit = replace(old(), faults=("its timer is disabled",))
    assert work.works(access, "vector", unit) == Health("failing", "its timer is disabled")
    assert (
        work.works(access, "vector", replace(young(), faults=("its timer is disabled",))).state == "failing"
    )


def test_they_stand_with_a_part_that_does_not_answer_and_whose_disk_is_full_too(store: Store) -> None:
    """Vector has closed its ports, and what would open them again does not run: that is no effect of the full disk."""
    fault = "cvat-analytics-room.service is inactive"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    away = replace(way_to(store.context), vector=Endpoint("127.0.0.1", free, store.context.settings))
    how = work.proven(away, "vector", replace(OLD, faults=(fault,)))
    assert how.state == "not answering"
    assert how.problem.splitlines()[1:] == [fault]
    volume = Volume("one", ("vector",), "/", 600, 10_000, 1000, 750, closed=True)
    (part,) = with_room(Report([Part("vector", "one", how.state, "", "", how.problem)], None), [volume]).parts
    assert part.state == "failing"
    assert part.problem.splitlines() == [
        "takes nothing: its disk (/) has 0 MiB of 0 MiB free, and 0 MiB are needed: make room (docs/how-to/disk-is-full.md)",
        fault,
    ]


def test_a_clickhouse_that_hangs_holds_nobody_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never answers: without limits the driver waits for five minutes, and that a few times."""
    monkeypatch.setattr(work, "TIMEOUT", 1)
    monkeypatch.setattr(flow, "TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        access = way_to(store.context)
        hung = replace(access, clickhouse=replace(access.clickhouse, port=silent.getsockname()[1]))
        begin = time.monotonic()
        assert "not known while ClickHouse cannot be asked" in work.works(hung, "vector", OLD).problem
        with pytest.raises(UnreachableError):
            flow.of(hung)
        assert time.monotonic() - begin < 120

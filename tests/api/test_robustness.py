"""Exports and streams while the service is killed, ClickHouse goes away, callers go away, and events arrive."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cvat_analytics.api import queries
from cvat_analytics.api.clickhouse import ClickHouse
from cvat_analytics.api.config import ClickHouseConfig, ExportsConfig
from cvat_analytics.api.exports import Exports
from cvat_analytics.api.filters import Selection
from cvat_analytics.api.principals import Principal
from cvat_analytics.operate import exporting
from tests.api.data import wait_for
from tests.api.harness import Api, FakeVector, Program, running_api
from tests.api.proxy import Proxy, proxy
from tests.clickhouse import Store
from tests.waiting import PATIENCE, until

ROWS = 800
LARGE: dict[str, Any] = {"job_id": 900}
"""The filter that finds 8 MB of events."""


@contextmanager
def job(store: Store, job_id: int, first: str, seconds: float, number: int) -> Iterator[Store]:
    """Give the engine a job with `number` events of 10 kB, and remove them again: other tests count what there is."""
    store.post(
        "INSERT INTO events (scope, source, timestamp, user_id, job_id, duration, payload) SELECT 'save:job', 'client', "
        f"toDateTime64('{first} 00:00:00', 3) + number * {seconds}, 4444, {job_id}, number, repeat('x', 10000) FROM numbers({number})"
    )
    yield store
    store.post(f"ALTER TABLE events DELETE WHERE job_id = {job_id} SETTINGS mutations_sync = 2")


@pytest.fixture(scope="module")
def large(store: Store) -> Iterator[Store]:
    """Return the engine with a job whose events are many pieces of an answer."""
    with job(store, 900, "1990-01-01", 1, ROWS) as engine:
        yield engine


HEAVY = 20_000
TIGHT = 400
"""Megabytes of memory that sorting them at once does not fit into."""


@pytest.fixture(scope="module")
def heavy(store: Store) -> Iterator[Store]:
    """Return the engine with a job of few events that are 200 MB, of forty days."""
    with job(store, 901, "1991-01-01", 172.8, HEAVY) as engine:
        yield engine


Start = Callable[..., tuple[Api, Proxy]]


@pytest.fixture
def start(tmp_path: Path, large: Store, vector: FakeVector, program: Program) -> Iterator[Start]:
    """Return a function that starts a service behind a proxy."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def started(**limits: Any) -> tuple[Api, Proxy]:
            between = stack.enter_context(proxy(large.http_port))
            api = stack.enter_context(
                running_api(
                    tmp_path / "api",
                    large,
                    vector.url,
                    clickhouse_port=between.port,
                    program=program,
                    **limits,
                )
            )
            return api, between

        yield started


def whole(text: str) -> bool:
    """Return whether a CSV has every event of the job once, in order."""
    return [row["duration"] for row in csv.DictReader(io.StringIO(text, newline=""))] == [
        str(n) for n in range(ROWS)
    ]


def begun(client: httpx.Client, between: Proxy) -> str:
    """Return an export that is held half-way."""
    between.hold()
    query_id = client.get("/api/events", params=LARGE).json()["query_id"]
    assert between.held.acquire(timeout=PATIENCE)
    return str(query_id)


def file(client: httpx.Client, query_id: str) -> str:
    answer = client.get("/api/events", params={"query_id": query_id, "action": "download"})
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_an_export_survives_the_end_of_the_service(start: Start, how: str) -> None:
    api, between = start()
    with api.client("boss") as client:
        query_id = begun(client, between)
        assert client.get("/api/events", params={"query_id": query_id}).status_code == 202
        # nothing that could be taken for the file is there
        folder = [path.name for path in (api.directory / "exports" / query_id).iterdir()]
        assert sorted(folder) == ["job.json", "result.part"]
        if how == "kill":
            api.kill()
        else:
            assert api.stop() == 0
        between.release()
        api.start()
        assert wait_for(client, query_id).status_code == 201
        assert whole(file(client, query_id))


def test_an_export_is_begun_anew_when_clickhouse_breaks_off(start: Start) -> None:
    api, between = start()
    with api.client("boss") as client:
        query_id = begun(client, between)
        between.cut()
        assert wait_for(client, query_id).status_code == 201
        assert whole(file(client, query_id))


@pytest.mark.parametrize(
    ("small", "limit_mb"),
    [
        pytest.param(queries.SMALL, 2000, id="sorted-at-once"),
        pytest.param(queries.SMALL, TIGHT, id="no-memory-for-it"),
        pytest.param(0, TIGHT, id="many"),
    ],
)
def test_few_events_are_sorted_at_once_and_many_or_large_ones_a_day_at_a_time(
    tmp_path: Path, heavy: Store, monkeypatch: pytest.MonkeyPatch, small: int, limit_mb: int
) -> None:
    monkeypatch.setattr(queries, "SMALL", small)
    config = ClickHouseConfig(
        "127.0.0.1", heavy.http_port, heavy.context.settings.database, "admin", heavy.context.secrets["clickhouse_admin"],
        settings=exporting._AS_A_READER | {"max_memory_usage": str(limit_mb * 10**6)},
    )  # fmt: skip
    queries_made: list[str] = []
    clickhouse = ClickHouse(config)
    ask = clickhouse.ask

    def noted(sql: str, *rest: Any, **named: Any) -> Any:
        queries_made.append(sql)
        return ask(sql, *rest, **named)

    monkeypatch.setattr(clickhouse, "ask", noted)
    exports = Exports(ExportsConfig(tmp_path, timedelta(hours=1), 5, 2**30, 1, 1), clickhouse)
    selection = Selection(("e.job_id = 901",))
    principal = Principal(key="boss", id=None, name="boss", admin=True)
    job = exports.create(principal, selection, queries.FORMATS["csv"], "x.csv", {}, "r")
    order_clauses = until(
        lambda: exports.get(job.id, principal),
        "the export is done",
        lambda export: not export or export.status not in ("queued", "started"),
    )
    exports.close()
    assert order_clauses
    assert (order_clauses.status, order_clauses.message) == ("finished", "")
    with exports.store.file(job.id).open(newline="") as file:
        assert [row["duration"] for row in csv.DictReader(file)] == [str(n) for n in range(HEAVY)]
    orders = [
        sql.partition("ORDER BY ")[2].partition(" SETTINGS")[0] for sql in queries_made if "ORDER BY" in sql
    ]
    expected = [queries.ORDER_AT_ONCE] * bool(small) + [queries.ORDER] * (limit_mb == TIGHT)
    assert orders == expected


def test_an_export_fails_with_the_reason_when_clickhouse_stays_away(start: Start) -> None:
    api, between = start()
    with api.client("boss") as client:
        query_id = begun(client, between)
        between.refusing = True
        between.cut()
        answer = wait_for(client, query_id)
        assert answer.status_code == 500
        assert "ClickHouse" in answer.json()["detail"]
        assert "given up after 3 attempts" in answer.json()["detail"]
        request = client.get(f"/api/requests/{query_id}").json()
        assert (request["status"], request["result_url"]) == ("failed", None)
        assert (
            client.get("/api/events", params={"query_id": query_id, "action": "download"}).status_code == 500
        )
        assert client.get("/api/events", params={"format": "csv"}).status_code == 503
        between.refusing = False
        assert client.get("/api/events", params={"format": "csv"}).status_code == 200


def test_a_stream_that_breaks_off_does_not_look_complete(start: Start) -> None:
    api, between = start()
    between.hold()
    with (
        api.client("boss") as client,
        client.stream("GET", "/api/events", params={"format": "csv", **LARGE}) as answer,
    ):
        assert answer.status_code == 200
        assert between.held.acquire(timeout=PATIENCE)
        between.cut()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            answer.read()
    assert "broken_off=" in api.log
    assert "Traceback" not in api.log


def test_a_stream_whose_caller_goes_away_is_stopped(start: Start) -> None:
    api, between = start()
    between.hold()
    with api.client("boss") as client:
        for _ in range(4):  # more than may run at the same time: each gives its turn back
            with client.stream("GET", "/api/events", params={"format": "csv", **LARGE}) as answer:
                assert answer.status_code == 200
                assert between.held.acquire(timeout=PATIENCE)
            assert between.left.acquire(timeout=PATIENCE)
    assert "Traceback" not in api.log


def test_an_export_that_is_removed_is_stopped(start: Start) -> None:
    api, between = start()
    with api.client("boss") as client:
        query_id = begun(client, between)
        request = client.get(f"/api/requests/{query_id}").json()
        assert request["status"] == "started"
        assert request["progress"] is None or 0 <= request["progress"] <= 1
        assert client.post(f"/api/requests/{query_id}/cancel").status_code == 200
        assert between.left.acquire(timeout=PATIENCE)
        assert client.get("/api/events", params={"query_id": query_id}).status_code == 404
        until(
            lambda: list((api.directory / "exports").iterdir()),
            "nothing is left of it",
            lambda left: not left,
        )


def test_nobody_can_have_more_than_his_share(start: Start) -> None:
    api, between = start(per_user=3, running_per_user=1)
    with api.client("boss") as client, api.client("worker") as other:
        first = begun(client, between)
        second = client.get("/api/events", params=LARGE).json()["query_id"]
        states = [client.get(f"/api/requests/{each}").json()["status"] for each in (first, second)]
        assert states == ["started", "queued"]
        client.get("/api/events", params=LARGE)
        refused = client.get("/api/events", params=LARGE)
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        # somebody else is not made to wait
        assert other.get("/api/events").status_code == 202
        assert client.delete(f"/api/requests/{first}").status_code == 204
        assert between.held.acquire(timeout=PATIENCE)
        between.release()
        assert wait_for(client, second).status_code == 201
        assert client.get("/api/events", params=LARGE).status_code == 202


def test_one_who_downloads_what_he_asked_for_may_ask_on(start: Start) -> None:
    api, _ = start(per_user=2)
    with api.client("boss") as client:
        statuses = []
        for _ in range(5):
            statuses.append(client.get("/api/events", params=LARGE).json()["query_id"])
            assert wait_for(client, statuses[-1]).status_code == 201
            assert whole(file(client, statuses[-1]))
        kept = [each["id"] for each in client.get("/api/requests").json()["results"]]
        assert sorted(kept) == sorted(statuses[-2:])
        for _ in range(2):  # looked at, not downloaded
            assert (
                wait_for(client, client.get("/api/events", params=LARGE).json()["query_id"]).status_code
                == 201
            )
        assert client.get("/api/events", params=LARGE).status_code == 429


def test_the_exports_of_one_person_stay_within_their_size_together(start: Start) -> None:
    api, _ = start(bytes_per_user=20_000_000)  # two of 8 MB
    with api.client("boss") as client, api.client("worker") as other:
        query_ids = [client.get("/api/events", params=LARGE).json()["query_id"] for _ in range(2)]
        assert [wait_for(client, each).status_code for each in query_ids] == [201, 201]
        refused = wait_for(client, client.get("/api/events", params=LARGE).json()["query_id"])
        assert refused.status_code == 500
        assert "may take 19 MiB together" in refused.json()["detail"]
        assert "DELETE /api/requests/{id}" in refused.json()["detail"]
        # nothing of it stays, and somebody else is not concerned
        assert sum(file.stat().st_size for file in (api.directory / "exports").glob("*/result*")) < 20_000_000
        assert wait_for(other, other.get("/api/events").json()["query_id"]).status_code == 201
        # what was downloaded makes room
        assert whole(file(client, query_ids[1]))
        again = client.get("/api/events", params=LARGE).json()["query_id"]
        assert wait_for(client, again).status_code == 201
        assert whole(file(client, again))
        assert client.get("/api/events", params={"query_id": query_ids[1]}).status_code == 404
        assert client.get("/api/events", params={"query_id": query_ids[0]}).status_code == 201


def test_streams_at_the_same_time_are_limited(start: Start) -> None:
    api, between = start()
    between.hold()
    parameters = {"format": "csv", **LARGE}
    with (
        api.client("boss") as client,
        client.stream("GET", "/api/events", params=parameters) as one,
        client.stream("GET", "/api/events", params=parameters) as two,
    ):
        assert (one.status_code, two.status_code) == (200, 200)
        assert client.get("/api/events", params=parameters).status_code == 429
        between.release()
        assert whole(one.read().decode())
        assert whole(two.read().decode())
        assert client.get("/api/events", params=parameters).status_code == 200


def test_a_finished_export_is_forgotten_after_its_time(start: Start) -> None:
    api, _ = start(keep_seconds=1)
    with api.client("boss") as client:
        query_id = client.get("/api/events").json()["query_id"]
        until(
            lambda: client.get("/api/events", params={"query_id": query_id}).status_code,
            "it is forgotten",
            lambda status: status == 404,
        )
        assert list((api.directory / "exports").iterdir()) == []


def test_events_that_arrive_meanwhile_do_no_harm(start: Start, large: Store) -> None:
    api, between = start()
    with api.client("boss") as client:
        query_id = begun(client, between)
        large.insert(
            [
                {
                    "scope": "save:job",
                    "source": "client",
                    "timestamp": "1990-01-02 00:00:00.000",
                    "user_id": 4444,
                    "job_id": 900,
                }
            ]
        )
        between.release()
        try:
            assert wait_for(client, query_id).status_code == 201
            assert whole(file(client, query_id))
            # the same question now finds it
            later = client.get("/api/events", params={"format": "csv", **LARGE}).text
            assert not whole(later)
        finally:
            large.post(
                "ALTER TABLE events DELETE WHERE job_id = 900 AND timestamp >= '1990-01-02' SETTINGS mutations_sync = 2"
            )

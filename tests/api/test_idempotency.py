"""Events that are sent again because nobody said that they are stored: each is there once, and so is its working time."""

from __future__ import annotations

import concurrent.futures
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cvat_analytics.api import idempotency, ingest
from cvat_analytics.api.idempotency import IdempotencyStore
from cvat_analytics.api.ingest import ClientEvents, Prepared
from cvat_analytics.api.principals import Organization, Principal
from cvat_analytics.api.working_time import Action, Ids, amounts
from tests.api.harness import Api, running_api
from tests.clickhouse import Store, free_ports
from tests.serving import QuietServer, served
from tests.vector.configuration import write_configuration
from tests.vector.running import Substitute
from tests.waiting import until

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANNA = Principal("local:anna", 7, "anna")
ORGANIZATION = Organization(1, "first", manages=False)


def at(milliseconds: int) -> str:
    """Return a time of the client's clock."""
    return (BEGIN + timedelta(milliseconds=milliseconds)).isoformat()


def event(number: int, milliseconds: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "scope": "draw:object",
        "obj_id": number,
        "timestamp": at(milliseconds),
        "payload": "{}",
        **fields,
    }


class Service:
    """What `POST /api/events` does between the request and Vector, with a clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.idempotency = IdempotencyStore(lambda: self.seconds)
        self.requests = 0
        self.rows: set[str] = set()
        """What is stored: equal rows are one."""

    def prepare(
        self,
        events: list[dict[str, Any]],
        previous: dict[str, Any] | None = None,
        *,
        principal: Principal = ANNA,
        organization: Organization | None = None,
        late_ms: int = 0,
    ) -> Prepared:
        """Return what is sent to Vector; the request has been on its way for `late_ms`."""
        self.requests += 1
        sent = at(self.requests * 1000)
        batch = ClientEvents.model_validate({"events": events, "previous_event": previous, "timestamp": sent})
        now = BEGIN + timedelta(milliseconds=self.requests * 1000 + late_ms)
        return ingest.prepare(
            batch, principal, organization, f"request-{self.requests}", now, self.idempotency
        )

    def store(self, ready: Prepared, every: int = 1) -> None:
        """Store what is prepared, or only one of `every` rows."""
        rows = [json.dumps(ingest.wire(each), sort_keys=True) for each in (*ready.events, *ready.reports)]
        self.rows.update(rows[::every])

    def stored(self) -> list[dict[str, Any]]:
        """Return the stored events of clients."""
        return [each for each in map(json.loads, self.rows) if each["source"] == "client"]

    def reported(self) -> dict[Ids, int]:
        """Return the working time that is reported."""
        totals: Counter[Ids] = Counter()
        for each in map(json.loads, self.rows):
            if each["scope"] == "send:working_time":
                totals[Ids(each["job_id"], each["task_id"], each["project_id"])] += each["duration"]
        return dict(totals)


OUTCOMES = ("stored", "answer lost", "partly stored", "nothing came", "refused")
Fresh = tuple[int, str, int, int | None]
Step = tuple[list[Fresh], int, str, int]
STEPS = st.lists(
    st.tuples(
        st.lists(
            st.tuples(
                st.integers(1, 130_000) | st.sampled_from([1, 99_999, 100_000]),
                st.sampled_from(["change:frame", "draw:object"]),
                st.integers(0, 150_000),
                st.none() | st.integers(1, 3),
            ),
            max_size=4,
        ),
        st.integers(0, 5),
        st.sampled_from(OUTCOMES),
        st.integers(0, 50),
    ),
    max_size=8,
)
NEW: list[Fresh] = [(10_000, "draw:object", 0, 5), (10_000, "draw:object", 0, 6)]


@given(STEPS, st.booleans())
@example([(NEW, 0, "answer lost", 0), (NEW, 0, "stored", 0)], False)
@example([(NEW, 0, "answer lost", 0), (NEW, 1, "stored", 0)], False)
@example([(NEW, 0, "answer lost", 0), (NEW, 0, "refused", 0), (NEW, 0, "answer lost", 0)], False)
def test_whatever_is_lost_each_event_is_stored_once_and_its_working_time_is_reported_once(
    steps: list[Step], late: bool
) -> None:
    """A client keeps what it was not told is stored, and sends it again before what is new: all of it, or some."""
    service = Service()
    made: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    previous = None
    clock = 0
    is_stored = any(outcome == "stored" for _, _, outcome, _ in steps)
    for new, left_out, outcome, milliseconds in [*steps, ([], 0, "stored", 0)]:
        for pause, scope, duration, job in new:
            # the server knows of what a page has been told the last event only, even if one before it lasts longer
            clock += pause
            made.append(event(len(made), clock, scope=scope, duration=duration, job_id=job))
            kept.append(made[-1])
            clock += duration if is_stored else 0
        batch = kept[: max(0, len(kept) - left_out)]
        ready = service.prepare(batch, previous, late_ms=milliseconds if late else 0)
        if outcome in ("stored", "answer lost", "partly stored"):
            service.store(ready, 2 if outcome == "partly stored" else 1)
        if outcome == "refused":
            service.idempotency.not_stored(ready.stamps)
        if outcome == "stored" and batch:
            service.idempotency.stored(ready.stamps)
            kept, previous = kept[len(batch) :], batch[-1]
    assert sorted(each["obj_id"] for each in service.stored()) == list(range(len(made)))
    assert len(service.idempotency) == 0
    if not late:  # otherwise the clocks differ by something else each time, and so does every pause between two requests
        actions = [
            Action(
                (datetime.fromisoformat(each["timestamp"]) - BEGIN) // timedelta(milliseconds=1),
                each["scope"], each["duration"], Ids(each["job_id"], None, None),
            )
            for each in made
        ]  # fmt: skip
        expected = {ids: amount.milliseconds for ids, amount in amounts(actions, None).items()}
        assert service.reported() == expected


def test_a_repeated_event_is_what_it_was_first_and_a_new_one_is_not() -> None:
    service = Service()
    first = service.prepare([event(1, job_id=5), event(2, 4000, job_id=5)])
    again = service.prepare(
        [event(1, job_id=5), event(2, 4000, job_id=5), event(3, 9000, job_id=5)], late_ms=70
    )
    assert again.events[:2] == first.events
    assert again.reports[0] == first.reports[0]
    assert (again.reports[1]["duration"], len(again.reports)) == (5070, 2)
    assert json.loads(again.events[2]["payload"]) == {"request": {"id": "request-2"}}


def test_the_working_time_of_events_that_come_again_in_parts_is_reported_with_each_until_it_is_stored() -> (
    None
):
    service = Service()
    events = [event(1, job_id=5), event(2, 4000, job_id=5)]
    first = service.prepare(events)
    part = service.prepare(events[1:])
    assert (part.events, part.reports) == (first.events[1:], first.reports)
    service.idempotency.stored(part.stamps)
    rest = service.prepare(events[:1])
    assert (rest.events, rest.reports) == (first.events[:1], [])


@pytest.mark.parametrize(
    "change",
    [
        {"principal": Principal("local:bert", 8, "bert")},
        {"organization": ORGANIZATION},
        {"events": [event(1, 1)]},
        {"events": [event(1, scope="load:job")]},
        {"events": [event(1, count=2)]},
        {"events": [event(1, payload='{"to": 7}')]},
    ],
)
def test_another_person_another_organization_or_another_content_is_another_event(
    change: dict[str, Any],
) -> None:
    service = Service()
    first = service.prepare([event(1)])
    other = service.prepare(**{"events": [event(1)], **change})
    assert json.loads(other.events[0]["payload"])["request"] == {"id": "request-2"}
    assert service.prepare([event(1)]).events == first.events


def test_what_is_taken_from_no_client_makes_no_other_event() -> None:
    service = Service()
    first = service.prepare([event(1)])
    assert service.prepare([event(1, user_id=9, org_slug="x", source="server")]).events == first.events


@pytest.mark.parametrize("outcome", ["stored", "not_stored"])
def test_the_same_event_is_a_new_one_once_its_sender_knows_what_became_of_it(outcome: str) -> None:
    service = Service()
    first = service.prepare([event(1)])
    getattr(service.idempotency, outcome)(first.stamps)
    assert service.prepare([event(1)]).events != first.events


def test_an_attempt_that_stores_nothing_says_nothing_about_another() -> None:
    service = Service()
    first = service.prepare([event(1)])
    again = service.prepare([event(1), event(2)])
    service.idempotency.not_stored(again.stamps)
    third = service.prepare([event(1), event(2)])
    assert third.events[0] == first.events[0]
    assert third.events[1] != again.events[1]
    # and one that has not ended yet may be the first
    service.idempotency.not_stored(first.stamps)
    assert service.prepare([event(1)]).events == first.events


def test_it_is_forgotten_a_day_after_the_last_attempt() -> None:
    service = Service()
    first = service.prepare([event(1)])
    service.seconds += idempotency.KEPT_SECONDS - 1
    assert service.prepare([event(1)]).events == first.events
    service.seconds += idempotency.KEPT_SECONDS - 1
    assert service.prepare([event(1)]).events == first.events
    service.seconds += idempotency.KEPT_SECONDS + 1
    assert service.prepare([event(1)]).events != first.events
    service.seconds += idempotency.KEPT_SECONDS + 1
    service.prepare([event(2)])
    assert len(service.idempotency) == 1


def test_no_more_than_so_many_events_are_remembered_and_those_sent_last_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "EVENTS", 10)
    service = Service()
    first = service.prepare([event(number) for number in range(6)])
    service.prepare([event(0)])
    for number in range(6, 14):
        service.prepare([event(number)])
        assert len(service.idempotency) <= 10
    assert service.prepare([event(0)]).events == first.events[:1]
    assert service.prepare([event(1)]).events != first.events[1:2]


def test_what_is_refused_is_not_remembered() -> None:
    service = Service()
    with pytest.raises(Exception, match="payload"):
        service.prepare([event(1), event(2, payload="{")])
    assert len(service.idempotency) == 0


class LossyVector(QuietServer):
    """Stands before the Vector at `port`, and loses what `mode` says."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mode = ""
        self.requests: list[list[dict[str, Any]]] = []
        self.go_on, self.here = threading.Event(), threading.Semaphore(0)
        super().__init__(("127.0.0.1", 0), _Between)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Between(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LossyVector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(json.loads(body))
        mode = self.server.mode
        if mode != "loses the request":
            httpx.post(
                f"http://127.0.0.1:{self.server.port}/", content=body, trust_env=False
            ).raise_for_status()
        if mode == "waits":
            self.server.here.release()
            assert self.server.go_on.wait(20)
        if mode.startswith("loses"):
            self.close_connection = True
            return
        self.send_response(500 if mode == "says 500" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def store(shared_engine: Store) -> Iterator[Store]:
    """Return a database of their own: others count what there is."""
    with shared_engine.another() as database:
        yield database


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[LossyVector]:
    """Return what stands before a Vector that inserts into the engine."""
    root = tmp_path_factory.mktemp("idempotency-vector")
    (port,) = free_ports(1)
    config = write_configuration(
        root, vector_port=port, clickhouse_http_port=store.http_port, database=store.database
    )
    (password,) = root.rglob("clickhouse_password")
    password.write_text(store.context.secrets["clickhouse_vector"])
    vector = Substitute(root, port, config)
    with ExitStack() as stack:
        vector.start()
        stack.callback(vector.kill)
        yield stack.enter_context(served(LossyVector(port)))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, store: Store, lossy: LossyVector) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("idempotency-api"), store, lossy.url) as api:
        yield api


class Page:
    """CVAT's page: what it is not told is stored it keeps, and sends again with what is new (cvat-core's logger)."""

    def __init__(self, service: Api, name: str, job: int) -> None:
        self.service, self.name, self.job = service, name, job
        self.begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
        self.made = 0
        self.kept: list[dict[str, Any]] = []
        self.previous: dict[str, Any] | None = None

    def work(self, number: int) -> None:
        """Do something every ten seconds."""
        for _ in range(number):
            moment = self.begin + timedelta(seconds=10 * self.made)
            self.made += 1
            self.kept.append(
                {"scope": "draw:object", "timestamp": moment.isoformat(), "job_id": self.job, "count": 1,
                 "payload": json.dumps({"client_id": "123456"})}
            )  # fmt: skip

    def save(self, timeout: float = 60) -> httpx.Response:
        """Send what there is."""
        body: dict[str, Any] = {
            "events": self.kept,
            "previous_event": self.previous,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        with self.service.client(self.name) as client:
            answer = client.post("/api/events", json=body, timeout=timeout)
        if answer.is_success:
            self.kept, self.previous = [], body["events"][-1]
        return answer


def stored(store: Store, job: int) -> tuple[int, int]:
    """Return how many events of a job there are, and how much working time has been reported for it."""
    (events,) = store.rows(f"SELECT count() AS n FROM events WHERE job_id = {job} AND scope = 'draw:object'")
    store.refresh()
    (time,) = store.rows(f"SELECT sum(reported_ms) AS ms FROM working_time WHERE job_id = {job}")
    return int(events["n"]), int(time["ms"])


def wait_for_all(store: Store, service: Api, lossy: LossyVector) -> None:
    """Return when everything that has come to Vector is in the engine: it keeps the order."""
    lossy.mode = ""
    marker = 900_000 + len(lossy.requests)
    page = Page(service, "boss", marker)
    page.work(1)
    assert page.save().status_code == 201
    until(lambda: stored(store, marker)[0], "the last event is readable", lambda seen: seen == 1)


@pytest.mark.parametrize(
    "mode", ["loses the answer", "loses the request", "says 500"], ids=lambda mode: mode.replace(" ", "-")
)
def test_what_a_page_sends_again_is_read_once(
    store: Store, service: Api, lossy: LossyVector, mode: str
) -> None:
    job = 1000 + len(lossy.requests)
    page = Page(service, "worker", job)
    page.work(3)
    lossy.mode = mode
    for _ in range(2):
        answer = page.save()
        assert answer.status_code == 503
        assert "not known whether" in answer.json()["detail"]
        page.work(2)
    lossy.mode = ""
    assert page.save().status_code == 201
    page.work(1)
    assert page.save().status_code == 201
    wait_for_all(store, service, lossy)
    events, reported = stored(store, job)
    assert events == page.made == 8
    # the clocks differ by more or less with each request, by seconds on a loaded machine; an event counts ten
    assert reported == pytest.approx(70_000, abs=4500)


def test_who_does_not_wait_for_the_answer_and_sends_again_stores_once(
    store: Store, service: Api, lossy: LossyVector
) -> None:
    page = Page(service, "worker", 2001)
    page.work(2)
    lossy.go_on.clear()
    lossy.mode = "waits"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(page.save)
        try:
            assert lossy.here.acquire(timeout=20)
            lossy.mode = ""
            again = page.save()
        finally:
            lossy.go_on.set()
        assert (first.result(20).status_code, again.status_code) == (201, 201)
    assert lossy.requests[-1] == lossy.requests[-2]
    wait_for_all(store, service, lossy)
    events, reported = stored(store, 2001)
    assert (events, reported) == (2, 10_000)


def test_who_goes_away_before_the_answer_and_sends_again_stores_once(
    store: Store, service: Api, lossy: LossyVector
) -> None:
    page = Page(service, "worker", 2002)
    page.work(2)
    lossy.go_on.clear()
    lossy.mode = "waits"
    ended = service.log.count("method=POST")
    try:
        with pytest.raises(httpx.ReadTimeout):
            page.save(timeout=1)
        assert lossy.here.acquire(timeout=20)
    finally:
        lossy.go_on.set()
    until(lambda: service.log.count("method=POST") > ended, "the request has ended")
    lossy.mode = ""
    assert page.save().status_code == 201
    assert lossy.requests[-1] == lossy.requests[-2]
    wait_for_all(store, service, lossy)
    assert stored(store, 2002) == (2, 10_000)

"""Many people at once, and readers who take a place without an end: on the real engine with its real limits."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import anyio
import httpx
import pytest
from starlette.types import Message

from cvat_analytics.api import slow_readers
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.slow_readers import Place, StreamPlaces
from cvat_analytics.config import query_limits
from tests.api.data import wait_for
from tests.api.fake_cvat import FakeCvat, Person
from tests.api.harness import PASSWORD, Api, FakeVector, Program, running_api
from tests.clickhouse import ENDLESS, Store
from tests.serving import served
from tests.waiting import PATIENCE, until

PEOPLE = tuple(Person(100 + number, f"person{number}", groups=("admin",)) for number in range(20))


@pytest.fixture(scope="module")
def people(
    tmp_path_factory: pytest.TempPathFactory, store: Store, vector: FakeVector, program: Program
) -> Iterator[Api]:
    """Return a service beside a CVAT that knows twenty people, with as many places as by default."""
    places = query_limits.places(store.context.settings.events_api_max_queries)
    with (
        served(FakeCvat(people=PEOPLE)) as cvat,
        running_api(
            tmp_path_factory.mktemp("people"), store, vector.url, cvat.url, program=program, running=places.exports,
            places={"streams": places.streams, "questions": places.questions, "wait_seconds": int(PATIENCE)},
        ) as api,
    ):  # fmt: skip
        yield api


def running(store: Store) -> int:
    sql = f"SELECT count() FROM system.processes WHERE user = 'events_api' AND query = '{ENDLESS}'"
    return int(json.loads(store.post(sql))["data"][0][0])


@contextmanager
def others(store: Store, number: int) -> Iterator[None]:
    """Have so many queries run as the service's user, which are none of its own."""

    asking = [threading.Thread(target=store.ask_without_end, args=["events_api"]) for _ in range(number)]
    for each in asking:
        each.start()
    try:
        until(lambda: running(store), "they run", lambda now: now == number)
        yield
    finally:
        store.post(f"KILL QUERY WHERE user = 'events_api' AND query = '{ENDLESS}' SYNC")
        for each in asking:
            each.join()


def test_twenty_people_who_ask_nineteen_questions_at_once_see_no_error(people: Api, store: Store) -> None:
    """While exports and streams have all of their places."""
    settings = store.context.settings
    places = query_limits.places(settings.events_api_max_queries)

    async def everybody() -> Counter[int]:
        async with httpx.AsyncClient(
            base_url=people.url, timeout=None, trust_env=False, limits=httpx.Limits()
        ) as client:

            async def ask(person: Person) -> int:
                answer = await client.get(
                    "/api/events", params={"format": "json", "limit": 2}, auth=(person.name, PASSWORD.format(person.name))
                )  # fmt: skip
                return answer.status_code

            # one after another: logins have limits of their own
            known = [await ask(person) for person in PEOPLE]
            return Counter(known) + Counter(
                await asyncio.gather(*(ask(person) for person in PEOPLE for _ in range(19)))
            )

    with others(store, places.exports + places.streams):
        assert asyncio.run(everybody()) == {200: 20 * 20}


def test_a_question_waits_for_room_and_not_for_ever(people: Api, store: Store) -> None:
    most = store.context.settings.events_api_max_queries
    with people.client(PEOPLE[0].name) as client:
        with others(store, most):
            answer = client.get("/api/events", params={"format": "json"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
            assert "ClickHouse is busy: Too many simultaneous queries for user events_api" in answer.text
        assert client.get("/api/events", params={"format": "json"}).status_code == 200


def test_an_export_that_finds_no_room_is_made_when_there_is(people: Api, store: Store) -> None:
    with people.client(PEOPLE[1].name) as client:
        with others(store, store.context.settings.events_api_max_queries):
            query_id = client.get("/api/events", params={"include": "all"}).json()["query_id"]
            note = people.directory / "exports" / query_id / "job.json"
            until(lambda: json.loads(note.read_text())["attempts"], "it was refused once", lambda n: n == 2)
        assert wait_for(client, query_id).status_code == 201


@pytest.fixture(scope="module")
def long(store: Store) -> Iterator[int]:
    """Return a job whose events are more than all the buffers between the service and its reader take."""
    store.post(
        "INSERT INTO events (scope, source, timestamp, user_id, job_id, duration, payload) SELECT 'save:job', 'client', "
        "toDateTime64('1992-01-01 00:00:00', 3) + number, 4444, 902, number, repeat('x', 100000) FROM numbers(300)"
    )
    yield 902
    store.post("ALTER TABLE events DELETE WHERE job_id = 902 SETTINGS mutations_sync = 2")


@contextmanager
def reading_nothing(api: Api, name: str, job: int) -> Iterator[socket.socket]:
    """Ask for a stream, read how it begins, and no more."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", api.port))
        login = b64encode(f"{name}:{PASSWORD.format(name)}".encode()).decode()
        connection.sendall(
            f"GET /api/events?format=csv&job_id={job} HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\n"
            f"Authorization: Basic {login}\r\n\r\n".encode()
        )
        assert connection.recv(12) == b"HTTP/1.1 200"
        yield connection


def test_slow_streams_do_not_keep_others_out(people: Api, long: int, store: Store) -> None:
    places = query_limits.places(store.context.settings.events_api_max_queries).streams
    parameters = {"format": "csv", "job_id": str(long)}
    with ExitStack() as slow, people.client(PEOPLE[-1].name) as other:
        for number in range(places):  # two of each person
            slow.enter_context(reading_nothing(people, PEOPLE[number // 2].name, long))
        with people.client(PEOPLE[0].name) as third:
            refused = third.get("/api/events", params=parameters)
            assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        answer = other.get("/api/events", params=parameters)
        assert answer.status_code == 200
        assert answer.text.count("\n") == 301
        until(
            lambda: people.log.count("others waited for a place, and its reader was the slowest"),
            "one of them is ended",
            lambda ended: ended == 1,
        )


def test_a_reader_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_readers, "STALLED_SECONDS", 0.01)

    async def stalled(message: Message) -> None:
        await anyio.sleep_forever()

    async def sent() -> Place:
        place = Place("ann")
        await place.paced(stalled)({"type": "http.response.body", "body": b"x"})
        return place

    assert asyncio.run(sent()).ended.startswith("its reader has taken nothing for")


def test_nobody_ends_a_stream_of_somebody_who_reads_nor_for_a_second_one_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_readers, "SLOW_SECONDS", 1.0)
    monkeypatch.setattr(slow_readers, "_LOOK_SECONDS", 0.001)

    def at(place: Place, rate: float) -> None:
        place._taken, place._waited = int(rate), 1.0

    async def everybody() -> None:
        places = StreamPlaces(3, 0.2)
        quick, slow = [await places.acquire("ann"), await places.acquire("bob")]
        slower_of_two = await places.acquire("bob")
        at(quick, 2 * slow_readers.SLOW_BYTES)
        at(slow, 1000)
        at(slower_of_two, 10)
        with pytest.raises(Problem) as refused:  # who has a stream ends nobody's
            await places.acquire("ann")
        assert refused.value.status == 503
        assert not any(each.ended for each in (quick, slow, slower_of_two))
        slower_of_two.ends = lambda: places.release(slower_of_two)
        places._turns.wait = PATIENCE
        await places.acquire("cem")
        assert (quick.ended, bool(slower_of_two.ended)) == ("", True)

    asyncio.run(everybody())

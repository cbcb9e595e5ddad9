"""Readers at their limits, on the real engine: who reads cannot keep out what is inserted, nor the administrator."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from cvat_analytics.config.query_limits import READER_NICE, READERS, RESERVED_QUERIES
from tests.clickhouse import ENDLESS, Store
from tests.waiting import until

LARGE = "SELECT length(groupArray(repeat('x', 1000))) FROM numbers(110000) FORMAT Null"
"""A query that takes 200 MB at most."""

_HELD = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
PRIVILEGED = bool(_HELD and int(_HELD[1], 16) >> 23 & 1)
"""Whether this process, and the engine that it starts, has CAP_SYS_NICE (capabilities(7): number 23)."""


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


def refusal(engine: Store, sql: str, user: str) -> str:
    """Return with what a query is refused; nothing where it is answered."""
    try:
        engine.post(sql, user=user)
    except AssertionError as error:
        return str(error)
    return ""


def insert(engine: Store, second: int) -> None:
    event = {"scope": "save:job", "source": "client", "timestamp": f"2026-03-01 10:00:{second:02}.000"}
    engine.insert([event])


@contextmanager
def readers(engine: Store, **asked: int) -> Iterator[dict[str, list[Future[str]]]]:
    """Have so many endless queries asked as each user, and end them."""
    with ThreadPoolExecutor(sum(asked.values())) as people:
        try:
            yield {
                user: [people.submit(refusal, engine, ENDLESS, user) for _ in range(number)]
                for user, number in asked.items()
            }
        finally:
            names = ", ".join(f"'{user}'" for user in asked)
            engine.post(f"KILL QUERY WHERE user IN ({names}) SYNC")


def running(engine: Store) -> Counter[str]:
    """Return how many endless queries run, by user."""
    found = json.loads(
        engine.post(f"SELECT user, count() FROM system.processes WHERE query = '{ENDLESS}' GROUP BY user")
    )["data"]
    return Counter({user: int(number) for user, number in found})


def test_readers_at_their_limits_keep_out_neither_events_nor_the_administrator(engine: Store) -> None:
    settings = engine.context.settings
    most = {user: int(getattr(settings, f"{user}_max_queries")) for user in READERS}
    with readers(engine, **{user: most[user] + 10 for user in READERS} | {"grafana": 62}) as asked:
        until(lambda: running(engine), "every reader is at the limit", lambda now: now == most)
        for user, answers in asked.items():
            beyond = len(answers) - most[user]
            said = until(
                lambda answers=answers: [each.result() for each in answers if each.done()],  # type: ignore[misc]
                "whoever comes beyond it is refused at once",
                lambda said, beyond=beyond: len(said) == beyond,  # type: ignore[misc]
            )
            assert all(f"Too many simultaneous queries for user {user}" in each for each in said)
        for second in range(20):
            insert(engine, second)
        # as much as is kept free, at the same time
        with ThreadPoolExecutor(RESERVED_QUERIES) as commands:
            refused = commands.map(
                lambda _: refusal(engine, "SELECT sleep(1) FORMAT Null", "admin"), range(RESERVED_QUERIES)
            )
            assert list(refused) == [""] * RESERVED_QUERIES
    assert int(json.loads(engine.post("SELECT count() FROM events FINAL"))["data"][0][0]) == 20


@pytest.mark.parametrize("user", READERS)
def test_a_readers_queries_together_stay_within_the_users_memory(engine: Store, user: str) -> None:
    """Each of them would fit."""
    assert refusal(engine, LARGE, user) == ""

    def at_once() -> list[str]:
        with ThreadPoolExecutor(4) as people:
            asked = [people.submit(refusal, engine, LARGE, user) for _ in range(4)]
            for second in range(20, 25):
                insert(engine, second)
            return [said for each in asked if (said := each.result())]

    said = until(at_once, "they are too many for the user's memory", bool)
    assert all(re.search("MEMORY_LIMIT_EXCEEDED", each) for each in said)
    assert any("User memory limit exceeded" in each or "(for user)" in each for each in said)


@pytest.mark.parametrize("name", ["max_concurrent_queries_for_user", "max_memory_usage_for_user"])
@pytest.mark.parametrize("profile", ["cvat_server", "default", "cvat_writer"])
def test_cvat_s_user_lifts_neither(engine: Store, name: str, profile: str) -> None:
    """It is not read-only, so that its profile alone is no wall: readers cannot change these at all (test_query_limits.py)."""
    mine = int(json.loads(engine.post(f"SELECT getSetting('{name}')", user="cvat"))["data"][0][0])
    for value in ("0", "100000000000"):
        asked = f"SELECT 1 SETTINGS profile = '{profile}', {name} = {value}"
        assert "SETTING_CONSTRAINT_VIOLATION" in refusal(engine, asked, "cvat")
    kept = engine.post(f"SELECT getSetting('{name}') SETTINGS profile = '{profile}'", user="cvat")
    assert int(json.loads(kept)["data"][0][0]) == mine


@pytest.mark.parametrize("user", READERS)
def test_threads_of_readers_go_after_those_that_insert(engine: Store, user: str) -> None:
    asked = "SELECT getSetting('os_threads_nice_value_query')"
    value = {who: json.loads(engine.post(asked, user=who))["data"][0][0] for who in (user, "vector", "admin")}
    assert value == {user: READER_NICE, "vector": 0, "admin": 0}
    # it cannot be lifted, under its other name neither
    for name in ("os_threads_nice_value_query", "os_thread_priority"):
        said = refusal(engine, f"SELECT 1 SETTINGS {name} = 0", user)
        assert "readonly" in said or "should not be changed" in said, said


@pytest.mark.skipif(
    not PRIVILEGED, reason="ClickHouse sets the nice values of its threads with CAP_SYS_NICE only"
)
def test_the_threads_of_a_running_reader_have_that_value(engine: Store) -> None:
    assert os.getpriority(os.PRIO_PROCESS, 0) != READER_NICE, "start the tests with another nice value"
    with readers(engine, grafana=1):
        query = f"SELECT thread_ids FROM system.processes WHERE query = '{ENDLESS}' AND user = 'grafana'"

        def values() -> set[int]:
            rows = json.loads(engine.post(query))["data"]
            return {os.getpriority(os.PRIO_PROCESS, int(thread)) for row in rows for thread in row[0]}

        until(
            values, "a thread of the query goes after others", lambda now: READER_NICE in now, despite=OSError
        )
    threads = json.loads(engine.post("SELECT thread_ids FROM system.processes WHERE query_id = queryID()"))[
        "data"
    ][0][0]
    # as the engine was started, or taken back after a reader
    assert {os.getpriority(os.PRIO_PROCESS, int(each)) for each in threads} <= {
        0,
        os.getpriority(os.PRIO_PROCESS, 0),
    }

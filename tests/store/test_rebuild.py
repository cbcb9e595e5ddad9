"""An installed event table whose `count` has 16 bits is rebuilt while events come in and are read, wherever it is interrupted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.store import migrations, rebuild
from tests.clickhouse import Store, engine, running
from tests.store import former_table as former
from tests.waiting import until

HISTORY = 600
KEEP = "TTL toDateTime(timestamp) + toIntervalSecond(315360000)"
THIS_YEAR = "toYear(timestamp) = 2026"  # the others are dropped by that retention


@pytest.fixture(scope="module")
def store(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        before = databases(store)
        yield store
        # their views would be refreshed as long as the engine runs
        for name in databases(store) - before:
            store.post(f"DROP DATABASE {name} SYNC", database="default")


def databases(store: Store) -> set[str]:
    return {name for (name,) in former.ask(store)("SHOW DATABASES")}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_CHUNK_ROWS", 80)


@pytest.fixture
def database(store: Store, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a database as an earlier version has left it, with a history in which some events have come twice."""
    name = f"d{abs(hash(request.node.name)) % 10**12}"
    former.make(store, name)
    fill(store, name)
    yield name
    store.post(f"DROP DATABASE {name} SYNC", database="default")


def fill(store: Store, database: str) -> None:
    events = [former.event(number) for number in range(HISTORY)]
    former.insert(store, database, events[:400])
    former.insert(store, database, events[300:])
    # wrong clocks
    former.insert(store, database, [{**events[7], "timestamp": "1970-01-01 00:00:00.001"}, {**events[8], "timestamp": "2199-12-31 23:59:59.999"}])  # fmt: skip


def steps(store: Store, database: str, tell: rebuild.Tell = lambda text: None) -> Iterator[str]:
    return rebuild.steps(former.SCRIPTS, database, former.ask(store), tell)


def complete(store: Store, database: str) -> list[str]:
    """Run the whole rebuild, and return the statements."""
    done = []
    for statement in steps(store, database):
        store.post(statement, database=database)
        done.append(statement)
    return done


def applied(store: Store, database: str) -> dict[str, str]:
    return {row[0]: row[1] for row in former.ask(store)(migrations.applied_query(database))}


def tables(store: Store, database: str) -> set[str]:
    return {name for (name,) in former.ask(store)(f"SHOW TABLES FROM {database}")}


def definition(store: Store, database: str) -> str:
    query = f"SELECT create_table_query FROM system.tables WHERE database = '{database}' AND name = 'events'"
    return former.value(store, query).replace(f"{database}.", "")


def test_the_former_script_is_the_one_that_earlier_versions_have_applied() -> None:
    assert former.INIT.checksum == migrations.FORMER["init.sql"]
    assert migrations.pending(former.SCRIPTS, {"init.sql": former.INIT.checksum}) == former.SCRIPTS[1:]


def test_the_former_table_wraps_a_number_beyond_16_bits(store: Store, database: str) -> None:
    """Why nothing may write such a number before the table is rebuilt: ClickHouse says nothing of it."""
    former.insert(store, database, [former.event(9_000_000, count=70_000)])
    assert former.value(store, f"SELECT count FROM {database}.events WHERE obj_id = 9000000") == "4464"


def test_a_rebuilt_table_has_the_same_events_and_takes_greater_numbers(store: Store, database: str) -> None:
    everything = f"{former.SHOWN}, received_at, request_id"
    store.post(f"OPTIMIZE TABLE {database}.events FINAL")
    store.post(f"ALTER TABLE {database}.events MODIFY {KEEP}")
    before = former.contents(store, database, everything, THIS_YEAR)
    derived, days, others = (
        former.derived(store, database),
        former.days(store, database),
        tables(store, database),
    )
    assert rebuild.pending(former.SCRIPTS, applied(store, database))
    time.sleep(1.1)  # whatever would be stamped anew has another second
    complete(store, database)
    assert not rebuild.pending(former.SCRIPTS, applied(store, database))
    assert migrations.pending(former.SCRIPTS, applied(store, database)) == []
    assert former.contents(store, database, everything, THIS_YEAR) == before
    assert (former.derived(store, database), former.days(store, database)) == (derived, days)
    assert tables(store, database) == others
    # what a new installation has, with the retention of this one
    store.post("DROP DATABASE IF EXISTS fresh SYNC", database="default")
    store.create("fresh")
    store.post(f"ALTER TABLE fresh.events MODIFY {KEEP}")
    assert definition(store, database) == definition(store, "fresh")
    former.insert(store, database, [former.event(9_000_000, count=90_007), former.event(9_000_001, count=2**32 - 1)])  # fmt: skip
    assert former.ask(store)(
        f"SELECT count FROM {database}.events WHERE obj_id >= 9000000 ORDER BY obj_id"
    ) == [["90007"], ["4294967295"]]
    assert sum(int(each) for _, each in former.days(store, database)) == sum(int(each) for _, each in days) + 2  # fmt: skip
    assert [step for step in complete(store, database) if "schema_migrations" not in step] == []


def test_a_table_without_events_is_rebuilt(store: Store) -> None:
    former.make(store, "without_events")
    complete(store, "without_events")
    former.insert(store, "without_events", [former.event(1, count=70_000)])
    assert former.value(store, "SELECT count FROM without_events.events") == "70000"


def test_without_space_nothing_is_begun(store: Store, database: str) -> None:
    before, ask = tables(store, database), former.ask(store)

    def crowded(query: str) -> list[list[str]]:
        return [["1000"]] if "system.disks" in query else ask(query)

    with pytest.raises(InputError, match=r"disk has 0\.0 GiB free; to rebuild the table .* are needed"):
        next(rebuild.steps(former.SCRIPTS, database, crowded, lambda text: None))
    assert tables(store, database) == before


def test_an_event_that_reached_the_old_table_at_the_last_moment_is_brought_over_unnoticed(
    store: Store, database: str
) -> None:
    before = former.days(store, database)
    for statement in steps(store, database):
        store.post(statement, database=database)
        if statement.startswith("EXCHANGE"):
            former.insert(store, database, [former.event(9_000_000)], "events_rebuild")
            # and what the old one could not hold is not wrapped by it and given back
            former.insert(store, database, [former.event(9_000_001, count=70_000)])
    found = former.ask(store)(f"SELECT obj_id, count FROM {database}.events WHERE obj_id >= 9000000 ORDER BY obj_id, count")  # fmt: skip
    assert [row[0] for row in found] == ["9000000", "9000001"]
    assert found[1][1] == "70000"
    assert sum(int(each) for _, each in former.days(store, database)) == sum(int(each) for _, each in before) + 1  # fmt: skip


def test_a_half_made_table_of_another_definition_is_made_anew(store: Store, database: str) -> None:
    before = former.contents(store, database, condition=THIS_YEAR)
    for statement in steps(store, database):
        if statement.startswith("EXCHANGE"):
            break
        store.post(statement, database=database)
    store.post(f"ALTER TABLE {database}.events MODIFY {KEEP}")
    complete(store, database)
    assert former.contents(store, database, condition=THIS_YEAR) == before
    assert KEEP in definition(store, database)


def test_tables_that_do_not_become_equal_are_never_exchanged(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_ATTEMPTS", 2)
    before = former.contents(store, database)

    def thwarted() -> None:
        for statement in steps(store, database):
            store.post(statement, database=database)
            store.post(f"TRUNCATE TABLE IF EXISTS {database}.events_rebuild")

    with pytest.raises(CvatAnalyticsError, match=r"1970-01: .*events_rebuild does not become equal"):
        thwarted()
    assert former.contents(store, database) == before


class Ingest:
    """Events that come in all the time, some of them again, into the table and into one that is left alone; and a reader.

    `lost` is what the reader has seen that must not be: an acknowledged event that is missing, or one that is there twice.
    """

    def __init__(self, store: Store, database: str, control: str) -> None:
        self._store, self._databases = store, (database, control)
        self._random = random.Random(1)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._read)]
        self.acknowledged, self.reads = 0, 0
        self.lost: list[str] = []
        self.failures: list[Exception] = []

    def _send(self) -> None:
        first, sent = 1_000_000, 0
        while not self._stop.wait(0.02):
            batch = [former.event(first + sent + offset) for offset in range(self._random.randint(1, 20))]
            known = range(first, first + sent) if sent and self._random.random() < 0.5 else range(HISTORY)
            again = [former.event(self._random.choice(known)) for _ in range(3)]
            for database in self._databases:
                self._insisting(partial(former.insert, self._store, database, batch + again))
            sent += len(batch)
            self.acknowledged = sent

    def _read(self) -> None:
        while not self._stop.wait(0.01):
            known = self.acknowledged
            query = f"SELECT count() FROM {self._databases[0]}.events FINAL WHERE obj_id BETWEEN 1000000 AND {999_999 + known}"
            seen = self._insisting(partial(self._store.post, f"{query} FORMAT TSV"))
            self.reads += 1
            if seen is not None and int(seen) != known:
                self.lost.append(f"{seen} of {known}")

    def _insisting(self, act: Callable[[], Any]) -> Any:
        """Do it again until ClickHouse is there and takes it, as Vector does."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return act()
            except (OSError, HTTPException, AssertionError) as error:
                if self._stop.is_set() or time.monotonic() > deadline:
                    return None
                self.failures.append(error)
                time.sleep(0.05)

    def end(self) -> None:
        """Return when the last events are acknowledged by both."""
        acknowledged = self.acknowledged
        until(lambda: self.acknowledged, "more are acknowledged", lambda now: now > acknowledged)
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def going_on(self) -> Iterator[Ingest]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def prepared(store: Store, database: str) -> str:
    """Fill a database of an earlier version, and another one that stays as it is; return the latter's name."""
    control = f"{database}_control"
    for name in (database, control):
        former.make(store, name)
        fill(store, name)
    return control


def test_nobody_misses_an_event_although_the_rebuild_dies_after_each_step(store: Store) -> None:
    control = prepared(store, "dying")
    with Ingest(store, "dying", control).going_on() as ingest:
        died = []
        while rebuild.pending(former.SCRIPTS, applied(store, "dying")):
            statement = next(steps(store, "dying"))
            seen = ingest.reads
            store.post(statement, database="dying")
            died.append(statement.split()[0])
            until(lambda: ingest.reads, "three more looks", lambda reads: reads >= seen + 3, pause=0.01)  # noqa: B023
        ingest.end()
    assert ingest.lost == []
    assert ingest.acknowledged > 100
    assert ingest.reads > 3 * len(died) > 30
    assert {"CREATE", "INSERT", "ALTER", "EXCHANGE", "DROP"} <= set(died)
    assert former.contents(store, "dying") == former.contents(store, control)
    assert former.derived(store, "dying") == former.derived(store, control)
    assert former.days(store, "dying") == former.days(store, control)
    assert former.client_days(store, "dying") == former.client_days(store, control)
    assert tables(store, "dying") == tables(store, control)


def test_clickhouse_may_be_killed_at_each_kind_of_step(tmp_path: Path) -> None:
    """With -9, in the middle of such a statement and after one, while events come in and are read."""
    chance = random.Random(2)
    with running(tmp_path) as store:
        control = prepared(store, "killed")
    kinds: list[str] = []
    with Ingest(store, "killed", control).going_on() as ingest:
        while True:
            with engine(store, tmp_path) as process:
                while rebuild.pending(former.SCRIPTS, applied(store, "killed")):
                    statement = next(steps(store, "killed"))
                    kinds.append(statement.split()[0])
                    if kinds.count(kinds[-1]) <= 2:
                        break
                    store.post(statement, database="killed")
                else:
                    ingest.end()
                    break
                thread = threading.Thread(target=_posted, args=(store, statement))
                thread.start()
                if kinds.count(kinds[-1]) == 1:
                    time.sleep(chance.random() * 0.02)  # somewhere within it, or before, or after
                else:
                    thread.join()
                process.kill()
                thread.join()
    assert ingest.lost == []
    assert {"CREATE", "INSERT", "ALTER", "EXCHANGE", "DROP"} <= set(kinds)
    with engine(store, tmp_path):
        assert former.contents(store, "killed") == former.contents(store, control)
        assert former.derived(store, "killed") == former.derived(store, control)
        assert tables(store, "killed") == tables(store, control)


def _posted(store: Store, statement: str) -> None:
    with suppress(OSError, HTTPException, AssertionError):  # it is killed meanwhile
        store.post(statement, database="killed")

"""Two CVATs that send into one stack are told by ids that mean two things by turns; nothing that one CVAT does looks so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cvat_analytics.checks import flow, two_cvats
from cvat_analytics.checks.two_cvats import TwoCvats
from scripts import status
from tests.clickhouse import Store, way_to

ENGINE = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
COLUMNS = ["scope", "source", "timestamp", "user_id", "user_name", "user_email", "org_id", "org_slug", "job_id", "task_id", "project_id"]  # fmt: skip
MINUTES = 46 * 60
"""How long the events go back: what is looked at is a little more."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """An event table without what the stack derives from it, for the sake of speed."""

    client: Client

    def look(self, rows: Sequence[Row]) -> TwoCvats | None:
        """Return what is found in these events and nothing else."""
        self.client.command("TRUNCATE TABLE events")
        values = [[row.get(column) for column in COLUMNS] for row in rows]
        self.client.insert("events", values, column_names=COLUMNS)
        return two_cvats.look(lambda query: self.client.query(query, tz_mode="aware").result_rows)


@pytest.fixture(scope="module", autouse=True)
def _patient() -> Iterator[None]:
    """Let everything be read, however busy the machine is: what is not read in time would hide a second CVAT."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_cvats, "_SETTINGS", "SETTINGS final = 0")
        patch.setattr(flow, "TIMEOUT", 120)
        yield


@pytest.fixture(scope="module")
def table(shared_engine: Store) -> Iterator[Table]:
    client = way_to(shared_engine.context).client()
    client.command("CREATE DATABASE two_cvats")
    client.command(f"CREATE TABLE two_cvats.events AS {shared_engine.database}.events")
    client.database = "two_cvats"
    yield Table(client)
    client.command("DROP DATABASE two_cvats SYNC")


def event(minute: int, scope: str = "update:job", source: str = "server", **fields: Any) -> Row:
    """Return an event of so many minutes after the first one."""
    moment = datetime.now(UTC) - timedelta(minutes=MINUTES - minute)
    return {"scope": scope, "source": source, "timestamp": moment, **fields}


def meant(kind: str, id: int, meaning: int) -> Row:
    """Return the fields by which an event says what an id means."""
    names: Row = {"user_name": f"ann-{meaning}", "user_email": f"{meaning}@example.org"}
    fields: dict[str, Row] = {
        "user": {"user_id": id, **names},
        # other users than those whose names change
        "email": {"user_id": 50 + id, "user_name": "admin", "user_email": f"{meaning}@example.org"},
        "organization": {"org_id": id, "org_slug": f"acme-{meaning}"},
        "job": {"job_id": id, "task_id": 100 + meaning},
        "task": {"task_id": id, "project_id": 100 + meaning},
    }
    return fields[kind]


KINDS = ["user", "email", "organization", "job", "task"]
minutes = st.integers(0, MINUTES - 1)


@st.composite
def one_cvats_events(draw: st.DrawFn) -> list[Row]:
    """What one CVAT does: each id changes its meaning up to twice, perhaps back; after the first a worker or a request may still have the former one for a while."""
    rows: list[Row] = []
    for kind in KINDS:
        for id in range(1, draw(st.integers(1, 3)) + 1):
            changes = sorted(draw(st.lists(minutes, max_size=2)))
            meanings = [1, 2, draw(st.sampled_from([1, 3]))]
            for minute in draw(st.lists(minutes, max_size=30)):
                late = draw(st.integers(0, 10))
                passed = sum(
                    change <= minute - (0 if number else late) for number, change in enumerate(changes)
                )
                rows.append(event(minute, **meant(kind, id, meanings[passed])))
    return rows


def everywhere(meaning: list[int]) -> list[Row]:
    """Return events of every kind and of two ids, the meaning of each being the given one of its hour."""
    return [
        event(60 * hour + minute, **meant(kind, id, each))
        for hour, each in enumerate(meaning)
        for minute in (1, 58)
        for kind in KINDS
        for id in (1, 2)
    ]


# renamed and renamed back, each at an hour's edge
@ENGINE
@example(rows=everywhere([1] * 10 + [2] * 36))
@example(rows=everywhere([1] * 40 + [2] + [1] * 5))
# backups are brought back again and again, and what is made then has the same ids
@example(rows=everywhere([number // 4 for number in range(46)]))
@given(rows=one_cvats_events())
def test_nothing_that_one_cvat_does_is_called_two(rows: list[Row], table: Table) -> None:
    assert table.look(rows) is None


def browsers(meaning: int) -> list[Row]:
    return [
        event(minute, scope, source, **meant("job", 1, meaning), **meant("user", 1, 1))
        for minute in range(30 * meaning, MINUTES, 60)
        for source, scope in (("client", "draw:object"), ("server", "send:working_time"), ("smoke", "debug:info"))
    ]  # fmt: skip


def test_what_browsers_were_opened_with_tells_nothing(table: Table) -> None:
    rows = [*browsers(1), *browsers(2), *everywhere([1] * 46)]
    assert table.look(rows) is None


@pytest.mark.parametrize("kinds", [["task"], ["email"], ["task", "email"], ["user"]])
def test_what_a_script_or_two_directories_can_do_is_not_enough(table: Table, kinds: list[str]) -> None:
    ids = (1, 2, 3) if kinds != ["user"] else (1,)
    rows = [
        event(60 * hour, **meant(kind, id, hour % 2)) for hour in range(46) for kind in kinds for id in ids
    ]
    assert table.look(rows) is None


def test_it_is_forgotten_a_day_after_the_second_has_gone(table: Table) -> None:
    assert table.look(everywhere([1, 2] * 15))
    assert table.look(everywhere([1, 2] * 10 + [1] * 26)) is None


@st.composite
def two_cvats_events(draw: st.DrawFn) -> list[Row]:
    """Two CVATs, each with its own meanings of some ids: by turns at least, often at the same time."""
    firm = draw(st.sampled_from(["user", "organization", "job"]))
    shared = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 9)), min_size=1, max_size=6))
    shared = list(dict.fromkeys([(firm, 10), *shared, ("task", 11)]))
    turns = draw(st.integers(two_cvats.RETURNS + 2, 15))
    # 61 minutes apart at least: never within one hour of the clock, wherever that begins
    hours = sorted(draw(st.sets(st.integers(0, 18).map(lambda n: 2 * n), min_size=turns, max_size=turns)))
    hours[-2:] = 38, 40  # one of the last two turns is a return, and that was lately
    rows: list[Row] = []
    for turn, hour in enumerate(hours):
        also = draw(st.booleans())
        for which in {turn % 2} | ({0, 1} if also else set()):
            for kind, id in shared:
                minute = 60 * hour + draw(st.integers(0, 59))
                rows.append(event(minute, **meant(kind, id, which)))
    return rows


@ENGINE
@given(rows=two_cvats_events())
def test_two_cvats_are_told(rows: list[Row], table: Table) -> None:
    found = table.look(rows)
    assert found
    assert found.ids >= 2
    assert found.examples
    assert timedelta(0) <= datetime.now(UTC) - found.last < timedelta(days=1)


def test_it_is_said_what_means_what(table: Table) -> None:
    rows = [
        event(60 * hour, **meant(kind, 1, hour % 2))
        for hour in range(46)
        for kind in ("user", "job", "task", "organization")
    ]
    rows += [event(60 * hour, **meant("email", 2, hour % 2)) for hour in range(46)]
    found = table.look(rows)
    assert found
    # of user 1 the e-mails differ as well, which says nothing more
    assert found.ids == 5
    assert set(found.examples) <= {
        "user 1 is ann-0 and ann-1",
        "user 52 has the e-mail 0@example.org and 1@example.org",
        "job 1 is of task 100 and 101",
        "task 1 is of project 100 and 101",
        "organization 1 is acme-0 and acme-1",
    }
    assert len(found.examples) == 3


def test_status_says_it_on_lines_that_no_name_can_break(capsys: pytest.CaptureFixture[str]) -> None:
    found = TwoCvats(5, ["user 1 is ann\nport 9000 and \x1b[2J"], datetime(2026, 11, 29, 19, tzinfo=UTC))
    for line in status._two_cvats(found):
        status.echo(line)
    assert capsys.readouterr().out.splitlines() == [
        "TWO CVATS   seem to send into this stack: 5 ids mean two things by turns, last at 2026-11-29 19:00 UTC "
        r"(user 1 is ann\nport 9000 and \x1b[2J) [CVA9106]",
        "            every number mixes both. See docs/how-to/two-cvats.md",
    ]


def test_status_looks_for_it(shared_engine: Store) -> None:
    """What the flow of a whole stack has of it, for people and machines."""
    with shared_engine.another() as store:
        access = way_to(store.context)
        assert flow.of(access).two_cvats is None
        client = access.client()
        client.database = store.database
        rows = everywhere([1, 2] * 23)
        values = [[row.get(column) for column in COLUMNS] for row in rows]
        client.insert("events", values, column_names=COLUMNS)
        found = flow.of(access).two_cvats
        assert found
        assert found.ids == 10

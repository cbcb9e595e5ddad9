"""A person is taken out of everything that is stored, and stays out; everybody else's rows stay as they are, byte for byte.

Every text of the person has a word in it that is nowhere else, and after an erasure that word is looked for in every column of every
table, and in the files of every active part.
"""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvat_analytics.store import erasing, people
from tests.clickhouse import Store, way_to

Event = dict[str, Any]
ANN, BOB = 2, 3
MARK = "zq5x"
"""In every text of Ann's, and in no other."""
BEGIN = datetime(2026, 1, 30, tzinfo=UTC)
PLACES = ("rectangle", "polygon")


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


@pytest.fixture
def store(engine: Store) -> Store:
    empty(engine)
    return engine


def empty(store: Store) -> None:
    for table in (
        "events", "events_dead_letter", "known_names", "working_time_days", "working_time_results", "working_time_by_day",
        "event_days", "event_counts_settled", "job_changes", "erasures", "erasure_runs",
    ):  # fmt: skip
        store.post(f"TRUNCATE TABLE {table}")


def moment(seconds: float) -> str:
    return f"{BEGIN + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}.{int(seconds * 1000) % 1000:03}"


def person(id: int, **more: Any) -> dict[str, Any]:
    mark = MARK if id == ANN else ""
    return {
        "url": f"http://cvat/{mark}/{{1}}", "id": id, "username": f"user{id}{mark}", "first_name": f'F "x" }}{mark}', "last_name": f"L{{{mark}",
    } | more  # fmt: skip


def event(user: int | None, seconds: float, scope: str = "draw:object", **fields: Any) -> Event:
    mark = MARK if user == ANN else ""
    payload = fields.pop("payload", {})
    if payload is not None:
        payload = json.dumps(
            {"request": {"id": str(uuid.UUID(int=int(seconds * 1000))), "user_agent": f"Mozilla {mark}"}}
            | payload
        )
    nobody = (
        {"user_name": "", "user_email": None}
        if user is None
        else {"user_name": f"user{user}{mark}", "user_email": f"{user}{mark}@example.com"}
    )
    client = scope in ("draw:object", "save:job", "change:frame", "click:element")
    return {
        "scope": scope, "source": "client" if client else "server", "timestamp": moment(seconds), "duration": 0, "user_id": user, "payload": payload,
        "project_id": 1, "task_id": 1, "job_id": 1,
    } | nobody | fields  # fmt: skip


def of_person(user: int, seconds: float, kind: int) -> Event:
    """Return one of somebody's own events, with a text of theirs in every place that has texts."""
    mark = MARK if user == ANN else "other"
    return [
        lambda: event(user, seconds, obj_name=f"name {mark}", obj_val=f"val {mark}", org_slug=f"org{mark}", payload={"a": {"b": [mark]}}),
        lambda: event(user, seconds, "save:job", obj_name=mark),
        lambda: event(user, seconds, "create:shapes", obj_name=PLACES[kind % 2], count=kind, payload={"shapes": [{"id": kind}], "x": mark}),
        lambda: event(user, seconds, "create:comment", obj_id=1000 + user, obj_name=f"text {mark}", payload={"owner": person(user)}),
        lambda: event(user, seconds, "update:comment", obj_name="message", obj_val=f"text two {mark}", payload={"old_value": f"text {mark}"}),
        lambda: event(user, seconds, "send:exception", payload={"message": f"{mark}", "stack": f"\n{mark}"}),
        lambda: event(user, seconds, "send:working_time", duration=1000 + kind, payload={"working_time": 1000 + kind, "x": mark}),
        lambda: event(user, seconds, "update:job", obj_name="state", obj_val="completed", payload={"old_value": mark}),
        lambda: event(user, seconds, "update:job", obj_name="stage", obj_val="validation", payload={"old_value": "annotation"}),
        lambda: event(user, seconds, "create:job", obj_id=1, payload={"stage": "annotation", "owner": person(user), "bug_tracker": mark}),
        lambda: event(user, seconds, "change:frame", duration=500, payload={"from": mark}),
        lambda: event(user, seconds, "load:cvat", payload={"platform": {"name": mark}}),
    ][kind % 12]()  # fmt: skip


def about_ann(user: int | None, seconds: float, kind: int) -> Event:
    """Return an event of somebody else that says something of Ann."""
    python = str({"id": ANN, "username": f"user{MARK}", "first_name": "O'" + MARK, "last_name": 'x"' + MARK})
    old = f"OrderedDict([('id', {ANN}), ('username', '{MARK}')])"
    return [
        lambda: event(user, seconds, "update:job", obj_name="assignee", obj_id=ANN, obj_val=python, payload={"old_value": None}),
        lambda: event(user, seconds, "update:task", obj_name="assignee", obj_val=python, payload={"old_value": person(BOB)}),
        lambda: event(user, seconds, "update:project", obj_name="owner", obj_id=BOB, obj_val="{'id': 3, 'username': 'b'}", payload={"old_value": person(ANN)}),
        lambda: event(user, seconds, "update:task", obj_name="assignee", obj_val="None", payload={"old_value": old}),
        lambda: event(user, seconds, "create:task", obj_id=1, obj_name="task", payload={"owner": person(BOB), "assignee": person(ANN), "deep": [{"x": person(ANN)}]}),
        lambda: event(user, seconds, "create:invitation", payload={"user": person(ANN), "owner": person(BOB), "role": "worker"}),
        lambda: event(user, seconds, "create:membership", payload={"user": person(ANN), "role": "owner"}),
        lambda: event(None, seconds, "create:user", obj_id=ANN, obj_name=f"user{MARK}", payload={"first_name": MARK, "last_name": MARK}),
        lambda: event(user, seconds, "delete:user", obj_id=ANN, obj_name=f"user{MARK}"),
        lambda: event(user, seconds, "delete:comment", obj_id=1000 + ANN, obj_name=f"text two {MARK}"),
        lambda: event(user, seconds, "update:comment", obj_name="message", obj_val="made nicer", payload={"old_value": f"text {MARK}"}),
        lambda: event(user, seconds, "update:user", obj_name="first_name", obj_val=f'F "x" }}{MARK}', payload={"old_value": ""}),
    ][kind % 12]()  # fmt: skip


def eraser(store: Store, before: datetime | None = None, who: str = str(ANN)) -> erasing.Erasing:
    client = way_to(store.context).client()
    found = people.resolve(client, store.database, who)
    return erasing.Erasing(client, store.database, found, before or erasing.now(client))


def erase(store: Store, keep_sums: bool = False) -> None:
    for _ in eraser(store).run(keep_sums):
        pass


def answer(store: Store, sql: str, user: str = "admin") -> list[list[Any]]:
    rows: list[list[Any]] = json.loads(store.post(sql, user=user))["data"]
    return rows


def places_with_the_mark(store: Store) -> list[str]:
    """Return in which tables, and in files of which active parts, a text of Ann's is."""
    found = []
    columns = answer(store, f"SELECT c.table, c.name FROM system.columns AS c INNER JOIN system.tables AS t ON t.name = c.table AND t.database = c.database WHERE c.database = '{store.database}' AND t.engine LIKE '%MergeTree'")  # fmt: skip
    for table in sorted({table for table, _ in columns}):
        condition = " OR ".join(
            f"position(toString({name}), '{MARK}') > 0"
            for owner, name in columns
            if owner == table and name not in ("last_event",)
        )
        if answer(store, f"SELECT count() FROM {table} WHERE {condition}") != [[0]]:
            found.append(table)
    for name, path in answer(
        store,
        f"SELECT concat(table, ' ', name), path FROM system.parts WHERE active AND database = '{store.database}'",
    ):
        # most columns are compressed: the files are what ClickHouse reads, the words in names and marks of parts are plain
        found += [
            f"{name} {file.name}"
            for file in Path(path).rglob("*")
            if file.is_file() and MARK.encode() in file.read_bytes()
        ]
    return found


def others(store: Store) -> Counter[str]:
    """Return the rows that neither are Ann's nor speak of her, as they are."""
    rows = answer(
        store,
        "SELECT toJSONString(tuple(*)) FROM (SELECT *, received_at FROM events FINAL) WHERE ifNull(user_id, 0) < 9000000000000000",
    )
    return Counter(row[0] for row in rows)


WORK = st.lists(
    st.tuples(st.sampled_from((ANN, ANN, BOB)), st.integers(0, 3 * 86400), st.integers(0, 23)), min_size=5, max_size=60
)  # fmt: skip


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(work=WORK, seed=st.integers(0, 1000), keep_sums=st.booleans())
def test_nothing_of_the_person_is_left_and_nothing_of_others_is_changed(
    engine: Store, keep_sums: bool, work: list[tuple[int, int, int]], seed: int
) -> None:
    store = engine
    empty(store)
    mine: list[Event] = []
    theirs: list[Event] = []
    about: list[Event] = []
    for user, seconds, kind in work:
        if kind < 12:
            (mine if user == ANN else theirs).append(of_person(user, seconds, kind))
        else:
            about.append(about_ann(BOB, seconds, kind))
    # what links a comment's text to her
    mine += [of_person(ANN, 1, 3), of_person(ANN, 2, 4), of_person(ANN, 3, 0)]
    theirs += [
        of_person(BOB, 4, 3),
        event(BOB, 5, "delete:comment", obj_id=1000 + BOB, obj_name="text other"),
    ]
    store.insert(theirs)
    untouched = others(store)
    everything = mine + about
    random.Random(seed).shuffle(everything)
    store.insert(everything)
    store.insert(everything[: len(everything) // 2])
    store.refresh()
    letter = {
        "received_at": moment(9),
        "reason": "r",
        "message": "m",
        "original": json.dumps(of_person(ANN, 7, 0)),
    }
    other_letter = letter | {"original": json.dumps(of_person(BOB, 7, 0))}
    store.post(
        f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow\n{json.dumps(letter)}\n{json.dumps(other_letter)}",
        user="vector",
    )
    assert set(places_with_the_mark(store)) >= {"events", "known_names", "events_dead_letter"}
    sums = totals(store)

    erase(store, keep_sums)

    assert places_with_the_mark(store) == []
    assert answer(
        store,
        "SELECT count() FROM events WHERE user_id = 2 OR obj_id = 2 AND scope IN ('create:user', 'delete:user')",
    ) == [[0]]
    left = others(store)
    assert untouched - left == Counter(), "somebody else's row is not what it was"
    expected = len({json.dumps(each) for each in theirs + about})
    assert sum(left.values()) <= expected
    assert answer(store, "SELECT count() FROM events_dead_letter FINAL") == [[1]]
    assert not any(eraser(store).found().values()), "a second run would change something"
    store.refresh()
    if keep_sums:
        assert totals(store) == sums
    # whatever comes late leaves her out, by Vector's way and by every other that goes through the same table
    before = others(store)
    store.insert(everything)
    store.post(f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow\n{json.dumps(letter)}", user="vector")
    store.refresh()
    assert places_with_the_mark(store) == []
    assert untouched - others(store) == Counter()
    assert sum(others(store).values()) == sum(before.values()), "what is stored already was doubled"
    if keep_sums:
        assert totals(store)[:2] == sums[:2]


def test_cut_off_anywhere_it_is_completed_by_the_next_run(store: Store) -> None:
    """Each run gets one deletion or insertion further than the one before, and the last one to the end.

    It is asked for by a name that the person had long ago, which is in events of theirs only.
    """
    theirs = [of_person(BOB, 100 + kind, kind) for kind in range(12)]
    store.insert(theirs)
    untouched = others(store)
    former = f"former {MARK}"
    store.insert([event(ANN, 1, "load:cvat", user_name=former)])
    store.insert([of_person(ANN, 5000 * day + kind, kind) for day in range(20) for kind in range(12)])
    renamed = event(
        BOB, 300, "update:user", obj_name="username", obj_val="user2", payload={"old_value": former}
    )
    letter = {
        "received_at": moment(9),
        "reason": "r",
        "message": "m",
        "original": json.dumps({"user_name": former}),
    }
    store.post(f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow\n{json.dumps(letter)}", user="vector")
    about = [*(about_ann(BOB, 200 + kind, kind) for kind in range(12)), renamed]
    store.insert(about)
    store.refresh()
    sums = totals(store)

    class CutOffError(Exception):
        pass

    for steps in itertools.count():
        one = eraser(store, who=former)
        left = steps

        def counted(do: Any) -> Any:
            def step(*arguments: Any) -> None:
                nonlocal left
                if not left:
                    raise CutOffError
                left -= 1
                do(*arguments)

            return step

        one._insert, one._delete = counted(one._insert), counted(one._delete)  # type: ignore[method-assign]
        try:
            for _ in one.run(keep_sums=True):
                pass
            break
        except CutOffError:
            pass
    assert steps > 5
    assert places_with_the_mark(store) == []
    assert untouched - others(store) == Counter()
    assert sum(others(store).values()) == len(theirs + about)
    assert one.under_way() is None
    store.refresh()
    assert totals(store) == sums
    assert len(answer(store, "SELECT DISTINCT user_id FROM events WHERE user_id >= 9000000000000000")) == 1


def test_a_comment_is_found_in_whatever_month_somebody_else_has_deleted_or_changed_it(store: Store) -> None:
    month = 31 * 86400
    store.insert([of_person(ANN, 1, 3), of_person(ANN, 2, 4), of_person(ANN, 2 * month, 0)])
    store.insert([about_ann(BOB, month, 9), about_ann(BOB, month + 1, 10), about_ann(BOB, 3 * month, 10)])
    erase(store)
    assert places_with_the_mark(store) == []
    assert sum(others(store).values()) == 3


@pytest.mark.parametrize("at_once", [1, 100], ids=["one by one", "together"])
def test_what_others_have_written_is_not_doubled_when_it_comes_again(store: Store, at_once: int) -> None:
    """After an erasure: by a replay, a buffer that was put back, CVAT itself."""
    theirs = [
        *(of_person(BOB, 100 + kind, kind) for kind in range(12)),
        event(BOB, 5, "delete:comment", obj_id=1000 + BOB, obj_name="text other"),
        event(BOB, 6, "update:user", obj_name="first_name", obj_val="Rob", payload={"old_value": "Robert"}),
        event(BOB, 7, "update:user", obj_name="first_name", obj_val=None, payload={"old_value": "Robert"}),
    ]
    store.insert(theirs)
    store.insert([of_person(ANN, 1, 3), about_ann(BOB, 8, 9), about_ann(BOB, 9, 10)])
    erase(store)
    stored = "SELECT toJSONString(tuple(*)) AS event FROM events FINAL ORDER BY event"
    before = answer(store, stored)
    again = [*theirs, of_person(ANN, 1, 3), about_ann(BOB, 8, 9), about_ann(BOB, 9, 10)]
    for begin in range(0, len(again), at_once):
        store.insert(again[begin : begin + at_once])
    assert answer(store, stored) == before
    # one that is not stored says nothing, as nobody can tell whose text it has, and comes once, too
    late = event(BOB, 8, "delete:comment", obj_id=1, obj_name=f"somebody's {MARK}")
    store.insert([late])
    store.insert([late, event(BOB, 10)])
    assert answer(store, "SELECT count() FROM events FINAL") == [[len(before) + 2]]
    assert places_with_the_mark(store) == []


def test_who_comes_back_is_stored_from_then_on(store: Store) -> None:
    before = BEGIN + timedelta(days=1)
    early, late = of_person(ANN, 100, 0), [of_person(ANN, 86400 + 100 + kind, kind) for kind in range(12)]
    store.insert([early, *late])
    for _ in eraser(store, before).run(False):
        pass
    store.insert([early, *late])
    store.refresh()
    assert answer(
        store,
        "SELECT count(), min(timestamp) > toDateTime('2026-01-31', 'UTC') FROM events FINAL WHERE user_id = 2",
    ) == [[12, 1]]
    assert answer(store, "SELECT name FROM user_names WHERE user_id = 2") == [[f"user2{MARK}"]]
    assert answer(store, "SELECT sum(events) FROM working_time WHERE user_id = 2") == [[3]]


def in_a_letter(user: int, day: int, **more: Any) -> Event:
    return {
        "user_id": user,
        "timestamp": f"2026-02-{day:02}T10:00:00Z",
        "payload": json.dumps({"a": '{"'}),
    } | more


LETTERS: dict[str, tuple[bool, Any]] = {
    "hers is the second": (True, [in_a_letter(BOB, 20), in_a_letter(ANN, 5)]),
    "hers is from after it": (False, [in_a_letter(BOB, 5), in_a_letter(ANN, 20)]),
    "the second speaks of her": (True, [in_a_letter(BOB, 20), in_a_letter(BOB, 5, payload=json.dumps({"owner": person(ANN)}))]),
    "what speaks of her is from after it": (False, [in_a_letter(BOB, 5), in_a_letter(BOB, 20, payload=json.dumps({"owner": person(ANN)}))]),
    "a payload that is no text speaks of her": (True, [in_a_letter(BOB, 20), in_a_letter(BOB, 5, payload={"owner": person(ANN)})]),
    "her time cannot be read": (True, [in_a_letter(BOB, 20), in_a_letter(ANN, 20, timestamp="soon")]),
    "she has no time": (True, [in_a_letter(BOB, 20), {"user_id": ANN}]),
    "a payload that is no text": (True, [in_a_letter(BOB, 20, payload={}), in_a_letter(ANN, 5, payload={"x": {"y": 1}})]),
}  # fmt: skip


@pytest.mark.parametrize("ending", ["", '{"user_id'], ids=["whole", "broken off"])
def test_a_letter_of_many_people_is_judged_event_by_event(store: Store, ending: str) -> None:
    """The same of those that come in and of those that are stored."""
    before = datetime(2026, 2, 10, tzinfo=UTC)
    body = "\n".join(
        json.dumps({"received_at": moment(9), "reason": name, "message": "m", "original": json.dumps(events) + ending})
        for name, (_, events) in LETTERS.items()
    )  # fmt: skip
    stays = sorted([name] for name, (is_gone, _) in LETTERS.items() if not is_gone)
    left = "SELECT reason FROM events_dead_letter FINAL ORDER BY reason"
    insert = f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow\n{body}"
    store.post(insert, user="vector")
    for _ in eraser(store, before).run(False):
        pass
    assert answer(store, left) == stays
    store.post("TRUNCATE TABLE events_dead_letter")
    store.post(insert, user="vector")
    assert answer(store, left) == stays


def test_the_list_has_an_id_and_an_instant_and_nothing_else(store: Store) -> None:
    columns = answer(
        store,
        f"SELECT name FROM system.columns WHERE database = '{store.database}' AND table = 'erasures' ORDER BY position",
    )
    assert columns == [["user_id"], ["before"]]


def test_vector_cannot_pass_by_the_list(store: Store) -> None:
    for table in ("events", "events_dead_letter"):
        with pytest.raises(AssertionError, match="ACCESS_DENIED"):
            store.post(f"INSERT INTO {table} FORMAT JSONEachRow\n{{}}", user="vector")


def test_a_batch_that_comes_again_is_known(store: Store) -> None:
    """Vector cannot know whether a request that timed out was done: the same bytes again add no row, and note no day."""
    batch = [of_person(BOB, 100 + kind, kind) for kind in range(12)]
    store.insert(batch)
    store.insert(batch)
    assert answer(store, "SELECT count() FROM events") == [[12]]
    assert answer(store, "SELECT sum(inserted) FROM event_days") == [[12]]


def totals(store: Store) -> list[Any]:
    """Return the sums that are not a person's: of working time, of counts by project and task, of completed jobs."""

    def as_reader(sql: str) -> list[list[Any]]:
        return answer(store, sql, "grafana")

    return [
        as_reader("SELECT project_id, task_id, job_id, day, sum(computed_ms), sum(reported_ms), sum(events) FROM working_time WHERE user_id != 3 GROUP BY ALL ORDER BY ALL"),
        as_reader("SELECT project_id, task_id, scope, sum(count), count() FROM events FINAL WHERE user_id != 3 OR user_id IS NULL GROUP BY ALL ORDER BY ALL"),
        as_reader("SELECT hour, scope, project_id, task_id, job_id, sum(events), sum(duration_ms) FROM event_counts GROUP BY ALL ORDER BY ALL"),
        as_reader("SELECT timestamp, job_id, stage FROM completed_jobs ORDER BY ALL"),
    ]  # fmt: skip

"""Names of people who have done nothing themselves yet: what others' events tell of them, as CVAT writes it."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvat_analytics.store import migrations
from tests.clickhouse import Store
from tests.importing.test_names import SQL

Event = dict[str, Any]
SLOW_ENGINE = settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _empty(store: Store) -> Iterator[None]:
    clear(store)
    yield
    clear(store)


def clear(store: Store) -> None:
    for table in ("events", "known_names"):
        store.post(f"TRUNCATE TABLE {table}")


def event(second: int, scope: str, **fields: Any) -> Event:
    return {
        "scope": scope,
        "source": "server",
        "timestamp": f"2025-01-01 00:00:{second:02}.000",
        "user_id": 1,
        "user_name": "admin",
        **fields,
    }


def user(id_: int, name: str) -> dict[str, Any]:
    """Return a person as CVAT describes them in other objects."""
    return {"id": id_, "username": name, "first_name": "'username': 'no', ", "last_name": '"L"'}


def known(store: Store) -> dict[int, str]:
    answer = json.loads(store.post("SELECT user_id, name FROM user_names ORDER BY user_id", user="grafana"))
    return {int(id_): name for id_, name in answer["data"]}


def assigned(
    second: int, new: Any, old: Any = None, scope: str = "update:job", prop: str = "assignee"
) -> Event:
    return event(
        second,
        scope,
        obj_name=prop,
        obj_id=new["id"] if new else None,
        obj_val=str(new),
        payload=json.dumps({"old_value": old}),
    )


CASES = {
    "registered by themselves": (event(1, "create:user", user_id=None, user_name="", obj_id=5, obj_name="eve"), {5: "eve"}),
    "deleted": (event(1, "delete:user", obj_id=5, obj_name="eve"), {1: "admin", 5: "eve"}),
    "a member": (
        event(1, "create:membership", obj_id=9, payload=json.dumps({"user": user(5, "eve"), "role": "worker"})),
        {1: "admin", 5: "eve"},
    ),
    "invited": (
        event(1, "create:invitation", payload=json.dumps({"owner": user(1, "admin"), "user": user(5, "eve")})),
        {1: "admin", 5: "eve"},
    ),
    "owner and assignee of a new task": (
        event(1, "create:task", task_id=3, payload=json.dumps({"owner": user(5, "eve"), "assignee": user(6, "fay")})),
        {1: "admin", 5: "eve", 6: "fay"},
    ),
    "writer of a comment": (
        event(1, "create:comment", obj_id=3, obj_name="text", payload=json.dumps({"issue": 1, "owner": user(5, "eve")})),
        {1: "admin", 5: "eve"},
    ),
    "assigned instead of another": (
        assigned(1, user(5, "eve"), user(6, "fay")),
        {1: "admin", 5: "eve", 6: "fay"},
    ),
    "unassigned": (assigned(1, None, user(6, "fay"), "update:task"), {1: "admin", 6: "fay"}),
    "an older server's dictionary": (
        assigned(1, user(5, "eve")) | {"obj_val": "OrderedDict([('id', 5), ('username', 'eve'), ('first_name', '')])"},
        {1: "admin", 5: "eve"},
    ),
    "with an address before the id": (
        assigned(1, {"url": "http://cvat/api/users/5", **user(5, "eve")}, scope="update:project"),
        {1: "admin", 5: "eve"},
    ),
    "no names: another property": (assigned(1, user(5, "eve"), prop="bug_tracker"), {1: "admin"}),
    "no names: another scope": (
        event(1, "save:job", source="client", payload=json.dumps({"owner": user(5, "eve")})),
        {1: "admin"},
    ),
    "no names: not JSON, no dictionary": (
        event(1, "update:job", obj_name="assignee", obj_id=5, obj_val="{'id': 5, 'username'", payload="{"),
        {1: "admin"},
    ),
    "no names: nobody, numbers, nothing": (
        event(1, "create:task", payload=json.dumps({"owner": {"id": 5, "username": ""}, "assignee": {"username": "x"}})),
        {1: "admin"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_event_tells_whom_it_names(store: Store, case: str) -> None:
    event, expected = CASES[case]
    store.insert([event])
    assert known(store) == expected


# quotes, backslashes and whatever Python writes as an escape, beside everything else
awkward = (
    st.text(st.sampled_from("'\"\\{}:, ux0é山\n\t\r\x00\x7f\xa0\xad\u200b\ue000\U000e0001😀n")) | st.text()
)


@SLOW_ENGINE
@given(people=st.lists(st.tuples(awkward, awkward, st.booleans()), min_size=1, max_size=50))
def test_a_name_is_read_as_python_has_written_it(store: Store, people: list[tuple[str, str, bool]]) -> None:
    clear(store)
    events, expected = [], {1: "admin"}
    for number, (name, other, ordered) in enumerate(people, 2):
        person = {"url": other, "id": number, "first": None, "username": name, "last_name": other}
        text = str(person)
        if ordered:  # as Python before 3.12 wrote an OrderedDict
            text = f"OrderedDict({list(OrderedDict(person).items())!r})"
        old = {"id": number + 1000, "username": name, "first_name": other}
        events.append(assigned(1, person, old) | {"obj_val": text})
        if name:
            expected |= {number: name, number + 1000: name}
    store.insert(events)
    assert known(store) == expected


ids, names = st.integers(1, 3), st.sampled_from(["", "ann", "bob", "o'brien", 'a "b" \\'])
seconds = st.integers(0, 3)
persons = st.one_of(st.none(), st.builds(user, ids, names))


def told(happened: Event) -> Iterator[tuple[int, int, str]]:
    """Yield id, rank and name of each person whom an event names: the rule in plain Python."""
    if happened["user_id"] and happened["user_name"]:
        yield happened["user_id"], 1, happened["user_name"]
    about = json.loads(happened.get("payload") or "{}")
    others = [about.get(role) for role in ("owner", "assignee", "user", "old_value")]
    others.append(happened.get("new"))
    for other in filter(None, others):
        yield other["id"], 0, other["username"]
    if happened["scope"] in ("create:user", "delete:user"):
        yield happened["obj_id"], 0, happened["obj_name"]


histories = st.lists(
    st.one_of(
        st.builds(lambda s, i, n: event(s, "save:job", source="client", user_id=i, user_name=n), seconds, ids, names),
        st.builds(lambda s, i, n: event(s, "create:user", user_id=None, user_name="", obj_id=i, obj_name=n), seconds, ids, names),
        st.builds(lambda s, i, n: event(s, "delete:user", obj_id=i, obj_name=n), seconds, ids, names),
        st.builds(lambda s, a, b: event(s, "create:project", payload=json.dumps({"owner": a, "assignee": b})), seconds, persons, persons),
        st.builds(lambda s, a: event(s, "create:membership", payload=json.dumps({"user": a})), seconds, persons),
        st.builds(lambda s, a, b: assigned(s, a, b) | {"new": a}, seconds, persons, persons),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip


@SLOW_ENGINE
@given(history=histories, data=st.data())
def test_the_newest_name_is_known_in_any_order_and_after_repetition(
    store: Store, history: list[Event], data: st.DataObject
) -> None:
    clear(store)
    best: dict[int, tuple[str, int, str]] = {}
    for each in history:
        for id_, own, name in told(each):
            if name:
                best[id_] = max(best.get(id_, ("", 0, "")), (each["timestamp"], own, name))
    arriving = data.draw(
        st.permutations(history + data.draw(st.lists(st.sampled_from(history), max_size=10)))
    )
    stored = [{name: value for name, value in each.items() if name != "new"} for each in arriving]
    middle = data.draw(st.integers(0, len(stored)))
    for part in (stored[:middle], stored[middle:]):
        if part:
            store.insert(part)
    expected = {id_: name for id_, (_, _, name) in sorted(best.items())}
    assert known(store) == expected
    store.post("TRUNCATE TABLE known_names")
    for statement in migrations.statements(SQL):
        store.post(statement)
    assert known(store) == expected, "made anew from the stored events"


def test_an_installation_of_an_earlier_version_keeps_what_it_knew(store: Store) -> None:
    store.insert([event(2, "save:job", user_id=6, user_name="fay")])
    old = "kind LowCardinality(String), id UInt64, name AggregateFunction(argMax, String, DateTime64(3, 'Etc/UTC'))"
    store.post("DROP VIEW known_objects_from_events")
    store.post("DROP TABLE known_names")
    store.post("DROP VIEW known_objects")
    store.post(f"CREATE TABLE known_objects ({old}) ENGINE = AggregatingMergeTree ORDER BY (kind, id)")
    store.post(
        "INSERT INTO known_objects SELECT 'user', id, argMaxState(name, toDateTime64('2031-01-01 00:00:00', 3, 'Etc/UTC')) "
        "FROM VALUES('id UInt64, name String', (5, 'eve'), (6, 'as it was')) GROUP BY id"
    )
    statements = migrations.statements(SQL)
    for stop in range(len(statements)):  # interrupted anywhere, and done again
        for statement in statements[: stop + 1]:
            store.post(statement)
    assert known(store) == {5: "eve", 6: "fay"}
    store.insert([event(1, "create:user", obj_id=5, obj_name="eva")])
    assert known(store) == {1: "admin", 5: "eva", 6: "fay"}
    sql = (
        "SELECT id, argMaxMerge(name) AS known FROM known_objects WHERE kind = 'user' GROUP BY id ORDER BY id"
    )
    assert [row["known"] for row in store.rows(sql)] == ["admin", "eva", "fay"]


@pytest.mark.parametrize("escape", [r"\ud800", r"\udfff", r"\U00110000", r"\xff\ud83d\xff"])
def test_an_escape_that_names_no_character_becomes_none_of_bytes(store: Store, escape: str) -> None:
    text = "{'id': 7, 'username': 'ann" + escape + "', 'first_name': ''}"
    store.insert([event(1, "update:job", obj_name="assignee", obj_val=text, payload="{}")])
    query = "SELECT isValidUTF8(name), startsWith(name, 'ann') FROM user_names WHERE user_id = 7"
    assert json.loads(store.post(query))["data"] == [[1, 1]]

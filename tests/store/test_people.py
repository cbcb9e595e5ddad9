"""Who is meant by an id, a name or an address: a person is an id, and names change hands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.store import people
from tests.clickhouse import Store, way_to


@pytest.fixture(scope="module")
def store(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        store.insert(EVENTS)
        yield store


def event(day: int, **fields: Any) -> dict[str, Any]:
    payload = json.dumps(fields.pop("payload", {}))
    return {
        "scope": "draw:object",
        "source": "server",
        "timestamp": f"2026-01-{day:02} 10:00:00.000",
        "payload": payload,
    } | fields


EVENTS = [
    event(1, user_id=2, user_name="ann", user_email="ann@example.com"),
    # the same name, given to somebody else later; and the first one has another
    event(5, user_id=7, user_name="ann", user_email="ann.new@example.com"),
    event(6, user_id=2, user_name="ann.smith", user_email="Ann@example.com"),
    # people who have done nothing themselves
    event(7, scope="update:job", user_id=1, user_name="admin", obj_name="assignee", obj_id=11,
          obj_val="""{'id': 11, 'username': 'bob', 'first_name': "O'Neil", 'last_name': 'B'}""", payload={"old_value": None}),
    event(8, scope="update:job", user_id=1, user_name="admin", obj_name="assignee",
          obj_val="OrderedDict([('id', 12), ('username', 'carl')])",
          payload={"old_value": {"id": 13, "username": "dora", "first_name": 'a "quote" and a }', "last_name": "{"}}),
    event(9, scope="create:user", user_name="", obj_id=14, obj_name="eve", payload={"first_name": ""}),
    event(9, scope="create:membership", user_id=1, user_name="admin", payload={"user": {"url": "http://x/{1}", "id": 15, "username": "fay"}, "role": "owner"}),
]  # fmt: skip


def resolved(store: Store, who: str) -> people.Person:
    return people.resolve(way_to(store.context).client(), store.database, who)


@pytest.mark.parametrize(
    ("who", "id"),
    [("2", 2), ("ann.smith", 2), ("ANN@example.com", 2), ("ann.new@example.com", 7), ("bob", 11), ("carl", 12), ("dora", 13), ("eve", 14), ("fay", 15), ("99", 99)],
)  # fmt: skip
def test_a_person_is_found(store: Store, who: str, id: int) -> None:
    assert resolved(store, who).id == id


def test_a_person_has_every_name_that_they_ever_had(store: Store) -> None:
    ann = resolved(store, "ann.smith")
    assert ann.names == ("ann", "ann.smith")
    assert ann.emails == ("ann@example.com", "Ann@example.com")
    assert str(ann.first)[:10] == "2026-01-01"
    assert resolved(store, "bob").other_names == ("O'Neil", "B")
    assert resolved(store, "dora").other_names == ('a "quote" and a }', "{")


def test_a_name_that_changed_hands_is_two_people(store: Store) -> None:
    with pytest.raises(InputError) as refused:
        resolved(store, "Ann")
    assert str(refused.value).splitlines() == [
        "'Ann': is or was the name of 2 people. Give the id of the one that you mean:",
        "  id 2 (ann, ann.smith, ann@example.com, Ann@example.com, 2026-01-01 to 2026-01-06)",
        "  id 7 (ann, ann.new@example.com, 2026-01-05 to 2026-01-05)",
    ]
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("who", ["nobody", "", "' OR 1 --", str(2**64)])
def test_nobody(store: Store, who: str) -> None:
    with pytest.raises(InputError):
        resolved(store, who)

"""Whatever an event says of other people is left out of what one person gets, and what it says of that person stays."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.operate import disclosure_files
from cvat_analytics.operate.others import SOMEBODY, TEXT, Others
from cvat_analytics.store.people import Person

ANN = Person(2, ("ann",), ("ann@example.org",), ("Ann", "Larson"))
OTHERS = Others(ANN, frozenset({11}))
REQUEST = {"id": "57df9a23", "user_agent": "Firefox"}


def person(id_: int, name: str) -> dict[str, Any]:
    return {"id": id_, "username": name, "first_name": name.title(), "last_name": "B"}


def event(user: int, scope: str, payload: Any = None, **fields: Any) -> dict[str, Any]:
    name = "ann" if user == 2 else "bobby"
    text = (
        payload
        if payload is None or isinstance(payload, str)
        else json.dumps({**payload, "request": REQUEST})
    )
    return {
        "scope": scope,
        "user_id": user,
        "user_name": name,
        "user_email": f"{name}@example.org",
        "payload": text,
        **fields,
    }


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "given to another, as before Python 3.12": (
        event(2, "update:job", {"old_value": str(OrderedDict(person(3, "bobby")))}, obj_name="assignee", obj_val=str(OrderedDict(person(4, "bobby2")))),
        {"obj_val": SOMEBODY, "payload": {"old_value": SOMEBODY, "request": REQUEST}, "user_name": "ann"},
    ),
    "given to nobody": (event(2, "update:job", {"old_value": None}, obj_name="assignee", obj_val="None"), {"obj_val": "None"}),
    "given to the person, as before Python 3.12": (
        event(3, "update:job", {"old_value": None}, obj_name="assignee", obj_val=str(OrderedDict(person(2, "ann")))),
        {"obj_val": str(OrderedDict(person(2, "ann"))), "user_name": SOMEBODY, "user_id": None, "user_email": None},
    ),
    "a client's event of before mid-2024": (event(2, "save:job", {"username": "ann", "working_time": 5}), {"payload": {"username": "ann", "working_time": 5, "request": REQUEST}}),
    "another's name without an id": (event(2, "save:job", {"username": "bobby"}), {"payload": {"username": SOMEBODY, "request": REQUEST}}),
    "people in lists": (
        event(2, "create:project", {"members": [person(2, "ann"), person(3, "bobby")]}),
        {"payload": {"members": [person(2, "ann"), dict.fromkeys(person(3, "bobby"), SOMEBODY)], "request": REQUEST}},
    ),
    "an account that the person has deleted": (event(2, "delete:user", {"first_name": "Bobby"}, obj_id=3, obj_name="bobby"), {"obj_id": None, "obj_name": SOMEBODY, "payload": {"request": REQUEST}}),
    "the person's own account": (event(3, "create:user", {"first_name": "Ann"}, obj_id=2, obj_name="ann"), {"obj_id": 2, "obj_name": "ann"}),
    "an address in an error": (
        event(2, "send:exception", {"message": "no mail to Bobby.B@example.org, only ANN@example.org"}),
        {"payload": {"message": f"no mail to {SOMEBODY}, only ANN@example.org", "request": REQUEST}},
    ),
    "another's name changed by the person": (
        event(2, "update:user", {"old_value": "bobby"}, obj_name="username", obj_val="robert"), {"obj_val": SOMEBODY, "payload": {"request": REQUEST}},
    ),
    "the person's own name": (event(2, "update:user", {"old_value": "Larson"}, obj_name="last_name", obj_val="Ann"), {"obj_val": "Ann", "payload": {"old_value": "Larson", "request": REQUEST}}),
    "another's comment that the person has deleted": (event(2, "delete:comment", obj_id=12, obj_name="bobby's text"), {"obj_name": TEXT}),
    "the person's comment that another has deleted": (event(3, "delete:comment", obj_id=11, obj_name="as I said"), {"obj_name": "as I said", "user_id": None}),
    "another's payload that is no JSON": (event(3, "load:job", "{bobby", obj_name="x"), {"payload": TEXT}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_others_are_left_out_and_the_person_is_not(case: str) -> None:
    given, expected = CASES[case]
    kept = OTHERS.leave_out(given)
    kept["payload"] = kept["payload"] and json.loads(kept["payload"])
    assert {name: kept[name] for name in expected} == expected
    assert "bobby" not in json.dumps(kept).lower()
    assert set(kept) == set(given), "no field is added or lost"


CONCERNED: Mapping[str, tuple[dict[str, Any], bool]] = {
    "own": (event(2, "load:job"), True),
    "named in a list": (event(3, "create:project", {"members": [person(2, "ann")]}), True),
    "given away, as before Python 3.12": (event(3, "update:job", {"old_value": str(OrderedDict(person(2, "ann")))}, obj_name="assignee", obj_val="None"), True),
    "another job 2": (event(3, "load:job", job_id=2, obj_id=2, task_id=2), False),
    "another with that name": (event(3, "create:issue", {"owner": person(22, "ann")}), False),
    "their address": (event(3, "send:exception", {"message": "Ann@Example.org"}), True),
}  # fmt: skip


@pytest.mark.parametrize("case", CONCERNED)
def test_what_concerns_the_person_is_known(case: str) -> None:
    given, expected = CONCERNED[case]
    assert OTHERS.concerns(given) is expected


def test_no_name_is_a_formula(tmp_path: Path) -> None:
    disclosure_files._write(
        tmp_path / "names.csv",
        [{"id": -2, "name": "=HYPERLINK(1)"}, {"id": 3, "name": "a=b"}, {"id": 4, "name": None}],
    )
    assert (tmp_path / "names.csv").read_bytes() == b"id,name\r\n-2,'=HYPERLINK(1)\r\n3,a=b\r\n4,\r\n"

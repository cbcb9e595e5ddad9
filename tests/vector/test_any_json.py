"""Whatever is sent, each event becomes a row that ClickHouse takes, or a dead letter with its text."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.vector.configuration import Run

COLUMNS = {
    **dict.fromkeys(
        ("obj_id", "project_id", "task_id", "job_id", "user_id", "org_id", "access_token_id"), 2**64
    ),
    "count": 2**16,
    "duration": 2**32,
}
TEXTS = {"scope", "obj_name", "obj_val", "source", "user_name", "user_email", "org_slug", "payload"}
_NUMBER = re.compile(r"-?\d[\d.e+-]*")
NEVER_NULL = {"scope", "source", "timestamp", "duration"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["", "12", "-1", "1.5", "1733480873.184401", "2024-12-06T10:27:53Z", "save:job"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
names = st.sampled_from([*COLUMNS, *TEXTS, "timestamp", "api_token"]) | st.text(max_size=5)
events = st.dictionaries(names, values, max_size=8)
likely = st.fixed_dictionaries(
    {
        "scope": st.just("x"),
        "timestamp": st.floats(0, 5e9)
        | st.floats(1.52e9, 1.79e9)
        | st.integers(1_520_000_000_000, 1_790_000_000_000),
    }
).flatmap(lambda plain: events.map(lambda event: event | plain))


def assert_row(row: dict[str, Any]) -> None:
    """Check `row` column by column against the types of clickhouse/init.sql."""
    assert row.keys() == COLUMNS.keys() | TEXTS | {"timestamp"}
    for name in NEVER_NULL:
        assert row[name] is not None, name
    for name, limit in COLUMNS.items():
        assert row[name] is None or (type(row[name]) is int and 0 <= row[name] < limit), (name, row[name])
    for name in TEXTS:
        assert row[name] is None or isinstance(row[name], str), (name, row[name])
    assert row["scope"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", row["timestamp"])
    moment = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
    assert datetime(2018, 1, 1, tzinfo=UTC) <= moment <= datetime.now(UTC) + timedelta(days=1)


def is_text_of(text: str, element: Any) -> bool:
    """Return whether a dead letter with `text` can be of `element`: as it was sent, but for a number that stands by itself.

    Vector reads that one as a float where it has no integer for it, and in doing so may miss the nearest by two (serde_json).
    """
    if isinstance(element, int | float) and not isinstance(element, bool) and text != json.dumps(element):
        number = float(element)
        return bool(_NUMBER.fullmatch(text)) and abs(float(text) - number) <= 2 * math.ulp(number)
    return text == (element if isinstance(element, str) else json.dumps(element))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(sent=[3.5761644953812907e-96, 2**66, -(2**65) - 1, 1e23, 5e-324, [3.5761644953812907e-96]])
@given(sent=st.lists(events | likely | values, min_size=1, max_size=6))
def test_each_element_of_an_array_becomes_a_row_or_a_dead_letter(sent: list[Any], run: Run) -> None:
    outputs = run(json.dumps(sent))
    rows, letters = outputs["normalise"], outputs["dead_letter"]
    assert len(rows) + len(letters) == len(sent)
    for row in rows:
        assert_row(row)
    for letter in letters:
        assert any(is_text_of(letter["original"], event) for event in sent), letter
        assert letter["reason"]
        assert letter["reason"] != "internal error", letter


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(st.characters(codec="utf-8")) | st.text('[]{}",:\n 01e', max_size=40))
def test_any_text_is_kept(body: str, run: Run) -> None:
    outputs = run(body)
    for row in outputs["normalise"]:
        assert_row(row)
    if body.strip():
        assert outputs["normalise"] or outputs["dead_letter"] or json.loads(body) == []
    assert all(letter["original"].strip() in body for letter in outputs["dead_letter"])

"""Working time that is claimed by an event of long ago which arrives today is in no report, whatever form its payload has."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cvat_analytics.base.project import ROOT
from tests.clickhouse import Store
from tests.vector.configuration import Run

CLAIM = '"working_time": 99999999'
PAYLOADS = {
    "alone": f"{{{CLAIM}}}",
    "beside others": f'{{"n": 18446744073709551617, {CLAIM}, "username": "ann"}}',
    "twice": f'{{{CLAIM}, "working_time": 1}}',
    "a name with escapes": '{"w\\u006frking_time": 99999999}',
    "deep": f'{{"a": {"[" * 500}{"]" * 500}, {CLAIM}}}',
    "half a character": f'{{"a": "\\ud800", {CLAIM}}}',
    "half a character as a name": f'{{"\\ud800": 1, {CLAIM}}}',
    "a number without end": f'{{"a": 1e999, {CLAIM}}}',
    "after a mark of byte order": f"\ufeff{{{CLAIM}}}",
    "more behind it": f"{{{CLAIM}}} 1",
}


@pytest.fixture
def store(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


def test_it_is_in_no_report_and_its_text_is_kept(run: Run, store: Store) -> None:
    event = {"scope": "save:job", "source": "client", "timestamp": "2024-06-04T23:59:59.999Z", "user_id": 5, "duration": 0}  # fmt: skip
    sent = [event | {"payload": text, "job_id": number} for number, text in enumerate(PAYLOADS.values())]
    # as a field of its own, and as an object
    sent += [
        event | {"working_time": 99999999, "job_id": 98},
        event | {"payload": {"working_time": 99999999}, "job_id": 99},
    ]
    rows = run(json.dumps(sent))["normalise"]
    assert len(rows) == len(sent)
    for row, text in zip(rows, PAYLOADS.values(), strict=False):
        assert text in (row["payload"], json.loads(row["payload"]).get("payload"))
    store.insert(rows)
    assert (
        store.rows(
            "SELECT payload FROM events WHERE JSONExtractUInt(ifNull(payload, ''), 'working_time') > 0"
        )
        == []
    )


def test_the_day_from_which_nobody_believes_it_is_one() -> None:
    for file in ("templates/vector/normalise.vrl", "clickhouse/views/working_time.sql"):
        assert (ROOT / file).read_text().count("2024-06-05") == 2, file


@pytest.mark.parametrize(
    ("moment", "payload"),
    [
        ("2024-06-05T00:00:00Z", '{"working_time": 5}'),
        ("2024-06-04T10:00:00Z", '{"a": {"working_time": 5}}'),
        ("2024-06-04T10:00:00Z", "oops"),
        ("2024-06-04T10:00:00Z", None),
    ],
    ids=["of-later", "further-down", "no-json", "none"],
)
def test_all_else_stays_as_it_came(run: Run, moment: str, payload: str | None) -> None:
    (row,) = run(json.dumps({"scope": "x", "timestamp": moment, "payload": payload}))["normalise"]
    assert row["payload"] == payload

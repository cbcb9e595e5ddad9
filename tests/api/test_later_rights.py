"""An export is downloaded by who may see now what is in it, not by who might when it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_analytics.api import filters as filtering
from cvat_analytics.api.filters import Filters
from cvat_analytics.api.principals import Organization, Principal
from cvat_analytics.credentials import users
from tests.api.data import wait_for
from tests.api.harness import FakeVector, Program, running_api
from tests.clickhouse import Store

FIRST, SECOND = Organization(1, "first", True), Organization(2, "second", True)
MEMBER = Organization(1, "first", False)


def somebody(*organizations: Organization, admin: bool = False) -> Principal:
    return Principal(key="cvat:5", id=5, name="five", admin=admin, organizations=organizations)


@pytest.mark.parametrize(
    ("before", "asked", "after", "seen"),
    [
        pytest.param(somebody(admin=True), {}, somebody(admin=True), True, id="an administrator"),
        pytest.param(somebody(admin=True), {}, somebody(), False, id="no administrator any more"),
        pytest.param(somebody(admin=True), {"user_id": 5}, somebody(), False, id="nor of one person"),
        pytest.param(somebody(admin=True), {"org": "first"}, somebody(MEMBER), False, id="nor of a slug"),
        pytest.param(somebody(FIRST), {"org_id": 1}, somebody(FIRST), True, id="an owner"),
        pytest.param(somebody(FIRST), {"org_id": 1}, somebody(MEMBER), False, id="a worker now"),
        pytest.param(somebody(FIRST), {"org_id": 1}, somebody(), False, id="not in it any more"),
        pytest.param(somebody(FIRST), {"org": "first"}, somebody(), False, id="not in it, by its slug"),
        pytest.param(somebody(FIRST, SECOND), {}, somebody(SECOND, FIRST), True, id="of both, in any order"),
        pytest.param(somebody(FIRST, SECOND), {}, somebody(FIRST), False, id="of one of two"),
        pytest.param(somebody(FIRST), {}, somebody(FIRST, SECOND), True, id="of one more"),
        pytest.param(somebody(FIRST), {"user_id": 7}, somebody(MEMBER), False, id="of others' events"),
        pytest.param(somebody(), {}, somebody(), True, id="one's own"),
        pytest.param(somebody(), {"job_id": 3, "scope": ["a:b"]}, somebody(FIRST), True, id="one's own, more now"),
        pytest.param(somebody(), {}, somebody(admin=True), True, id="an administrator now"),
        pytest.param(somebody(MEMBER), {"org_id": 1}, somebody(), False, id="one's own, where one was"),
    ],
)  # fmt: skip
def test_what_was_found_is_compared_with_what_may_be_seen_now(
    before: Principal, asked: dict[str, object], after: Principal, seen: bool
) -> None:
    filters = Filters.model_validate(asked)
    filters = filtering.within(filters, before, filters.org or "")
    found = filtering.select(filters, before, 0, 10)
    noted = filters.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert filtering.still_seen(before, noted, found)
    assert filtering.still_seen(after, noted, found) is seen


def test_who_has_lost_the_right_downloads_no_old_export(
    tmp_path: Path, store: Store, vector: FakeVector, program: Program
) -> None:
    with running_api(tmp_path, store, vector.url, program=program) as api, api.client("boss") as boss:
        query_id = boss.get("/api/events").json()["query_id"]
        assert wait_for(boss, query_id).status_code == 201
        download = {"query_id": query_id, "action": "download"}
        assert boss.get("/api/events", params=download).status_code == 200
        file = tmp_path / "users.json"
        known = users.load(file)
        users.save(file, {**known, "boss": users.User("boss", known["boss"].hash, id=4)})
        for ways in (
            boss.get("/api/events", params=download),
            boss.get("/api/events", params={"query_id": query_id}),
            boss.get("/api/events/download", params={"rq_id": query_id}),
            boss.get("/api/events/download", params={"rq_id": query_id}, headers={"Range": "bytes=0-9"}),
        ):
            assert ways.status_code == 403
            assert "may no longer see everything" in ways.json()["detail"]
        assert boss.head("/api/events", params=download).status_code == 403
        # it is still theirs to remove
        assert boss.delete(f"/api/requests/{query_id}").status_code == 204

"""Every column of every table of the running schema is known to be about people or not, and the page `privacy` has those that are."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import personal
from tests.clickhouse import Store


@pytest.fixture(scope="module")
def store(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as database:
        yield database


def tables(store: Store) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, column in json.loads(store.post(personal.tables_query(store.database)))["data"]:
        found.setdefault(table, []).append(column)
    return found


def test_no_table_and_no_column_is_without_an_entry(store: Store) -> None:
    assert personal.unlisted(tables(store)) == []


def test_no_entry_is_about_what_is_not_there(store: Store) -> None:
    there = tables(store)
    for place in personal.PLACES:
        if not place.by_command:
            assert sorted((*place.about, *place.rest)) == sorted(there[place.table]), place.table
    for table, columns in personal.WITHOUT_PEOPLE.items():
        assert table not in there or sorted(columns) == sorted(there[table]), table


def test_a_new_table_or_column_is_found(store: Store) -> None:
    store.post("CREATE TABLE shifts (user_id UInt64) ENGINE = MergeTree ORDER BY user_id")
    store.post("ALTER TABLE job_changes ADD COLUMN reviewer UInt64")
    try:
        assert personal.unlisted(tables(store)) == ["shifts", "job_changes.reviewer"]
    finally:
        store.post("DROP TABLE shifts SYNC")
        store.post("ALTER TABLE job_changes DROP COLUMN reviewer")


def test_no_column_that_names_somebody_is_said_to_be_about_nobody(store: Store) -> None:
    somebody = {"user_id", "user_name", "user_email", "obj_name", "obj_val", "payload", "original"}
    for place in personal.PLACES:
        assert not somebody & set(place.rest), place.table
    for table, columns in personal.WITHOUT_PEOPLE.items():
        assert not somebody & set(columns), table


def test_the_page_on_privacy_has_every_table_and_column_with_people() -> None:
    page = (ROOT / "docs" / "privacy.md").read_text()
    rows = [
        f"| `{place.table}` | {place.says} | {', '.join(f'`{name}`' for name in place.about)} | {place.why} | "
        f"{f'`{place.kept}`' if place.kept else 'for good'} |"
        for place in personal.PLACES
    ]
    assert [row for row in rows if row not in page] == [], "write these rows into docs/privacy.md"

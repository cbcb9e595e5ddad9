"""A column that a newer CVAT wants, and the setting `cvat_columns` gives it: the stack's own dumps come back all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cvat_analytics.connect.access import Access
from cvat_analytics.importing.columns import spare
from cvat_analytics.store.event_columns import COLUMNS
from tests.clickhouse import Store, way_to
from tests.importing.samples import content, cvat_csv, dump, events

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def access(store: Store) -> Iterator[Access]:
    """Return the way to a stack that was deployed with the setting."""
    reached = way_to(store.context)
    settings = reached.clickhouse.settings.model_copy(update={"cvat_columns": ("label_id",)})
    store.post("ALTER TABLE events ADD COLUMN label_id Nullable(String)")
    try:
        yield replace(reached, clickhouse=replace(reached.clickhouse, settings=settings))
    finally:
        store.post("ALTER TABLE events DROP COLUMN label_id SETTINGS mutations_sync = 1")


@pytest.mark.parametrize("kind", ["CSVWithNames", "Native"])
def test_a_backup_comes_back(store: Store, run: Run, tmp_path: Path, kind: str) -> None:
    # one of before the setting, for the events themselves
    export = tmp_path / "export.csv"
    export.write_text(cvat_csv(events(300)))
    code, output = run("import", "--file", export)
    assert (code, "label_id" in output) == (0, False), output
    names = ", ".join(COLUMNS)
    before = content(store, f"{store.database}.events", names)
    assert len(before) > 250
    backup = dump(store, tmp_path / "backup", kind, f"{store.database}.events")
    store.post("TRUNCATE TABLE events")
    store.post("DROP TABLE IF EXISTS imported_days SYNC")
    code, output = run("import", "--file", backup)
    assert code == 0, output
    assert (
        "Note: the column label_id of the dump is left out: CVAT wants it (setting 'cvat_columns')" in output
    )
    assert content(store, f"{store.database}.events", names) == before


def test_a_column_that_nobody_has_named_is_refused_as_before(store: Store, run: Run, tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    header, rest = cvat_csv(events(3)).split("\r\n", 1)
    export.write_text(f"{header},mood\r\n{rest}")
    code, output = run("import", "--file", export)
    assert (code, "has the column mood, for which there is no place" in output) == (2, True)


def test_one_that_this_version_knows_is_never_left_out() -> None:
    assert spare([*COLUMNS, "label_id"], ("access_token_id", "api_token", "label_id", "absent")) == [
        "label_id"
    ]

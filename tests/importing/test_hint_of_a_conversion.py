"""What a table with other text says: every word of the hint stays what it is but for the table and the column."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.importing.tables import Table


def test_a_hint_names_the_table_and_the_column_and_nothing_else_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # in place of ClickHouse
    def answer(table: Table, query: str) -> list[tuple[Any, ...]]:
        return [(1, "2026-01-01 00:00:00", "E9")]

    monkeypatch.setattr(Table, "query", answer)
    table = Table(None, "cvat", "events", {"obj_name": "name"}, "here")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"changed\. See COLUMN of THE_TABLE: `UPDATE cvat\.events name`$"):
        table.refuse_other_text("See COLUMN of THE_TABLE: `UPDATE {table} {column}`")

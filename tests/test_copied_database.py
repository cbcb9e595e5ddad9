"""The databases that tests share an engine with (`Store.another`) are what the scripts make, but for how often views are refreshed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from tests.clickhouse import Store


def made(store: Store) -> tuple[dict[str, str], list[Any]]:
    """Return the statement that would make each table and view, and the settings of working time, without their moment."""
    sql = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    queries = {
        name: re.sub(r"EVERY (20 SECOND( DEPENDS ON \S+)?|1 YEAR) ", "", query).replace(
            store.database, "cvat"
        )
        for name, query in json.loads(store.post(sql))["data"]
    }
    settings = store.post("SELECT * EXCEPT changed_at FROM working_time_settings")
    return queries, json.loads(settings)["data"]


def test_a_copy_is_what_the_scripts_make(shared_engine: Store) -> None:
    with shared_engine.another() as copied, replace(shared_engine, schema=()).another() as by_scripts:
        assert by_scripts.database != copied.database
        assert made(copied) == made(by_scripts)
        refreshed = "SELECT name FROM system.tables WHERE database = '{}' AND create_table_query LIKE '%REFRESH EVERY {}%' ORDER BY name"
        seldom = copied.rows(refreshed.format(copied.database, "1 YEAR"))
        assert seldom == by_scripts.rows(refreshed.format(by_scripts.database, "20 SECOND"))
        assert seldom != []

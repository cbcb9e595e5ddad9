"""The columns of an event, and how rows are inserted that may be there already.

`clickhouse/init.sql` and `templates/vector/normalise.vrl` cannot import this: tests/store/test_event_columns.py holds them to it.
Part of the events API's archive, so it runs on Python 3.10 too.
"""

COLUMNS = {
    "scope": "String",
    "obj_name": "Nullable(String)",
    "obj_id": "Nullable(UInt64)",
    "obj_val": "Nullable(String)",
    "source": "String",
    "timestamp": "DateTime64(3, 'Etc/UTC')",
    "count": "Nullable(UInt32)",
    "duration": "UInt32",
    "project_id": "Nullable(UInt64)",
    "task_id": "Nullable(UInt64)",
    "job_id": "Nullable(UInt64)",
    "user_id": "Nullable(UInt64)",
    "user_name": "Nullable(String)",
    "user_email": "Nullable(String)",
    "org_id": "Nullable(UInt64)",
    "org_slug": "Nullable(String)",
    "payload": "Nullable(String)",
    "access_token_id": "Nullable(UInt64)",
}
"""CVAT's own columns in CVAT's own order, with the types that ours have; CVAT's stock table is the same but for `count` with 16 bits.
Of one more that it has, and ours gets by a migration, the place is the last (`cvat_analytics.store.ways_in`)."""

OPTIONAL = {"access_token_id"}
"""CVAT servers before 2025 do not know it."""

INSERT_SETTINGS = {
    "async_insert": 0,
    # a block that was inserted before, and deleted since, must not be taken for a repetition
    "insert_deduplicate": 0,
    # a chunk may hold events of many months
    "max_partitions_per_insert_block": 0,
}
"""For events of which ClickHouse may have some."""

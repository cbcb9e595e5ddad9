"""What ClickHouse holds: its columns, its schema and migrations, working time and its report.

Imports `connect` and what is below; the SQL itself is in `clickhouse/`. Begin with `migrations`; `event_columns` has an event's columns.
"""

"""How long a query of whom may run. What ClickHouse allows and what its clients ask for are derived from the same numbers."""

from __future__ import annotations

READER_SECONDS = 60
"""The longest query of a dashboard that ClickHouse allows."""

EXPORT_SECONDS = 3600
"""The longest query of the events API that ClickHouse allows; it may be silent for as long (`api/clickhouse.py`)."""

DRIVER_SECONDS = 5
"""What the driver of Grafana's plugin adds to the time that is left: it sends `max_execution_time` = that sum with every query.

https://github.com/ClickHouse/clickhouse-go/blob/v2.47.0/context.go (queryOptions)
"""

PLUGIN_SECONDS = READER_SECONDS - 2 * DRIVER_SECONDS
"""After which the plugin gives a query up. What its driver makes of it lies below what ClickHouse allows."""

PLUGIN_DIAL_SECONDS = 10
"""How long the plugin waits for a connection."""

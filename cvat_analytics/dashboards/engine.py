"""Ask a ClickHouse whether it would run a query, without running it."""

from __future__ import annotations

from clickhouse_connect.driver.exceptions import ClickHouseError

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import error_text
from cvat_analytics.dashboards.places import Refusal


def refusal(access: Access) -> Refusal:
    """Return a function that says what ClickHouse complains of in a query, as Grafana's own user; nothing when it would run it.

    Raises UnreachableError when ClickHouse cannot be reached.
    """
    client = access.client("grafana")
    client.database = access.database

    def refused(sql: str) -> str:
        try:
            # names, types and rights are all looked at; no data is read
            client.query(f"EXPLAIN PLAN {sql}")
        except ClickHouseError as error:
            return error_text(error)
        except OSError as error:
            raise UnreachableError(Code.CLICKHOUSE_AWAY, f"ClickHouse: {error_text(error)}") from None
        return ""

    return refused

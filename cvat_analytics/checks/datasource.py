"""What Grafana reads through its datasource: its health is a ping, which comes back while each query is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvat_analytics import dashboards
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.dashboards.grafana import complaint

if TYPE_CHECKING:
    import httpx


def answered[T](answer: httpx.Response, shape: type[T], also: int = 200) -> T:
    """Return what Grafana has answered, with the status `also` too.

    Raises CvatAnalyticsError when that is a refusal, not JSON, or of another shape, as another program has it that answers there.
    """
    try:
        if answer.is_success or answer.status_code == also:
            found = answer.json()
            if isinstance(found, shape):
                return found
    except ValueError:
        pass
    code = Code.GRAFANA_LOGIN if answer.status_code == 401 else Code.GRAFANA_REFUSES
    raise CvatAnalyticsError(code, f"Grafana answers {complaint(answer)}")


def read_events(grafana: httpx.Client) -> tuple[float, float]:
    """Return what a query that Grafana's backend runs has found: events, and how long it may take. Raises CvatAnalyticsError."""
    query = {
        "refId": "A",
        "datasource": {"type": dashboards.DATASOURCE_TYPE, "uid": dashboards.DATASOURCE_UID},
        "editorType": "sql",
        "queryType": "table",
        "format": 1,
        "intervalMs": 60_000,
        "maxDataPoints": 1,
        "rawSql": "SELECT count() AS events, toFloat64(getSetting('max_execution_time')) AS seconds\n"
        "FROM events\nWHERE $__timeFilter_ms(timestamp)",
    }
    response = grafana.post("/api/ds/query", json={"queries": [query], "from": "now-1h", "to": "now"})
    # of a bad request the reason is with the query
    answer: dict[str, Any] = answered(response, dict, also=400)
    try:
        result = answer.get("results", {}).get("A", {})
        if "error" in result:
            raise CvatAnalyticsError(
                Code.DATASOURCE_FAILS, f"Grafana's datasource refuses a query: {str(result['error'])[:300]}"
            )
        events, seconds = (float(column[0]) for column in result["frames"][0]["data"]["values"])
        return events, seconds
    except (LookupError, TypeError, ValueError, AttributeError):
        raise CvatAnalyticsError(
            Code.DATASOURCE_FAILS, f"Grafana's datasource answers no rows: {str(answer)[:300]}"
        ) from None

"""Answer queries of the datasource as Grafana's backend does: macros are expanded here, variables are the browser's affair.

What a plugin's driver would send along, and its protocol, are not part of it: the viewer asks over HTTP.
https://grafana.com/docs/grafana/latest/developers/http_api/data_source/#query-a-data-source
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.dashboards.macro_grammar import interpolate
from cvat_analytics.dashboards.macros import TimeRange, Times, table
from cvat_analytics.embedded.viewer.choice import moment
from cvat_analytics.embedded.viewer.clickhouse import ClickHouse

_TYPES = {"time": "time", "number": "number", "text": "string"}


def answer(body: bytes, uid: str, clickhouse: ClickHouse, now: datetime) -> tuple[int, dict[str, Any]]:
    """Return status and JSON for a request to `/api/ds/query`; `uid` is the only datasource that there is."""
    try:
        request = json.loads(body)
        time_range = TimeRange(moment(str(request["from"]), now), moment(str(request["to"]), now))
        queries = {str(query["refId"]): query for query in request["queries"]}
        known = all(query["datasource"]["uid"] == uid for query in queries.values())
    except InputError as error:
        return 400, {"message": str(error)}
    except (ValueError, LookupError, TypeError) as error:
        return 400, {"message": f"bad request data ({type(error).__name__}: {error})"}
    if not queries or not known:
        return 404, {"message": "data source not found"}
    results = {ref_id: _result(ref_id, query, time_range, clickhouse) for ref_id, query in queries.items()}
    return (400 if any("error" in result for result in results.values()) else 200), {"results": results}


def _result(
    ref_id: str, query: Mapping[str, Any], time_range: TimeRange, clickhouse: ClickHouse
) -> dict[str, Any]:
    try:
        interval = timedelta(milliseconds=int(query.get("intervalMs", 1000)))
        sql = interpolate(str(query["rawSql"]), table(Times(time_range, interval)))
        result = clickhouse.query(sql)
    except (CvatAnalyticsError, ValueError, LookupError) as error:
        return {"error": str(error), "errorSource": "downstream", "status": 400, "frames": []}
    fields = [
        {"name": name, "type": _TYPES[kind]} for name, kind in zip(result.names, result.kinds, strict=True)
    ]
    schema = {"refId": ref_id, "meta": {"executedQueryString": sql}, "fields": fields}
    values = [list(column) for column in zip(*result.rows, strict=True)] or [[] for _ in fields]
    return {"status": 200, "frames": [{"schema": schema, "data": {"values": values}}]}

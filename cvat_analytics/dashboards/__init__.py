"""Grafana's dashboards as data: what is in them, and the SQL that Grafana would send for a choice of values.

The smoke test, the tests and the viewer run the panels' own SQL with this, so that what they see is what Grafana's users
will see.

Imports `connect` and what is below it. Begin with `model`; the files themselves are in `grafana/dashboards/`.
"""

from cvat_analytics.dashboards.expansion import expand
from cvat_analytics.dashboards.interpolation import ALL, Values
from cvat_analytics.dashboards.macros import TimeRange
from cvat_analytics.dashboards.model import (
    DASHBOARDS,
    DATASOURCE_TYPE,
    DATASOURCE_UID,
    Dashboard,
    Panel,
    Query,
    Variable,
    load,
    tidy,
)

__all__ = [
    "ALL",
    "DASHBOARDS",
    "DATASOURCE_TYPE",
    "DATASOURCE_UID",
    "Dashboard",
    "Panel",
    "Query",
    "TimeRange",
    "Values",
    "Variable",
    "expand",
    "load",
    "tidy",
]

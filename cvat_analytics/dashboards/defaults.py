"""What Grafana writes into a dashboard that it saves although it goes without saying.

Its editor stores every option of a panel, set or not. A file that is read by people keeps only what was chosen; these are
the values that are dropped on the way from Grafana into the file. What is not listed here stays, so that a gap costs a
longer file and never a changed dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OneOf:
    """A default that versions of Grafana write in different ways."""

    values: tuple[Any, ...]


INSTANCE_KEYS = frozenset(
    {"id", "version", "iteration", "gnetId", "slug", "url", "created", "updated", "createdBy", "updatedBy"}
    | {"__inputs", "__elements", "__requires", "snapshot", "revision"}
)
"""Keys of a dashboard that belong to one Grafana, or to an export from it."""

DASHBOARD: Mapping[str, Any] = {
    "description": "",
    "editable": True,
    "fiscalYearStartMonth": 0,
    "graphTooltip": 0,
    "links": [],
    "liveNow": False,
    "preload": False,
    "refresh": OneOf(("", False)),
    "scopeMeta": None,
    "style": "dark",
    "tags": [],
    "timepicker": {},
    "timezone": "",
    "weekStart": "",
}

DASHBOARD_LINK: Mapping[str, Any] = {
    "asDropdown": False,
    "icon": OneOf(("external link", "")),
    "includeVars": False,
    "keepTime": False,
    "placement": "",
    "tags": [],
    "targetBlank": False,
    "tooltip": "",
    "url": "",
}

VARIABLE: Mapping[str, Any] = {
    "allValue": OneOf((None, "")),
    "allowCustomValue": True,
    "definition": "",
    "description": OneOf(("", None)),
    "hide": OneOf((0, "dontHide")),
    "includeAll": False,
    "label": "",
    "multi": False,
    "options": [],
    "refresh": 0,
    "regex": "",
    "regexApplyTo": "value",
    "skipUrlSync": False,
    "sort": 0,
    "valuesFormat": "csv",
}

ANNOTATION: Mapping[str, Any] = {"hide": False, "filter": {"exclude": False, "ids": []}}

TARGET: Mapping[str, Any] = {"hide": False}

# as a whole: part of a legend would be no legend to old versions
_LEGEND = OneOf(({"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},))
_TOOLTIP = {"hideZeros": False, "mode": "single", "sort": "none"}
_AXIS: Mapping[str, Any] = {
    "axisBorderShow": False,
    "axisCenteredZero": False,
    "axisColorMode": "text",
    "axisGridShow": True,
    "axisLabel": "",
    "axisPlacement": "auto",
    "gradientMode": "none",
    "hideFrom": {"legend": False, "tooltip": False, "viz": False},
    "lineWidth": 1,
    "scaleDistribution": {"type": "linear"},
    "thresholdsStyle": {"mode": "off"},
}
_THRESHOLDS = OneOf(
    tuple(
        {"mode": "absolute", "steps": [first, {"color": "red", "value": 80}]}
        for first in ({"color": "green", "value": None}, {"color": "green", "value": 0}, {"color": "green"})
    )
)


def _field(color: str, custom: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "defaults": {
            "color": {"mode": color},
            "custom": custom,
            "links": [],
            "mappings": [],
            "thresholds": _THRESHOLDS,
        }
    }


_PANEL: Mapping[str, Any] = {
    "cacheTimeout": None,
    "collapsed": False,
    "description": "",
    "hideTimeOverride": False,
    "interval": OneOf(("", None)),
    "links": [],
    "maxDataPoints": None,
    "panels": [],
    "repeat": OneOf(("", None)),
    "targets": [],
    "timeFrom": None,
    "timeShift": None,
    "transformations": [],
    "transparent": False,
}

_BY_TYPE: Mapping[str, Mapping[str, Any]] = {
    "timeseries": {
        "fieldConfig": _field(
            "palette-classic",
            {
                **_AXIS,
                "barAlignment": 0,
                "barWidthFactor": 0.6,
                "drawStyle": "line",
                "fillOpacity": 0,
                "insertNulls": False,
                "lineInterpolation": "linear",
                "pointSize": 5,
                "showPoints": "auto",
                "showValues": False,
                "spanNulls": False,
                "stacking": {"group": "A", "mode": "none"},
            },
        ),
        "options": {"annotations": {"clustering": -1, "multiLane": False}, "legend": _LEGEND, "tooltip": _TOOLTIP},
    },
    "barchart": {
        "fieldConfig": _field("palette-classic", {**_AXIS, "fillOpacity": 80}),
        "options": {
            "barRadius": 0,
            "barWidth": 0.97,
            "fullHighlight": False,
            "groupWidth": 0.7,
            "legend": _LEGEND,
            "orientation": "auto",
            "showValue": "auto",
            "stacking": "none",
            "tooltip": _TOOLTIP,
            "xTickLabelRotation": 0,
            "xTickLabelSpacing": 0,
        },
    },
    "table": {
        "fieldConfig": _field(
            "thresholds",
            {
                "align": "auto",
                "cellOptions": {"type": "auto"},
                "filterable": False,
                "footer": {"reducers": []},
                "inspect": False,
            },
        ),
        "options": {
            "cellHeight": "sm",
            "enablePagination": False,
            "frozenColumns": {},
            "showHeader": True,
            "sortBy": [],
        },
    },
    "stat": {
        "fieldConfig": _field("thresholds", {}),
        "options": {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showPercentChange": False,
            "textMode": "auto",
            "wideLayout": True,
        },
    },
}  # fmt: skip


def of_panel(type_: str) -> Mapping[str, Any]:
    """Return the defaults of a panel of that type; of an unknown type what all panels share."""
    return {**_PANEL, **_BY_TYPE.get(type_, {"fieldConfig": _field("thresholds", {})})}

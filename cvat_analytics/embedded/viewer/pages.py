"""The pages for people: the list of dashboards, and one page for each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cvat_analytics.dashboards import ALL, Dashboard, Panel, Variable, expand
from cvat_analytics.embedded.viewer import charts, choice, tables
from cvat_analytics.embedded.viewer.clickhouse import ClickHouse
from cvat_analytics.embedded.viewer.config import Config
from cvat_analytics.errors import CvatAnalyticsError

_AT_ONCE = 4
"""Queries that one page runs at the same time: a laptop has few cores."""

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Drawn:
    """One panel, ready to be shown."""

    panel: Panel
    width: int
    height: int
    picture: Markup | None = None
    legend: Sequence[charts.Series] = ()
    table: tables.Table | None = None
    number: str = ""
    error: str = ""
    empty: bool = False


@dataclass(frozen=True)
class Filter:
    """One variable with its options."""

    variable: Variable
    options: Sequence[tuple[str, str]]
    """Value and text."""
    chosen: Sequence[str] = field(default=())
    error: str = ""

    @property
    def summary(self) -> str:
        """Return the choice in a few words."""
        texts = dict(self.options)
        names = [texts.get(value, value) for value in self.chosen]
        return "All" if not names else names[0] if len(names) == 1 else f"{len(names)} chosen"


def index(config: Config, dashboards: Sequence[Dashboard]) -> str:
    """Return the list of dashboards."""
    return _environment.get_template("index.html").render(
        config=config, dashboards=dashboards, title="Dashboards", time_ranges={}, current=None
    )


def message(config: Config, dashboards: Sequence[Dashboard], title: str, text: str) -> str:
    """Return a page that says what is wrong."""
    return _environment.get_template("message.html").render(
        config=config, dashboards=dashboards, title=title, text=text, current=None
    )


def dashboard(
    config: Config,
    dashboards: Sequence[Dashboard],
    shown: Dashboard,
    made: choice.Choice,
    clickhouse: ClickHouse,
) -> str:
    """Return the page of the dashboard `shown` for the choice that was `made`."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        filters = pool.map(
            lambda variable: _filter(variable, shown, made, clickhouse), shown.variables.values()
        )
        panels = pool.map(
            lambda panel: _draw(panel, shown, made, clickhouse, config.prefix),
            sorted(
                shown.panels, key=lambda panel: (panel.model["gridPos"]["y"], panel.model["gridPos"]["x"])
            ),
        )
        return _environment.get_template("dashboard.html").render(
            config=config,
            dashboards=dashboards,
            title=shown.title,
            current=shown,
            made=made,
            ranges=choice.RANGES,
            filters=list(filters),
            panels=list(panels),
        )


def _filter(variable: Variable, shown: Dashboard, made: choice.Choice, clickhouse: ClickHouse) -> Filter:
    value = made.values[variable.name]
    chosen = [each for each in ([value] if isinstance(value, str) else value) if each not in ("", ALL)]
    options: dict[str, str] = {}
    error = ""
    if variable.query:
        try:
            result = clickhouse.query(expand(variable.query, shown, made.range, values=made.values))
            # one column: value and text alike; two: value, then text (the plugin's convention)
            options = {str(row[0]): str(row[-1]) for row in result.rows}
        except CvatAnalyticsError as problem:
            error = str(problem)
    return Filter(variable, list(({each: each for each in chosen} | options).items()), chosen, error)


def _draw(panel: Panel, shown: Dashboard, made: choice.Choice, clickhouse: ClickHouse, prefix: str) -> Drawn:
    grid = panel.model["gridPos"]
    width, height = grid["w"] * 50, grid["h"] * 34
    if not panel.queries:
        return Drawn(panel, grid["w"], grid["h"], error="The viewer shows panels with a query only.")
    interval = made.range.interval(panel.model.get("maxDataPoints", width))
    try:
        # our panels have one query each; a second one would be another frame, which only Grafana can join
        result = clickhouse.query(
            expand(panel.queries[0], shown, made.range, interval=interval, values=made.values)
        )
        return Drawn(
            panel, grid["w"], grid["h"], **_content(panel, result, made, interval, (width, height), prefix)
        )
    except CvatAnalyticsError as problem:
        return Drawn(panel, grid["w"], grid["h"], error=str(problem))


def _content(
    panel: Panel, result: Any, made: choice.Choice, interval: timedelta, size: tuple[int, int], prefix: str
) -> dict[str, Any]:
    """Return what fills the panel, by its type. What cannot be drawn here is shown as a table."""
    if not result.rows:
        return {"empty": True}
    field_config = panel.model.get("fieldConfig", {})
    defaults = field_config.get("defaults", {})
    if panel.type == "timeseries" and "time" in result.kinds:
        lines = charts.series(result, defaults.get("color", {}).get("fixedColor"))
        picture = charts.over_time(
            lines,
            made.range,
            defaults.get("custom", {}),
            interval=interval.total_seconds(),
            width=size[0],
            height=size[1] - 40,
        )
        return {"picture": Markup(picture), "legend": lines if len(lines) > 1 else ()}  # noqa: S704 - charts escapes what it draws
    if panel.type == "barchart" and result.kinds[1:2] == ["number"]:
        return {"picture": Markup(charts.horizontal_bars(result, width=size[0]))}  # noqa: S704
    if panel.type == "stat":
        return {"number": charts.number(result.rows[-1][0] or 0, defaults.get("decimals"))}
    return {"table": tables.table(result, field_config, prefix=prefix, time_parameters=made.time_parameters)}

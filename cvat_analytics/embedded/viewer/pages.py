"""The pages around the dashboards: their list, the frame that the browser fills, and messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2

from cvat_analytics.base.project import ROOT
from cvat_analytics.dashboards import Dashboard
from cvat_analytics.embedded.viewer.config import Config

HERE = Path(__file__).parent
CHARTS = ROOT / "node_modules" / "echarts" / "dist" / "echarts.min.js"
"""The chart library, which `make setup` installs, and which is part of the wheel."""

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def index(config: Config, dashboards: Sequence[Dashboard]) -> str:
    """Return the list of dashboards."""
    return _environment.get_template("index.html").render(
        config=config, dashboards=dashboards, title="Dashboards", current=None
    )


def message(config: Config, dashboards: Sequence[Dashboard], title: str, text: str) -> str:
    """Return a page that says what is wrong."""
    return _environment.get_template("message.html").render(
        config=config, dashboards=dashboards, title=title, text=text, current=None
    )


def dashboard(config: Config, dashboards: Sequence[Dashboard], shown: Dashboard) -> str:
    """Return the page that loads the dashboard `shown`."""
    return _environment.get_template("dashboard.html").render(
        config=config, dashboards=dashboards, title=shown.title, current=shown, charts=CHARTS.is_file()
    )

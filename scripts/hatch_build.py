"""What the wheel holds beside the library (pyproject.toml names this as hatchling's build hook).

An editable installation needs none of it: there the files are read from the checkout (cvat_analytics/base/project.py).
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SHIPPED = (
    "deploy.py",
    "deploys",
    "scripts",
    "templates",
    "clickhouse",
    "grafana",
    "inventory/hosts.py",
    "inventory/group_data/all.py",
    "requirements-events-api.lock",
    "package.json",
    "package-lock.json",
    "node_modules/echarts/dist/echarts.min.js",
    "node_modules/echarts/LICENSE",
    "node_modules/echarts/NOTICE",
)
_SWAGGER_UI = ("LICENSE", "NOTICE", "swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files to a wheel that is to be installed elsewhere."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files. `version` is `standard`, or `editable`."""
        if version == "standard":
            build_data["force_include"] |= {name: f"cvat_analytics/shipped/{name}" for name in _SHIPPED} | {
                f"node_modules/swagger-ui-dist/{name}": f"cvat_analytics/api/static/swagger-ui/{name}"
                for name in _SWAGGER_UI
            }

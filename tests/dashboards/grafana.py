"""A Grafana for the tests of pull, push and diff: a real one where it is installed, otherwise the stand-in."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvat_analytics.connect.access import Access
from cvat_analytics.dashboards.grafana import Grafana
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from tests.clickhouse import way_to
from tests.dashboards.grafana_stand_in import StandIn, serving
from tests.waiting import PATIENCE, until

Change = Callable[[dict[str, Any]], None]


@contextmanager
def running(context: Context) -> Iterator[Access]:
    """Yield the way to a Grafana that has the rendered dashboards and nothing else."""
    if shutil.which("grafana"):
        with _real(context) as address:
            yield way_to(context, grafana=address)
    else:
        stand_in = StandIn(context.secrets["grafana_admin"])
        for file in render.grafana_files(context):
            if file.path.startswith(context.paths.dashboards):
                stand_in.provision(json.loads(file.content))
        with serving(stand_in) as address:
            yield way_to(context, grafana=address)


@contextmanager
def _real(context: Context) -> Iterator[tuple[str, int]]:
    for file in render.grafana_files(context):
        path = Path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
        if "/grafana-server/" in file.path:
            credential = Path(context.paths.grafana_credentials) / path.name
            credential.parent.mkdir(parents=True, exist_ok=True)
            credential.write_text(file.content)
    program = str(shutil.which("grafana"))
    home = str(Path(program).resolve().parent.parent)
    config = f"{context.paths.grafana_config}/cvat-analytics.ini"
    address = ("127.0.0.1", context.settings.grafana_port)
    process = subprocess.Popen([program, "server", "--homepath", home, "--config", config])
    try:
        _wait(f"http://{address[0]}:{address[1]}{context.settings.grafana_path}/api/health")
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _wait(url: str) -> None:
    until(
        lambda: urllib.request.urlopen(url, timeout=10).close(),
        "Grafana answers",
        lambda _: True,
        despite=OSError,
    )


def edit(grafana: Grafana, uid: str, change: Change) -> None:
    """Change a dashboard as its editor does: with all that goes without saying written out."""
    model = copy.deepcopy(grafana.read(uid))
    assert model is not None
    change(model)
    grafana.write(saved_by_the_editor(model), "in the editor")


def saved_by_the_editor(model: dict[str, Any]) -> dict[str, Any]:
    """Return `model` with what Grafana's editor adds on its own, as its version 13 was seen to do."""
    model = {
        "editable": True,
        "fiscalYearStartMonth": 0,
        "preload": False,
        "timepicker": {},
        "weekStart": "",
        **model,
    }
    built_in = {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    annotations = model.get("annotations", {}).get("list", [])
    model["annotations"] = {"list": [built_in, *(each for each in annotations if not each.get("builtIn"))]}
    for variable in model.get("templating", {}).get("list", []):
        variable |= {
            "options": [{"text": "42", "value": "42", "selected": False}],
            "regex": variable.get("regex", ""),
        }
        if variable["type"] == "query":
            variable["definition"] = "SELECT"
    for panel in model["panels"]:
        panel["pluginVersion"] = "13.2.3"
        field = panel.setdefault("fieldConfig", {}).setdefault("defaults", {})
        field.setdefault("mappings", [])
        field.setdefault(
            "thresholds",
            {"mode": "absolute", "steps": [{"color": "green", "value": 0}, {"color": "red", "value": 80}]},
        )
        if panel["type"] == "timeseries":
            custom = {"axisLabel": "", "barAlignment": 0, "pointSize": 5, "spanNulls": False, "lineWidth": 1}
            field["custom"] = {**custom, **field.get("custom", {})}
        for target in panel.get("targets", []):
            target["meta"] = {"builderOptions": {"columns": [], "database": "", "table": ""}}
            target["rawSql"] = target["rawSql"].replace("\n", "\r\n")
    return model


def converted_back(model: dict[str, Any]) -> dict[str, Any]:
    """Return `model` as Grafana gives it in the classic form after its newer editor has stored it in the newer one.

    What that leaves out and adds: grafana/grafana, apps/dashboard/pkg/migration/conversion/v2alpha1_to_v1.go.
    """
    model = {key: value for key, value in copy.deepcopy(model).items() if key not in ("id", "uid", "version")}
    model |= {"editable": True, "preload": False, "fiscalYearStartMonth": 0, "schemaVersion": 42}
    for link in model.get("links", []):
        link |= {"icon": "", "tooltip": "", "asDropdown": False, "targetBlank": False, "placement": ""}
    for panel in model["panels"]:
        panel["pluginVersion"] = "13.2.3"
        panel.setdefault("targets", [])
        field = panel.get("fieldConfig", {})
        for part in [part for part, value in field.items() if not value]:
            del field[part]
        for target in panel["targets"]:
            target.pop("hide", None)
    for variable in model.get("templating", {}).get("list", []):
        variable |= {"hide": variable.get("hide", 0), "skipUrlSync": False}
        if variable["type"] in ("query", "custom"):
            more = {"multi": False, "includeAll": False, "options": [], "allowCustomValue": True}
            variable |= {key: variable.get(key, value) for key, value in more.items()}
        if variable["type"] == "query":
            variable |= {"sort": 0, "regex": "", "regexApplyTo": "value"}
    for annotation in model.get("annotations", {}).get("list", []):
        annotation["hide"] = False
    return model

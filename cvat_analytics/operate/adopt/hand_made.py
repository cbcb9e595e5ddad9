"""Dashboards that people have made in the stock Grafana: looked for, kept as files, and put into this stack's Grafana.

A file or a dashboard that is there already is left as it is: somebody may have mended it since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.dashboards import load
from cvat_analytics.dashboards.exchange import slug
from cvat_analytics.dashboards.grafana import Found, Grafana
from cvat_analytics.dashboards.lint import Finding, lint_data
from cvat_analytics.dashboards.model import tidy
from cvat_analytics.dashboards.places import Refusal
from cvat_analytics.dashboards.tidying import tidied

FOLDER = "From the stock CVAT"
"""The folder of this stack's Grafana into which they come: none of the stack's own dashboards is in it."""
_STOCK = ("EIGSTDAVz", "w0if6WAVz", "WvDvWK04k")
"""The uids of the dashboards that CVAT brings along; this stack has its own at the same addresses."""


@dataclass(frozen=True)
class There:
    """What the stock Grafana has. None: this login may not see it."""

    version: str
    hand_made: Sequence[Found]
    stock: Sequence[Found]
    """CVAT's own, for which this stack has others."""
    users: int | None
    alert_rules: int | None
    datasources: int | None
    saved_stock: Sequence[Found] = ()
    """Of CVAT's own those that were saved in Grafana, and may have been changed."""


@dataclass(frozen=True)
class Taken:
    """What became of a dashboard. `findings`: what of it does not hold on this stack's tables."""

    uid: str
    title: str
    file: str
    findings: Sequence[Finding]
    grafana: str
    """What this stack's Grafana has of it: `put`, `there already`, or why it does not have it."""


def look(grafana: Grafana) -> There:
    """Return what the stock Grafana has."""
    hand_made: list[Found] = []
    stock: list[Found] = []
    saved: list[Found] = []
    for found in grafana.list():
        from_file = grafana.is_provisioned(found.uid)
        if found.uid not in _STOCK:
            hand_made.append(found)
        else:
            stock.append(found)
            saved += [] if from_file else [found]
    return There(
        grafana.version,
        hand_made,
        stock,
        grafana.count("/api/org/users"),
        grafana.count("/api/v1/provisioning/alert-rules"),
        grafana.count("/api/datasources"),
        saved,
    )


def take(
    found: Found,
    stock: Grafana,
    own: Grafana | None,
    database: str,
    directory: Path,
    refusal: Refusal | None,
    missing: str = "",
) -> Taken:
    """Keep a dashboard as a file in `directory`, and put it into this stack's Grafana, if it has one (`missing` says why not).

    `database` is the stock one, whose name queries need not say; `refusal` asks this stack's ClickHouse.
    """
    shown = stock.read(found.uid)
    if shown is None:
        raise CvatAnalyticsError(
            Code.DASHBOARD_UNKNOWN,
            f"dashboard {found.title!r}: was removed from the stock Grafana meanwhile. Run the same command again",
        )
    model = _without_database(tidied(shown, {}), database)
    file = _kept(directory, found, tidy(model))
    said = _put(model, own) if own else missing
    return Taken(
        found.uid, found.title, str(file), lint_data(found.title, _read(file) or model, refusal), said
    )


def _kept(directory: Path, found: Found, text: str) -> Path:
    """Return the file of a dashboard, which is written unless it is there."""
    names = (f"{slug(found.title)}.json", f"{slug(found.title)}-{found.uid}.json")
    for file in (directory / name for name in names):
        model = _read(file)
        if model is not None and model.get("uid") != found.uid:
            continue
        if model is None:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                write_atomically(file, text, 0o644)
            except OSError as error:
                raise InputError(
                    Code.OUTPUT_UNWRITABLE, f"{file}: cannot be written ({error.strerror}). See --files"
                ) from None
        return file
    raise InputError(
        Code.OUTPUT_EXISTS,
        f"{directory / names[1]}: is another dashboard's file. Give another directory with --files",
    )


def _read(file: Path) -> dict[str, Any] | None:
    """Return the dashboard in a file; None when there is no such file."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            Code.FILE_UNREADABLE,
            f"{file}: cannot be read ({error}). Move it away, or give another directory with --files",
        ) from None


def _put(model: dict[str, Any], own: Grafana) -> str:
    """Return what this stack's Grafana has of a dashboard in the end."""
    uid = str(model["uid"])
    if uid in {each.uid for each in load()}:
        return "has this stack's own dashboard of the same uid"
    try:
        if own.read(uid) is not None:
            return "there already"
        own.write(model, "cvat-analytics adopt apply", FOLDER)
    except CvatAnalyticsError as error:
        if error.exit_code == 3:
            raise
        return str(error)
    return "put"


def _without_database(value: Any, database: str) -> Any:
    """Return a dashboard whose queries do not name the stock database: the datasource knows this stack's."""
    if isinstance(value, list):
        return [_without_database(each, database) for each in value]
    if not isinstance(value, dict):
        return value
    named = re.compile(rf"(?<![\w.`\"'])([`\"]?){re.escape(database)}\1\.(?=[`\"]?events\b)")
    return {
        key: named.sub("", each)
        if isinstance(each, str) and key in ("rawSql", "query", "definition")
        else _without_database(each, database)
        for key, each in value.items()
    }

"""What each path of each port answers whom: each asked. The paths are those that the programs themselves route."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from fastapi.routing import APIRoute
from starlette.routing import Route

from cvat_analytics.api import app as events_api
from cvat_analytics.api import documentation
from cvat_analytics.embedded.viewer import config as viewer_config
from cvat_analytics.embedded.viewer.app import Viewer
from cvat_analytics.embedded.viewer.clickhouse import ClickHouse

FOREIGN = {"Host": "attacker.example:80"}
"""A name that somebody else has let lead to this machine (DNS rebinding)."""
OTHER_SITE = {
    "Origin": "https://attacker.example",
    "Sec-Fetch-Site": "cross-site",
    "Content-Type": "text/plain",
}
"""A request that another site's page makes a visitor's browser send, with the login that it remembers."""

_PLACES = {"uid": "EIGSTDAVz", "slug": "all-events", "id": "2", "name": "User", "rq_id": "nothing"}
_EVENT = '{"scope":"load:cvat","timestamp":"2026-01-05T10:00:00Z"}'
_BODIES = {
    "/": "[]",  # Vector's
    "/api/events": f'{{"events":[{_EVENT}],"previous_event":null,"timestamp":"2026-01-05T10:00:01Z"}}',
    "/api/ds/query": '{"queries":[],"from":"0","to":"1"}',
}
CLICKHOUSE = [
    ("GET", path)
    for path in (
        "/",
        "/?query=SELECT+1",
        "/ping",
        "/replicas_status",
        "/play",
        "/dashboard",
        "/merges",
        "/nothing",
    )
]
VECTOR = [("POST", "/"), ("GET", "/"), ("GET", "/ping"), ("POST", "/nothing"), ("GET", "/metrics")]


@dataclass(frozen=True)
class Asker:
    """Somebody who asks: with which login, and which headers."""

    name: str
    login: tuple[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def answers(
    url: str, paths: Iterable[tuple[str, str]], askers: Iterable[Asker]
) -> Iterator[tuple[str, list[int]]]:
    """Yield each of `paths` (method, path) with the HTTP status that each asker gets."""
    askers = list(askers)
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
        for method, path in paths:
            place = re.sub(r"\{(\w+)(?::\w+)?\}", lambda name: _PLACES[name[1]], path)
            body = _BODIES.get(path, "{}") if method == "POST" else None
            yield f"{method} {path}", [
                client.request(
                    method, place, content=body, auth=asker.login,
                    headers={"Content-Type": "application/json", **asker.headers} if body else dict(asker.headers),
                ).status_code
                for asker in askers
            ]  # fmt: skip


def of_events_api() -> list[tuple[str, str]]:
    """Return method and path of each route of the events API."""
    routers = (*events_api._ROUTERS, documentation.router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return sorted((method, route.path) for route in routes for method in route.methods or ())


def of_viewer(ini: Path) -> list[tuple[str, str]]:
    """Return method and path of each route of the viewer that has the configuration `ini`."""
    settings = viewer_config.read(ini)
    viewer = Viewer(settings, ClickHouse(settings.datasource, 1), open_pages=True)
    return sorted(
        (method, route.path)
        for route in viewer.routes()
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    )

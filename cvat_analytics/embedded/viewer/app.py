"""The viewer's web application: pages for people, and the few of Grafana's HTTP endpoints that the smoke test asks.

https://grafana.com/docs/grafana/latest/developers/http_api/ describes the endpoints.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from cvat_analytics import dashboards
from cvat_analytics.dashboards import Dashboard
from cvat_analytics.embedded.viewer import choice, pages
from cvat_analytics.embedded.viewer.clickhouse import ClickHouse
from cvat_analytics.embedded.viewer.config import Config
from cvat_analytics.errors import CvatAnalyticsError, InputError

VERSION = "13.2.0-viewer"
"""The Grafana whose endpoints these are like (clients choose by it), marked so that nobody takes this for a Grafana."""

_HEADERS = {
    # no script at all, and nothing from elsewhere: event data on a page can do nothing
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

Endpoint = Callable[["Viewer", Request], Response]


def _guarded(*, page: bool = False, viewers: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Let only those in who may see it: the administrator, and where `page` or `viewers` say so, visitors too."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        def guarded(self: Viewer, request: Request) -> Response:
            if not self.admitted(
                request,
                visitors=(page and self.open_pages) or ((page or viewers) and self.config.anonymous_viewer),
            ):
                return JSONResponse(
                    {"message": "Unauthorized"},
                    401,
                    {"WWW-Authenticate": 'Basic realm="cvat-analytics viewer"'},
                )
            return endpoint(self, request)

        return guarded

    return decorate


class Viewer:
    """The endpoints. Dashboard files are read on each request, so that a changed file shows at once."""

    def __init__(self, config: Config, clickhouse: ClickHouse, *, open_pages: bool) -> None:
        self.config = config
        self.clickhouse = clickhouse
        self.open_pages = open_pages
        """Whether pages (not the API) need no login."""

    def admitted(self, request: Request, *, visitors: bool) -> bool:
        """Return whether a request may be answered: with the administrator's login, or without any where `visitors` may."""
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return visitors
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        same_user = secrets.compare_digest(user.encode(), self.config.admin_user.encode())
        same_password = secrets.compare_digest(password.encode(), self.config.admin_password.encode())
        return scheme.lower() == "basic" and same_user and same_password

    def _dashboards(self) -> list[Dashboard]:
        return dashboards.load(self.config.dashboards)

    # Pages

    @_guarded(page=True)
    def home(self, request: Request) -> Response:
        """Lead to the default home dashboard, as Grafana does."""
        for each in self._dashboards():
            if each.file.name == self.config.home:
                return RedirectResponse(f"{self.config.prefix}/d/{each.uid}/{each.file.stem}")
        return RedirectResponse(f"{self.config.prefix}/dashboards")

    @_guarded(page=True)
    def index(self, request: Request) -> Response:
        """Show the list of dashboards."""
        return HTMLResponse(pages.index(self.config, self._dashboards()), headers=_HEADERS)

    @_guarded(page=True)
    def dashboard(self, request: Request) -> Response:
        """Show one dashboard."""
        found = self._dashboards()
        shown = next((each for each in found if each.uid == request.path_params["uid"]), None)
        if shown is None:
            return self._message(found, 404, "Not found", "There is no such dashboard.")
        try:
            made = choice.read(request.query_params.multi_items(), shown, datetime.now(UTC))
        except InputError as error:
            return self._message(found, 400, "Not understood", str(error))
        return HTMLResponse(
            pages.dashboard(self.config, found, shown, made, self.clickhouse), headers=_HEADERS
        )

    def _message(self, found: list[Dashboard], status: int, title: str, text: str) -> Response:
        return HTMLResponse(pages.message(self.config, found, title, text), status, headers=_HEADERS)

    # Grafana's endpoints

    def health(self, request: Request) -> Response:
        """Answer whether the viewer runs."""
        return JSONResponse({"database": "ok", "version": VERSION, "commit": "a substitute for Grafana"})

    @_guarded(viewers=True)
    def frontend_settings(self, request: Request) -> Response:
        """Answer with the version, where grafana-client looks for it."""
        return JSONResponse({"buildInfo": {"version": VERSION, "edition": "a substitute for Grafana"}})

    @_guarded(viewers=True)
    def search(self, request: Request) -> Response:
        """Answer with the list of dashboards."""
        wanted = request.query_params.get("query", "").lower()
        if request.query_params.get("type", "dash-db") != "dash-db":
            return JSONResponse([])
        return JSONResponse(
            [
                {
                    "uid": each.uid,
                    "title": each.title,
                    "type": "dash-db",
                    "url": self._url(each),
                    "tags": each.model.get("tags", []),
                    "folderTitle": self.config.folder,
                }
                for each in self._dashboards()
                if wanted in each.title.lower()
            ]
        )

    @_guarded(viewers=True)
    def dashboard_model(self, request: Request) -> Response:
        """Answer with one dashboard's JSON."""
        for each in self._dashboards():
            if each.uid == request.path_params["uid"]:
                meta = {
                    "provisioned": True,
                    "slug": each.file.stem,
                    "url": self._url(each),
                    "folderTitle": self.config.folder,
                }
                return JSONResponse({"dashboard": dict(each.model), "meta": meta})
        return JSONResponse({"message": "Dashboard not found"}, 404)

    @_guarded()
    def datasource(self, request: Request) -> Response:
        """Answer with the datasource, without its password."""
        if request.path_params["uid"] != self.config.datasource.uid:
            return JSONResponse({"message": "Data source not found"}, 404)
        return JSONResponse(
            {**self.config.datasource.model, "readOnly": True, "secureJsonFields": {"password": True}}
        )

    @_guarded()
    def datasource_health(self, request: Request) -> Response:
        """Answer whether the datasource can be queried."""
        if request.path_params["uid"] != self.config.datasource.uid:
            return JSONResponse({"message": "Data source not found"}, 404)
        try:
            self.clickhouse.query("SELECT 1")
        except CvatAnalyticsError as error:
            return JSONResponse({"status": "ERROR", "message": str(error)}, 400)
        return JSONResponse({"status": "OK", "message": "Data source is working"})

    def _url(self, each: Dashboard) -> str:
        return f"{self.config.prefix}/d/{each.uid}/{each.file.stem}"

    def broken(self, request: Request, error: Exception) -> Response:
        """Answer when the dashboard files cannot be used."""
        if "/api/" in request.url.path:
            return JSONResponse({"message": str(error)}, 500)
        return self._message([], 500, "Dashboards cannot be read", str(error))

    def application(self) -> Starlette:
        """Return the application: everything under the sub-path, and without it too, as behind a proxy that strips it."""
        routes: list[BaseRoute] = [
            Route("/", self.home),
            Route("/dashboards", self.index),
            Route("/d/{uid}", self.dashboard),
            Route("/d/{uid}/{slug}", self.dashboard),
            Route("/api/health", self.health),
            Route("/api/frontend/settings", self.frontend_settings),
            Route("/api/search", self.search),
            Route("/api/dashboards/uid/{uid}", self.dashboard_model),
            Route("/api/datasources/uid/{uid}", self.datasource),
            Route("/api/datasources/uid/{uid}/health", self.datasource_health),
            Mount("/public", StaticFiles(directory=Path(__file__).parent / "static")),
        ]
        if self.config.prefix:
            routes.insert(0, Mount(self.config.prefix, routes=list(routes)))
        handlers: dict[Any, Any] = {InputError: self.broken}
        return Starlette(routes=routes, exception_handlers=handlers)

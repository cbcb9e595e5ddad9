"""The viewer's web application: pages, the data that they draw, and the few of Grafana's endpoints that the smoke test asks.

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
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from cvat_analytics import dashboards
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.host_header import OwnNames
from cvat_analytics.dashboards import Dashboard
from cvat_analytics.embedded.viewer import choice, data, pages, queries
from cvat_analytics.embedded.viewer.clickhouse import BusyError, ClickHouse, QueryError
from cvat_analytics.embedded.viewer.config import Config

VERSION = "13.2.0-viewer"
"""The Grafana whose endpoints these are like (clients choose by it), marked so that nobody takes this for a Grafana."""

_HEADERS = {
    # the viewer's own files and nothing else, no script or style inside the page: event data on it can do nothing
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_DATA_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Endpoint = Callable[["Viewer", Request], Response]


def _guarded(*, page: bool = False, viewers: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Let only those in who may see it: the administrator, and where `page` or `viewers` say so, visitors too."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        def guarded(self: Viewer, request: Request) -> Response:
            if not self.admitted(
                request,
                visitors=(page and self.open_pages)
                or ((page or viewers) and (self.config.anonymous_viewer or self.sent_by_gateway(request))),
            ):
                return JSONResponse(
                    {"message": "Unauthorized"},
                    401,
                    {"WWW-Authenticate": 'Basic realm="cvat-analytics viewer"'},
                )
            # a page is for whoever follows a link; what it asks for then is not
            asked = request.method == "POST" or "/data/" in request.url.path
            if asked and request.headers.get("sec-fetch-site") == "cross-site":
                return JSONResponse({"message": "a page of another site may not ask for this"}, 403)
            return endpoint(self, request)

        return guarded

    return decorate


def _asked_for(dashboards: list[Dashboard], request: Request) -> Dashboard | None:
    """Return that dashboard among `dashboards` whose uid is in the address."""
    return next((each for each in dashboards if each.uid == request.path_params["uid"]), None)


class _Files(StaticFiles):
    """Files that the browser asks for again each time: another version of the viewer may have other ones."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file, or 304 when the browser has it already."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


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

    def sent_by_gateway(self, request: Request) -> bool:
        """Return whether a gateway that is believed has let the visitor in and says who that is, as Grafana's `auth.proxy`."""
        header = self.config.proxy_header
        peer = request.client.host if request.client else ""
        return bool(header and request.headers.get(header)) and peer in self.config.proxy_addresses

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
        dashboards = self._dashboards()
        shown = _asked_for(dashboards, request)
        if shown is None:
            return self._message(dashboards, 404, "Not found", "There is no such dashboard.")
        return HTMLResponse(pages.dashboard(self.config, dashboards, shown), headers=_HEADERS)

    def _message(self, dashboards: list[Dashboard], status: int, title: str, text: str) -> Response:
        return HTMLResponse(pages.message(self.config, dashboards, title, text), status, headers=_HEADERS)

    def chart_library(self, request: Request) -> Response:
        """Send the chart library, where it is installed."""
        if not pages.CHARTS.is_file():
            return Response("The chart library is not installed: run make setup\n", 404)
        return FileResponse(pages.CHARTS, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    # What the pages draw

    @_guarded(page=True)
    def view(self, request: Request) -> Response:
        """Answer with a dashboard's JSON and what else its page shows."""
        shown = self._wanted(request)
        return JSONResponse(
            {"dashboard": dict(shown.model), "annotations": data.annotation_models(shown)},
            headers=_DATA_HEADERS,
        )

    @_guarded(page=True)
    def panel(self, request: Request) -> Response:
        """Answer with the rows of a panel."""
        shown = self._wanted(request)
        requested = next((each for each in shown.panels if each.id == request.path_params["id"]), None)
        if requested is None:
            raise InputError(
                Code.VIEWER_REQUEST, f"dashboard {shown.title!r} has no panel {request.path_params['id']}"
            )
        points = request.query_params.get("points", "")
        width = min(int(points), 10_000) if points.isdecimal() and len(points) < 9 else 1000
        made = self._choice(request, shown)
        return JSONResponse(data.panel(shown, requested, made, width, self.clickhouse), headers=_DATA_HEADERS)

    @_guarded(page=True)
    def options(self, request: Request) -> Response:
        """Answer with what can be chosen in a filter."""
        shown = self._wanted(request)
        variable = shown.variables.get(request.path_params["name"])
        if variable is None:
            raise InputError(
                Code.VIEWER_REQUEST,
                f"dashboard {shown.title!r} has no variable {request.path_params['name']!r}",
            )
        made = self._choice(request, shown)
        return JSONResponse(data.options(shown, variable, made, self.clickhouse), headers=_DATA_HEADERS)

    @_guarded(page=True)
    def marks(self, request: Request) -> Response:
        """Answer with the marks of a dashboard's annotations."""
        shown = self._wanted(request)
        made = self._choice(request, shown)
        return JSONResponse(data.marks(shown, made, self.clickhouse), headers=_DATA_HEADERS)

    def _wanted(self, request: Request) -> Dashboard:
        shown = _asked_for(self._dashboards(), request)
        if shown is None:
            raise InputError(
                Code.VIEWER_REQUEST, f"there is no dashboard with the uid {request.path_params['uid']!r}"
            )
        return shown

    def _choice(self, request: Request, shown: Dashboard) -> choice.Choice:
        return choice.read(request.query_params.multi_items(), shown, datetime.now(UTC))

    # Grafana's endpoints

    def health(self, request: Request) -> Response:
        """Answer whether the viewer runs."""
        return JSONResponse({"database": "ok", "version": VERSION, "commit": "a substitute for Grafana"})

    @_guarded(viewers=True)
    def search(self, request: Request) -> Response:
        """Answer with the list of dashboards."""
        return JSONResponse([{"uid": each.uid, "title": each.title} for each in self._dashboards()])

    async def query(self, request: Request) -> Response:
        """Answer queries of the datasource, as Grafana's backend gets them from a browser."""
        request.state.body = await request.body()
        return await run_in_threadpool(self._query, request)

    @_guarded()
    def _query(self, request: Request) -> Response:
        status, content = queries.answer(
            request.state.body, self.config.datasource.uid, self.clickhouse, datetime.now(UTC)
        )
        return JSONResponse(content, status, _DATA_HEADERS)

    def broken(self, request: Request, error: Exception) -> Response:
        """Answer when the dashboard files cannot be used, or a question makes no sense."""
        if "/data/" in request.url.path:
            if isinstance(error, BusyError):
                return JSONResponse({"message": str(error)}, 503, _DATA_HEADERS | {"Retry-After": "10"})
            status = 400 if isinstance(error, InputError | QueryError) else 502
            return JSONResponse({"message": str(error)}, status, _DATA_HEADERS)
        if "/api/" in request.url.path:
            return JSONResponse({"message": str(error)}, 500)
        return self._message([], 500, "Dashboards cannot be read", str(error))

    def routes(self) -> list[BaseRoute]:
        """Return what is answered, below the sub-path."""
        return [
            Route("/", self.home),
            Route("/dashboards", self.index),
            Route("/d/{uid}", self.dashboard),
            Route("/d/{uid}/{slug}", self.dashboard),
            Route("/api/health", self.health),
            Route("/api/search", self.search),
            Route("/api/ds/query", self.query, methods=["POST"]),
            Route("/data/{uid}", self.view),
            Route("/data/{uid}/panels/{id:int}", self.panel),
            Route("/data/{uid}/variables/{name}", self.options),
            Route("/data/{uid}/annotations", self.marks),
            Route("/public/echarts.js", self.chart_library),
            Mount("/public", _Files(directory=Path(__file__).parent / "static")),
        ]

    def application(self) -> ASGIApp:
        """Return the application: everything under the sub-path, and without it too, as behind a proxy that strips it.

        Whoever asks for another host than this one is refused.
        """
        routes = self.routes()
        if self.config.prefix:
            routes.insert(0, Mount(self.config.prefix, routes=list(routes)))
        handlers: dict[Any, Any] = {CvatAnalyticsError: self.broken}
        return OwnNames(
            Starlette(routes=routes, exception_handlers=handlers),
            self.config.names,
            "Ask for it by an address or as localhost",
        )

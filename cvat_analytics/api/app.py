"""Put the service together as one ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from cvat_analytics.api import documentation, events_routes, export_routes, gateway_routes, problems
from cvat_analytics.api.clickhouse import QueryError
from cvat_analytics.api.service import BUSY, Service, ServiceOf, store_problem
from cvat_analytics.api.tracing import Tracing
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.host_header import OwnNames

CLEANING_SECONDS = 30.0
_READABLE = (
    "SELECT count() FROM (SELECT * FROM events LIMIT 0) AS events, "
    "(SELECT query_id, read_rows, total_rows_approx FROM system.processes LIMIT 0) AS progress"
)
_own = APIRouter(include_in_schema=False)
_ROUTERS = (events_routes.router, export_routes.router, gateway_routes.router, _own)

DESCRIPTION = """Takes in the events of CVAT's clients, and gives events out to those who may see them.

Log in as to CVAT (name and password, session cookie or token). An administrator sees everything, an organization's owner
or maintainer the organization, everybody their own events.

**An export in three steps**: `GET /api/events?job_id=5` answers 202 with a `query_id`; the same with `?query_id=…` answers
202 until the file is ready and then 201; with `?query_id=…&action=download` comes the file. Or at once:
`GET /api/events?job_id=5&format=csv`.
"""


def create(service: Service, names: Iterable[str] = ()) -> ASGIApp:
    """Return the application that serves `service`, to whoever asks for it by an address or one of these names."""

    @contextlib.asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        # each stream occupies a thread while it waits for ClickHouse; short questions must not wait for them
        anyio.to_thread.current_default_thread_limiter().total_tokens = 64
        service.exports.resume()
        cleaning = asyncio.create_task(_clean(service))
        yield
        cleaning.cancel()
        await service.close()

    application = FastAPI(
        title="CVAT analytics: events API",
        version="1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    application.state.service = service
    problems.install(application)
    for router in _ROUTERS:
        application.include_router(router)
    documentation.install(application)

    allowed = _Allowed()
    for path in allowed.paths:
        application.add_api_route(path, _options, methods=["OPTIONS"], include_in_schema=False)
    remedy = "Ask for it by an address, or give the name in the setting 'events_api_names'"
    return Tracing(OwnNames(application, names, remedy), allowed)


@_own.get("/health")
@_own.head("/health")
async def health() -> Response:
    """Answer that the service runs. Nobody else is asked."""
    return JSONResponse({"status": "ok"})


@_own.get("/ready")
def ready(parts: ServiceOf) -> Response:
    """Answer whether it can do its work: ClickHouse lets its user read what an export and its progress are made of."""
    try:
        with parts.clickhouse.ask(_READABLE, timeout=5) as answer:
            answer.text()
    except QueryError as error:
        if error.number not in BUSY:
            raise store_problem(error) from None
    except CvatAnalyticsError as error:
        raise store_problem(error) from None
    return JSONResponse({"status": "ok"})


async def _options() -> Response:
    """Answer with the methods that a path has (the header `Allow` of every answer)."""
    return Response(status_code=204)


async def _clean(service: Service) -> None:
    while True:
        await asyncio.sleep(CLEANING_SECONDS)
        await anyio.to_thread.run_sync(service.exports.forget_expired)


class _Allowed:
    """Knows the methods of each path."""

    _ORDER = ("GET", "POST", "HEAD", "DELETE", "OPTIONS")

    def __init__(self) -> None:
        routes = [route for router in (*_ROUTERS, documentation.router) for route in router.routes]
        self._routes = [route for route in routes if isinstance(route, APIRoute)]
        self.paths = sorted({route.path for route in self._routes})

    def __call__(self, path: str) -> str:
        """Return them as the header `Allow` has them; empty for an unknown path."""
        methods = {
            method for route in self._routes if route.path_regex.match(path) for method in route.methods or ()
        }
        return ", ".join(name for name in self._ORDER if name in methods | {"OPTIONS"}) if methods else ""

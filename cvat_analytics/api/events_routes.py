"""`/api/events`: events in, and out as an export that is asked for in steps, as a stream, or as pages."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from cvat_analytics.api import filters as filtering
from cvat_analytics.api import ingest, queries
from cvat_analytics.api.export_routes import download, start
from cvat_analytics.api.filters import Filters
from cvat_analytics.api.ingest import Prepared
from cvat_analytics.api.principals import Principal
from cvat_analytics.api.problems import Problem, bad_request
from cvat_analytics.api.request_scope import (
    asked,
    filtered,
    in_organization,
    in_thread,
    refuse_repeated,
    stamp,
)
from cvat_analytics.api.schemas import PROBLEMS, EventPage, StoredEvents
from cvat_analytics.api.service import PrincipalOf, Service, ServiceOf, refuse_start_from_other_sites
from cvat_analytics.api.streams import EventStream, chosen_encoding
from cvat_analytics.api.vector import NotStored

router = APIRouter(tags=["events"])

PAGE = 1000


class EventsQuery(Filters):
    """The parameters of `GET /api/events`."""

    query_id: UUID | None = Field(None, description="An export that was asked for before: is it ready?")
    action: Literal["download"] | None = Field(
        None, description="`download`: answer with the file of `query_id`."
    )
    filename: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Name under which the file is offered."
    )
    format: Literal["csv", "jsonl", "parquet", "arrow", "json"] | None = Field(
        None, description="Answer with the events themselves: as a stream in this form, or `json` for pages."
    )
    limit: Annotated[int, Field(ge=1, le=5000)] | None = Field(
        None, description=f"Events on a page of `format=json`; {PAGE} where it is not given."
    )
    cursor: Annotated[str, Field(max_length=500)] | None = Field(
        None, description="Where the page begins: `next` of the one before."
    )


@router.post(
    "/api/events",
    status_code=201,
    response_model=StoredEvents,
    responses=PROBLEMS(400, 403, 413, 415, 503),
    summary="Take in what a client has recorded",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ClientEvents"}}},
        }
    },
)
async def create(
    request: Request,
    principal: PrincipalOf,
    service: ServiceOf,
    org: Annotated[str, Query(max_length=200, description="Slug of the organization.")] = "",
    org_id: Annotated[filtering.Id | None, Query(description="Id of the organization.")] = None,
) -> Response:
    """Check the events, put in who sent them and when by this clock, add working time, and give all to Vector at once."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in (
        "application/json",
        "application/vnd.cvat+json",
    ):
        raise Problem(415, "the body must be JSON (Content-Type: application/json)")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "the body must not be compressed (Content-Encoding)")
    with contextlib.ExitStack() as held:

        def large() -> None:
            service.large_bodies.acquire(principal.key)
            held.callback(service.large_bodies.release, principal.key)

        body = await _body(request, large)
        return await _taken_in(request, principal, service, body, org, org_id)


async def _taken_in(
    request: Request, principal: Principal, service: Service, body: bytes, org: str, org_id: int | None
) -> Response:
    slug = org or request.headers.get("x-organization", "")

    def prepared() -> tuple[Prepared, list[dict[str, Any]], Response]:
        client_events = ingest.read(body, service.config.client_scopes)
        organization = ingest.organization_of(principal, slug=slug, id=org_id)
        now = datetime.now(timezone.utc)
        ready = ingest.prepare(
            client_events, principal, organization, request.scope["request_id"], now, service.idempotency
        )
        shown = [{**event, "timestamp": _iso(event["timestamp"])} for event in ready.events]
        answer = JSONResponse({"events": shown, "timestamp": _iso(now)}, 201)
        return ready, [ingest.wire(event) for event in (*ready.events, *ready.reports)], answer

    # thousands of events take a while, and the gateway asks this service for every request to Grafana
    ready: Prepared
    wired: list[dict[str, Any]]
    answer: Response
    async with service.reading if len(body) >= ingest.LARGE_BODY else contextlib.nullcontext():
        ready, wired, answer = await in_thread(prepared)
    if wired:
        try:
            await service.vector.send(wired)
        except NotStored:
            service.idempotency.not_stored(ready.stamps)
            raise
        # whoever has gone away sends them again
        if not await request.is_disconnected():
            service.idempotency.stored(ready.stamps)
    return answer


async def _body(request: Request, large: Callable[[], None]) -> bytes:
    """Return the body. Calls `large` once if it is, and raises what that raises."""
    body = bytearray()
    async for piece in request.stream():
        if len(body) < ingest.LARGE_BODY <= len(body) + len(piece):
            large()
        body += piece
        if len(body) > ingest.MAXIMUM_BODY:
            raise Problem(
                413, f"the body has more than {ingest.MAXIMUM_BODY >> 20} MiB. Send fewer events at once"
            )
    return bytes(body)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@router.get(
    "/api/events",
    summary="Give events out",
    responses={
        200: {
            "description": "The file (`action=download` or `format`), or a page of events (`format=json`).",
            "model": EventPage,
            "content": {form.media_type.partition(";")[0]: {} for form in queries.FORMATS.values()},
        },
        201: {"description": "The export `query_id` is ready to be downloaded."},
        202: {
            "description": "The export has been taken in, or is not ready yet.",
            "content": {"application/json": {}},
        },
        **PROBLEMS(400, 403, 404, 429, 500, 503, 507),
    },
)
async def get(
    request: Request, principal: PrincipalOf, service: ServiceOf, query: Annotated[EventsQuery, Query()]
) -> Response:
    """Without `format` and `query_id` an export is taken in (202 with its `query_id`).

    Ask again with `query_id`: 202 while it is made, 201 when it is ready; then with `action=download` for the file (200).
    With `format` the events come at once.
    """
    _refuse_unfit(request, query)
    if query.query_id is not None:
        return await download(request, principal, service, str(query.query_id), query.action, query.filename)
    refuse_start_from_other_sites(request)
    query = in_organization(request, principal, query)
    if query.format is None:
        job = await start(
            principal, service, query, queries.FORMATS["csv"], query.filename, request.scope["request_id"]
        )
        return JSONResponse({"query_id": job.id}, 202)
    if query.format == "json":
        return await _page(request, principal, service, query)
    return await _stream(request, principal, service, query)


@router.head(
    "/api/events",
    summary="Say whether an export is ready",
    responses=PROBLEMS(400, 403, 404, 500),
    include_in_schema=False,
)
async def head(
    request: Request, principal: PrincipalOf, service: ServiceOf, query: Annotated[EventsQuery, Query()]
) -> Response:
    """Answer as GET would with the same parameters, without a body and without starting anything."""
    _refuse_unfit(request, query)
    if query.query_id is not None:
        return await download(request, principal, service, str(query.query_id), query.action, query.filename)
    refuse_start_from_other_sites(request)
    await filtered(principal, service, in_organization(request, principal, query))
    return Response(status_code=202 if query.format is None else 200)


def _refuse_unfit(request: Request, query: EventsQuery) -> None:
    """Raise Problem (400) for parameters that do not go together: one of them would be passed over."""
    refuse_repeated(request)
    if query.action is not None and query.query_id is None:
        raise bad_request("query_id", "is needed with `action=download`")
    if query.format != "json":
        for name in ("limit", "cursor"):
            if getattr(query, name) is not None:
                raise bad_request(name, "is for pages: give it with `format=json`")


async def _page(request: Request, principal: Principal, service: Service, query: EventsQuery) -> Response:
    cursor = queries.read_cursor(query.cursor) if query.cursor else None
    selection, first, last = await filtered(principal, service, query)
    if cursor:
        first, last = cursor.first_ms, cursor.last_ms
        selection = filtering.select(query, principal, first, last)
    events, following = await asked(
        principal,
        service,
        queries.page,
        service.clickhouse,
        selection,
        query.limit or PAGE,
        cursor,
        first,
        last,
    )
    text = following.text() if following else None
    headers = {"Link": f'<{request.url.include_query_params(cursor=text)}>; rel="next"'} if text else {}
    return JSONResponse({"events": events, "next": text}, headers=headers)


async def _stream(request: Request, principal: Principal, service: Service, query: EventsQuery) -> Response:
    if request.scope.get("http_version") == "1.0":
        # without chunks a caller could not tell a complete answer from one that broke off
        raise Problem(400, "a stream needs HTTP/1.1: without it nobody could see whether it is complete")
    form = queries.FORMATS[str(query.format)]
    selection, _, _ = await filtered(principal, service, query)
    place = await service.streams.acquire(principal.key)
    try:
        answer = await in_thread(
            service.clickhouse.ask, queries.statement(selection, form), selection.parameters
        )
    except BaseException:
        service.streams.release(place)
        raise
    name = queries.file_name(query.filename, form, stamp())
    encoding = chosen_encoding(request.headers.get("accept-encoding", ""))
    return EventStream(answer, service.streams, place, encoding, form.media_type, name)

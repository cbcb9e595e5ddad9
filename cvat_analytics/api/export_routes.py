"""Exports that are asked for in steps: `/api/events/export`, `/api/requests`, and what `/api/events` shares with them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from cvat_analytics.api import filters as filtering
from cvat_analytics.api import queries
from cvat_analytics.api.export_store import Job
from cvat_analytics.api.filters import Filters, Id, Selection
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
from cvat_analytics.api.schemas import (
    PROBLEMS,
    BackgroundRequest,
    BackgroundRequests,
    Operation,
    Owner,
    RequestId,
)
from cvat_analytics.api.service import PrincipalOf, Service, ServiceOf
from cvat_analytics.api.streams import finished_file
from cvat_analytics.base.codes import Code

router = APIRouter(tags=["exports"])


class ExportQuery(Filters):
    """The parameters of `POST /api/events/export`."""

    filename: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Name under which the file is offered."
    )
    format: Literal["csv", "jsonl", "parquet", "arrow"] = Field("csv", description="Form of the file.")
    location: Literal["local", "cloud_storage"] = Field(
        "local", description="Only `local`: the file is downloaded from here."
    )
    cloud_storage_id: int | None = Field(None, description="Not used.")


class RequestsQuery(BaseModel):
    """The filters of `GET /api/requests` that say something of exports; what else CVAT has there is passed over."""

    status: Literal["queued", "started", "finished", "failed"] | None = None
    action: str | None = Field(None, description="Exports are `export`.")
    target: str | None = Field(None, description="Exports are of `events`.")
    format: str | None = None
    project_id: Id | None = None
    task_id: Id | None = None
    job_id: Id | None = None

    def fits(self, job: Job) -> bool:
        """Return whether `job` is wanted."""
        about = {
            "status": job.status,
            "action": "export",
            "target": "events",
            "format": job.format,
            **job.filters,
        }
        return all(about.get(name) == value for name, value in self.model_dump(exclude_none=True).items())


async def start(
    principal: Principal,
    service: Service,
    query: Filters,
    form: queries.Format,
    filename: str | None,
    request_id: str,
) -> Job:
    """Take in an export of what `principal` asks for, and return it."""
    selection, _, _ = await filtered(principal, service, query)
    shown = query.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(Filters.model_fields))
    name = queries.file_name(filename, form, stamp())
    job: Job = await in_thread(service.exports.create, principal, selection, form, name, shown, request_id)
    return job


async def _find(principal: Principal, service: Service, job_id: str) -> Job:
    job: Job | None = await in_thread(service.exports.get, job_id, principal)
    if job is None:
        raise Problem(
            404, f"there is no export {job_id} of yours; finished ones are kept for {_kept(service)}"
        )
    return job


def _kept(service: Service) -> str:
    minutes = int(service.config.exports.keep.total_seconds() // 60)
    return f"{minutes} minutes" if minutes % 60 else f"{minutes // 60} h"


async def download(
    request: Request,
    principal: Principal,
    service: Service,
    job_id: str,
    action: str | None,
    filename: str | None,
) -> Response:
    """Answer about an export: 202 not ready, 201 ready, 200 with the file.

    Raises Problem: 500 when it has failed, 403 for somebody who may not see any more what is in it.
    """
    job = await _find(principal, service, job_id)
    if not filtering.still_seen(principal, job.filters, Selection(tuple(job.conditions), job.parameters)):
        raise Problem(
            403,
            "you may no longer see everything that is in this export. Ask for it again: it will have what you may see now",
            code=Code.API_NOT_ALLOWED,
        )
    if job.status == "failed":
        raise Problem(500, f"the export failed: {job.message}", code=Code.EXPORT_FAILED)
    if job.status != "finished":
        return JSONResponse({"query_id": job.id}, 202, headers={"Retry-After": "1"})
    if action != "download":
        return Response(status_code=201)
    if not service.exports.store.is_whole(job):
        raise Problem(500, "the file of this export is damaged. Ask for it again", code=Code.EXPORT_FAILED)
    if request.method == "GET":
        await in_thread(service.exports.fetched, job)
    form = queries.FORMATS[job.format]
    return finished_file(
        str(service.exports.store.file(job.id)),
        queries.file_name(filename, form, stamp()) if filename else job.filename,
        form.media_type,
        request.headers.get("accept-encoding", ""),
        has_range="range" in request.headers or request.method == "HEAD",
    )


@router.post(
    "/api/events/export",
    status_code=202,
    response_model=RequestId,
    responses=PROBLEMS(400, 403, 500, 503, 507),
    summary="Ask for an export",
)
async def export(
    request: Request, principal: PrincipalOf, service: ServiceOf, query: Annotated[ExportQuery, Query()]
) -> Response:
    """Take in an export. `GET /api/requests/{rq_id}` says how far it is and, when it is finished, where the file is."""
    if query.location != "local":
        raise bad_request(
            "location", "only `local` can be had here: download the file and store it where you want it"
        )
    refuse_repeated(request)
    await _refuse_body(request)
    query = in_organization(request, principal, query)
    job = await start(
        principal, service, query, queries.FORMATS[query.format], query.filename, request.scope["request_id"]
    )
    return JSONResponse({"rq_id": job.id}, 202)


async def _refuse_body(request: Request) -> None:
    """Raise Problem (400) for filters in the body: nobody would read them, and everything would be found."""
    body = b""
    async for piece in request.stream():
        body += piece.strip()
        if body not in (b"", b"{}"[: len(body)], b"null"[: len(body)]):
            raise bad_request("body", "must be empty: the filters belong into the URL, as in `?job_id=5`")


@router.get(
    "/api/events/download",
    summary="Download a finished export",
    responses={
        200: {
            "description": "The file.",
            "content": {form.media_type.partition(";")[0]: {} for form in queries.FORMATS.values()},
        },
        202: {"description": "It is not ready yet."},
        206: {"description": "The part of the file that the header `Range` asks for."},
        **PROBLEMS(400, 404, 416, 500),
    },
)
@router.head("/api/events/download", include_in_schema=False)
async def result(
    request: Request,
    principal: PrincipalOf,
    service: ServiceOf,
    rq_id: Annotated[UUID, Query(description="Id of the export.")],
    filename: Annotated[
        str | None, Query(max_length=200, description="Name under which the file is offered.")
    ] = None,
) -> Response:
    """Answer with the file of an export. An interrupted download is taken up again with `Range`."""
    return await download(request, principal, service, str(rq_id), "download", filename)


async def _described(request: Request, principal: Principal, service: Service, job: Job) -> BackgroundRequest:
    def moment(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)

    url = request.url_for("result").include_query_params(rq_id=job.id) if job.status == "finished" else None
    ids = {name: job.filters.get(name) for name in ("project_id", "task_id", "job_id", "org_id")}
    return BackgroundRequest(
        id=job.id,
        status=job.status,
        progress=await asked(principal, service, service.exports.progress, job)
        if job.status == "started"
        else service.exports.progress(job),
        message=job.message,
        operation=Operation(type="export:events", target="events", format=job.format, **ids),
        created_date=datetime.fromtimestamp(job.created, timezone.utc),
        started_date=moment(job.started),
        finished_date=moment(job.finished),
        expiry_date=moment(job.expires),
        owner=None if job.owner_id is None else Owner(id=job.owner_id, username=job.owner_name),
        result_url=str(url) if url else None,
        size=job.size,
    )


@router.get(
    "/api/requests/{rq_id}",
    response_model=BackgroundRequest,
    responses=PROBLEMS(400, 404),
    summary="Say how far an export is",
)
@router.head("/api/requests/{rq_id}", include_in_schema=False)
async def retrieve(request: Request, principal: PrincipalOf, service: ServiceOf, rq_id: UUID) -> Response:
    """Answer with an export's state, its progress from 0 to 1, and where its file is."""
    job = await _find(principal, service, str(rq_id))
    described = await _described(request, principal, service, job)
    return JSONResponse(_shown(described))


def _shown(described: BackgroundRequest) -> dict[str, Any]:
    """Return it as JSON. A user without an id in CVAT is no owner that CVAT's clients could understand."""
    return described.model_dump(mode="json", exclude={"owner"} if described.owner is None else None)


@router.get(
    "/api/requests",
    response_model=BackgroundRequests,
    responses=PROBLEMS(),
    summary="List the caller's exports",
)
@router.head("/api/requests", include_in_schema=False)
async def list_(
    request: Request, principal: PrincipalOf, service: ServiceOf, query: Annotated[RequestsQuery, Query()]
) -> Response:
    """Answer with the exports that the caller has now, newest first."""
    jobs = [job for job in await in_thread(service.exports.of, principal) if query.fits(job)]
    results = [_shown(await _described(request, principal, service, job)) for job in jobs]
    return JSONResponse({"count": len(results), "next": None, "previous": None, "results": results})


@router.delete(
    "/api/requests/{rq_id}",
    status_code=204,
    responses=PROBLEMS(400, 404),
    summary="End an export, or forget its file",
)
async def remove(principal: PrincipalOf, service: ServiceOf, rq_id: UUID) -> Response:
    """End an export if it is being made, and remove what there is of it."""
    job = await _find(principal, service, str(rq_id))
    await in_thread(service.exports.remove, job.id)
    return Response(status_code=204)


@router.post(
    "/api/requests/{rq_id}/cancel",
    status_code=200,
    responses=PROBLEMS(400, 404, 409),
    summary="End an export that is being made",
)
async def cancel(principal: PrincipalOf, service: ServiceOf, rq_id: UUID) -> Response:
    """End an export as CVAT's clients do. One that is over is left alone (409)."""
    job = await _find(principal, service, str(rq_id))
    if job.status in ("finished", "failed"):
        raise Problem(409, f"the export is {job.status} already")
    await in_thread(service.exports.remove, job.id)
    return Response(status_code=200)

"""The shapes of answers, for the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from cvat_analytics.api.problems import MEDIA_TYPE

_MEANINGS = {
    400: "A parameter or the body is wrong; `errors` says which and why.",
    401: "Nobody known is asking.",
    403: "The caller may not see what is asked for.",
    404: "There is no such export, or it is somebody else's, or its time is over.",
    409: "It is over already.",
    413: "The body is too large.",
    415: "The body is not JSON, or is compressed.",
    416: "The file has no such part; `Content-Range` says how long it is.",
    429: "Too many exports, streams or wrong logins; `Retry-After` says when to try again.",
    500: "The query failed; `detail` has the reason.",
    503: "A part that is needed (ClickHouse, Vector, CVAT) does not answer. Try again later.",
    507: "The server has no room for an export.",
}


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    reason: str


class ProblemDetails(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    code: str | None = None
    """docs/reference/codes.md says more of it."""
    errors: list[FieldProblem] | None = None


class StoredEvent(BaseModel):
    """An event as it is stored."""

    scope: str
    obj_name: str | None = None
    obj_id: int | None = None
    obj_val: str | None = None
    source: str
    timestamp: datetime
    count: int | None = None
    duration: int
    project_id: int | None = None
    task_id: int | None = None
    job_id: int | None = None
    user_id: int | None = None
    user_name: str | None = None
    user_email: str | None = None
    org_id: int | None = None
    org_slug: str | None = None
    payload: str | None = None
    access_token_id: int | None = None


class StoredEvents(BaseModel):
    """The answer to events that were taken in."""

    events: list[StoredEvent]
    timestamp: datetime = Field(description="The server's time.")


class EventPage(BaseModel):
    """A page of events, in order of time."""

    events: list[StoredEvent]
    next: str | None = Field(description="The `cursor` of the next page; null behind the last.")


class RequestId(BaseModel):
    """The answer to an export that was asked for."""

    rq_id: str


class Owner(BaseModel):
    """Whose request it is."""

    id: int
    username: str


class Operation(BaseModel):
    """What a request is about."""

    type: str
    target: str
    project_id: int | None = None
    task_id: int | None = None
    job_id: int | None = None
    org_id: int | None = None
    format: str | None = None


class BackgroundRequest(BaseModel):
    """An export and how far it is."""

    id: str
    status: Literal["queued", "started", "finished", "failed"]
    progress: float | None
    message: str
    operation: Operation
    created_date: datetime
    started_date: datetime | None
    finished_date: datetime | None
    expiry_date: datetime | None
    owner: Owner | None = None
    result_url: str | None
    result_id: int | None = None
    size: int | None = Field(description="Bytes of the file.")


class BackgroundRequests(BaseModel):
    """The caller's exports, newest first."""

    count: int
    next: str | None = None
    previous: str | None = None
    results: list[BackgroundRequest]


def PROBLEMS(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the part of an endpoint's documentation that names the problems it may answer with."""
    reference = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {
        status: {"description": _MEANINGS[status], "content": {MEDIA_TYPE: reference}}
        for status in (401, 429, *statuses)
    }

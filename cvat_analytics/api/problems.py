"""What the API says when it cannot do what was asked: problem details as JSON (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from cvat_analytics.base.codes import Code

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Stop the request with an HTTP status and a sentence for the person who asked.

    `code` is that of the cause, where an operator or a program has something to look up that the status does not say.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
        code: Code | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors
        self.code = code


def bad_request(field: str, reason: str) -> Problem:
    """Return the problem of one field (a parameter, or a path in the body such as `events.0.scope`)."""
    return Problem(400, f"{field}: {reason}", errors=[{"field": field, "reason": reason}])


def not_valid(details: list[ErrorDetails]) -> Problem:
    """Return the problem of a body or of parameters that do not fit their model, with each reason."""
    errors = []
    for detail in details[:20]:
        places = [str(part) for part in detail["loc"] if part not in ("query", "body", "path", "header")]
        field = ".".join(places) or "body"
        errors.append({"field": field, "reason": reason(detail)})
    return Problem(400, "; ".join(f"{e['field']}: {e['reason']}" for e in errors), errors=errors)


def reason(detail: ErrorDetails) -> str:
    """Return in words what is wrong with a value, where pydantic's own words do not say what to write."""
    kind = detail["type"]
    if kind == "extra_forbidden":
        return "there is none of that name"
    if kind in ("datetime_from_date_parsing", "datetime_parsing", "datetime_type"):
        return "is not a time. Write it as 2026-01-31 or 2026-01-31T12:00:00Z"
    return str(detail["msg"]).replace("Value error, ", "")


def answer(request: Request, problem: Problem) -> JSONResponse:
    """Return a problem as the response to a request."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.scope["path"],
        "request_id": request.scope.get("request_id", ""),
    }
    if problem.code:
        content["code"] = problem.code
    if problem.errors:
        content["errors"] = problem.errors
    return JSONResponse(content, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def install(application: FastAPI) -> None:
    """Have every error of `application` answered as a problem."""

    async def stated(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)  # noqa: S101 - it is registered for nothing else
        return answer(request, error)

    async def unfit(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return answer(request, not_valid(list(error.errors())))

    async def framework_s(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        detail = str(error.detail)
        if error.status_code == 404:
            detail = "there is nothing at this address; /api/events/docs lists what there is"
        elif error.status_code == 405:
            detail = f"{request.method} cannot be used here; the header `Allow` names what can"
        return answer(request, Problem(error.status_code, detail, headers=error.headers))

    async def failed(request: Request, error: Exception) -> JSONResponse:
        return answer(
            request, Problem(500, "the service failed; its log has the reason under this request id")
        )

    application.add_exception_handler(Exception, failed)
    application.add_exception_handler(Problem, stated)
    application.add_exception_handler(RequestValidationError, unfit)
    application.add_exception_handler(HTTPException, framework_s)

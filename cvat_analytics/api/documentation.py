"""The API's description: the OpenAPI document, and Swagger UI on it with assets of our own (no CDN)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse, Response

from cvat_analytics.api.ingest import ClientEvents
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.schemas import ProblemDetails
from cvat_analytics.base.swagger_ui import ASSETS, assets

STATIC = Path(__file__).parent / "static"
_POLICY = {
    # Swagger UI sets styles on its elements and shows its pictures as data
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

_LOGINS = {
    "basic": {"type": "http", "scheme": "basic", "description": "Name and password."},
    "session": {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "CVAT's session."},
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Token …` or `Bearer …`, as CVAT gives it out.",
    },
}

router = APIRouter(include_in_schema=False)


@router.get("/api/events/docs")
@router.head("/api/events/docs")
async def docs() -> Response:
    """Answer with the page."""
    return FileResponse(STATIC / "docs.html", media_type="text/html", headers=_POLICY)


@router.get("/api/events/docs/start.js")
@router.head("/api/events/docs/start.js")
async def start() -> Response:
    """Answer with what starts Swagger UI."""
    return FileResponse(STATIC / "start.js", media_type="text/javascript")


@router.get("/api/events/docs/assets/{name}")
@router.head("/api/events/docs/assets/{name}")
async def asset(name: str) -> Response:
    """Answer with a file of Swagger UI."""
    file = assets() / name
    if name not in ASSETS or not file.is_file():
        raise Problem(404, "there is no such file")
    return FileResponse(file, media_type=ASSETS[name], headers={"Cache-Control": "max-age=86400"})


@router.get("/api/events/openapi.json")
@router.head("/api/events/openapi.json")
async def description(request: Request) -> Response:
    """Answer with the OpenAPI document."""
    return JSONResponse(request.app.openapi())


def install(application: FastAPI) -> None:
    """Have `application` describe itself, with the schemas that its endpoints name by reference."""

    def openapi() -> dict[str, Any]:
        if application.openapi_schema:
            return application.openapi_schema
        document = get_openapi(
            title=application.title,
            version=application.version,
            description=application.description,
            routes=application.routes,
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (ProblemDetails, ClientEvents):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        document["components"]["securitySchemes"] = _LOGINS
        document["security"] = [{name: []} for name in _LOGINS]
        # FastAPI answers these with 400, in our own form
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        application.openapi_schema = document
        return document

    application.openapi = openapi  # type: ignore[method-assign]
    application.include_router(router)

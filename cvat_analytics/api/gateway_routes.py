"""`/gateway/authorize`: what the gateway asks before every request to Grafana.

Grafana knows an account by its login or its e-mail address, whichever fits first, and takes whoever comes with either for
its owner (auth.proxy). Names and addresses are the users' own to choose: a visitor called `admin` would be Grafana's own
administrator, and two with one address, or with names that differ in case, one person with the rights of both. So Grafana is
told a login that nobody chooses, and the name only to be shown.
"""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request, Response

from cvat_analytics.api.principals import Principal, credentials
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.service import ServiceOf, principal
from cvat_analytics.base.codes import Code

log = logging.getLogger("cvat_analytics.api")

router = APIRouter(include_in_schema=False)


@router.get("/gateway/authorize")
async def authorize(request: Request, service: ServiceOf) -> Response:
    """Answer the gateway: 200 with the visitor's login, name and role for Grafana, 401, 403, or 503 when nobody can tell.

    Who has to wait gets 403 with `Retry-After`: of 429 nginx would make a failure of its own (ngx_http_auth_request_module).
    Only the gateway can ask: it lets no visitor's request through to this path.
    """
    try:
        visitor = await principal(request)
    except Problem as problem:
        if problem.status == 429:
            raise Problem(403, problem.detail, headers=problem.headers, code=problem.code) from None
        raise
    try:
        granted = await service.right.granted(credentials(request), visitor)
    except Problem as problem:
        # the visitor is only told that it cannot be checked; the operator must learn why
        log.error("nobody is let in: %s", problem.detail)
        raise
    if not granted:
        raise Problem(
            403,
            f"{visitor.name} has no right to see analytics. An administrator of CVAT can give it",
            code=Code.API_NOT_ALLOWED,
        )
    return Response(
        headers={
            "X-Webauth-Login": encoded(grafana_login(visitor)),
            "X-Webauth-User": encoded(visitor.name),
            "X-Webauth-Role": "Editor" if visitor.admin else "Viewer",
        }
    )


def grafana_login(principal: Principal) -> str:
    """Return the login of the caller's account in Grafana: `5@cvat` for CVAT's user 5, `ann@local` for a user of the file."""
    where, _, who = principal.key.partition(":")
    return f"{who}@{where}"


def encoded(text: str) -> str:
    """Return `text` as Grafana's auth proxy reads it with `headers_encoded`: quoted-printable (RFC 2045, 6.7)."""
    return "".join(
        chr(byte) if 33 <= byte <= 126 and byte != ord("=") else f"={byte:02X}" for byte in text.encode()
    )

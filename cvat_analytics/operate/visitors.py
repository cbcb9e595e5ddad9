"""Grafana's accounts of visitors: the gateway has one made for each, with the person's name, and Grafana keeps them for good.

They end as names in the database do: when the visitor has not been there for as long as names are kept. Who comes again gets a new one.
https://grafana.com/docs/grafana/latest/developers/http_api/user/
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.dashboards.grafana import VIEWER

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access

_LOGINS = ("@cvat", "@local")
"""How the logins end that the gateway gives (docs/reference/access.md); all other accounts are the operator's own."""
_PAGE = 1000


def expire(access: Access, keep: timedelta) -> int:
    """Remove the accounts of visitors who have not been there for `keep`, and return how many. Raises UnreachableError.

    None are there where the viewer of the embedded stack stands in for Grafana.
    """
    last = datetime.now(UTC) - keep
    try:
        with access.grafana_client(30) as client:
            health = client.get("/api/health").raise_for_status().json()
            if str(health.get("version", "")).endswith(VIEWER):
                return 0
            gone = [each["id"] for each in _visitors(client) if _seen(each) < last]
            for id_ in gone:
                client.delete(f"/api/admin/users/{id_}").raise_for_status()
            return len(gone)
    except (httpx.HTTPError, LookupError, TypeError, ValueError) as error:
        raise UnreachableError(
            Code.GRAFANA_AWAY,
            f"Grafana at {access.grafana.url}: its accounts of visitors could not be looked at ({error or type(error).__name__})",
        ) from None


def forget(access: Access, user: int) -> bool:
    """Remove the account of the visitor who is CVAT's user of this id, and return whether there was one. Raises UnreachableError."""
    login = f"{user}@cvat"
    try:
        with access.grafana_client(30) as client:
            if str(client.get("/api/health").raise_for_status().json().get("version", "")).endswith(VIEWER):
                return False
            found = client.get("/api/users/lookup", params={"loginOrEmail": login})
            if found.status_code == httpx.codes.NOT_FOUND:
                return False
            client.delete(f"/api/admin/users/{found.raise_for_status().json()['id']}").raise_for_status()
            return True
    except (httpx.HTTPError, LookupError, TypeError, ValueError) as error:
        raise UnreachableError(
            Code.GRAFANA_AWAY,
            f"Grafana at {access.grafana.url}: the account {login} could not be removed ({error or type(error).__name__})",
        ) from None


def _visitors(client: httpx.Client) -> Iterator[dict[str, Any]]:
    page, found = 1, [dict[str, Any]()] * _PAGE
    while len(found) == _PAGE:
        found = client.get("/api/users", params={"perpage": _PAGE, "page": page}).raise_for_status().json()
        yield from (each for each in found if str(each["login"]).endswith(_LOGINS))
        page += 1


def _seen(user: dict[str, Any]) -> datetime:
    """Return when a visitor was there last. Of one who never was, Grafana says ten years before the account was made."""
    times = [datetime.fromisoformat(user[name]) for name in ("lastSeenAt", "created") if user.get(name)]
    return max(times) if times else datetime.now(UTC)

"""Give those a new password of whom only one can be valid: Grafana's administrator, and that of the events API.

Nobody sends events with them. Grafana keeps its own in its database, so it is told through its API; the secrets file holds the new
one as `NAME_next` from before that, so that a run that is cut off anywhere is completed by the next one.
"""

from __future__ import annotations

import secrets as random
from pathlib import Path
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.secrets import NEXT
from cvat_analytics.operate.rotation import Apply, Reach, Say
from cvat_analytics.rendering.files import GRAFANA_PASSWORD

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access

NAMES = ("grafana_admin", "events_api_admin")


def replace(name: str, path: Path, apply: Apply, reach: Reach, say: Say) -> None:
    """Change the password called `name` in the secrets file `path`, or complete a change.

    Raises CvatAnalyticsError when Grafana takes neither the old password nor the new one.
    """
    new = secrets.load(path).get(name + NEXT) or random.token_urlsafe(24)
    secrets.replace(path, {name + NEXT: new})
    if name == "grafana_admin":
        say("1 of 2: Grafana gets a new password of its administrator")
        with reach() as access:
            _tell_grafana(access, secrets.load(path)[name], new)
    secrets.replace(path, {name: new}, {name + NEXT})
    say(f"{'2 of 2' if name == 'grafana_admin' else '1 of 1'}: the hosts get it")
    apply()


def _tell_grafana(access: Access, old: str, new: str) -> None:
    import httpx

    path = "/api/user/password"
    try:
        with access.grafana_client(timeout=30) as client:
            answer = client.put(path, json={"oldPassword": old, "newPassword": new, "confirmNew": new})
            if answer.status_code == 401 and client.get("/api/user", auth=("admin", new)).is_success:
                return  # a run before this one has told it
    except httpx.HTTPError as error:
        raise CvatAnalyticsError(
            Code.GRAFANA_AWAY,
            f"Grafana at {access.grafana.url} does not answer ({type(error).__name__}): its administrator keeps the old password. Run the "
            "same command again when it does",
        ) from None
    if answer.status_code in (404, 405):
        return  # the viewer of the embedded stack knows no administrator
    if not answer.is_success:
        raise CvatAnalyticsError(
            Code.GRAFANA_LOGIN,
            f"Grafana refuses to change the password of its administrator (HTTP {answer.status_code}). Where somebody has changed it in "
            f"Grafana, set it on its host to that of the secrets file, then run this again:\n {GRAFANA_PASSWORD}",
        )

"""Give a user of ClickHouse, or who sends to Vector, a new password while events flow.

ClickHouse (or Vector) accepts the new password beside the old one before anybody uses it, and the old one until nobody does
any more. How far a change has come stands in the secrets file, so that a run that is cut off anywhere is completed by the
next one: `NAME_next` is accepted and not used yet, `NAME_previous` is accepted and not used any more, and `NAME_gone`
is not accepted any more once the files have been brought to the hosts.
"""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.secrets import GONE, NEXT, PREVIOUS

INGEST = "vector_ingest"
"""The password of all who send to a Vector that wants one (`vector_username`): the events API, a proxy, other producers."""
USERS = ("vector", "grafana", "events_api", "cvat", "admin", INGEST)
"""Whose passwords can be changed so: every user of ClickHouse, and who sends to Vector."""
OUTSIDE = ("cvat", INGEST)
"""Those who are told outside of this stack, between two runs."""
KNOWN_TO_WORK = (26, 7)
"""The oldest ClickHouse that is known to take two passwords of a user from its users file (ClickHouse PR 91998)."""
PATIENCE = 60.0
"""Seconds for ClickHouse to notice a changed users file; it looks every two."""

Apply = Callable[[], object]
"""Bring the files with the passwords to where they belong."""
Reach = Callable[[], AbstractContextManager[Access]]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Rotation:
    """The change of one user's password in the secrets file `path`."""

    user: str
    path: Path
    apply: Apply
    reach: Reach
    say: Say

    @property
    def name(self) -> str:
        """Return the password's name in the secrets file."""
        return self.user if self.user == INGEST else f"clickhouse_{self.user}"

    @property
    def guard(self) -> str:
        """Return who accepts the password."""
        return "Vector" if self.user == INGEST else "ClickHouse"

    @property
    def begun(self) -> bool:
        """Return whether a change is under way."""
        return bool(self._found(NEXT) or self._found(PREVIOUS) or self._found(GONE))

    def run(self, finish: bool = True) -> bool:
        """Change the password, or complete a change; without `finish` the old one stays accepted. Return whether it is done.

        Raises CvatAnalyticsError when ClickHouse does not do as the files say; the next run goes on from there.
        """
        if not self.begun:
            self._rewrite(add={NEXT: random.token_urlsafe(24)})
        if new := self._found(NEXT):
            self.say(f"1 of 3: {self.guard} accepts a second password of {self.user}")
            self.apply()
            self._await(new, accepted=True)
            self._rewrite(add={"": new, PREVIOUS: self._found("")}, remove=NEXT)
        if old := self._found(PREVIOUS):
            self.say(f"2 of 3: {self.user} uses the new one")
            self.apply()
            self._await(self._found(""), accepted=True)
            if not finish:
                return False
            self._rewrite(add={GONE: old}, remove=PREVIOUS)
        if gone := self._found(GONE):
            self.say(f"3 of 3: {self.guard} forgets the old one")
            self.apply()
            self._await(gone, accepted=False)
            self._rewrite(add={}, remove=GONE)
        return True

    def _found(self, suffix: str) -> str:
        return secrets.load(self.path).get(self.name + suffix, "")

    def _rewrite(self, add: dict[str, str], remove: str = "") -> None:
        secrets.replace(
            self.path,
            {self.name + suffix: value for suffix, value in add.items()},
            {self.name + remove} if remove else set(),
        )

    def _await(self, password: str, *, accepted: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        with self.reach() as access:
            while (status := login(access, self.user, password)) not in ((200,) if accepted else (401, 403)):
                if time.monotonic() > deadline:
                    raise CvatAnalyticsError(
                        Code.ROTATION_NOT_TAKEN,
                        f"{self.guard} {'does not accept the new' if accepted else 'still accepts the old'} password of {self.user} "
                        f"{PATIENCE:.0f} s after its users file was changed (its answer: {status or 'none'}). See its log; running the same command "
                        "again goes on from here",
                    )
                time.sleep(0.3)


def refuse_old(version: str) -> None:
    """Raise InputError when the ClickHouse of the settings is not known to take two passwords of a user."""
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < KNOWN_TO_WORK:
        raise InputError(
            Code.ROTATION_VERSION,
            f"ClickHouse {version}: is not known to accept two passwords of a user, which a change without a gap needs; "
            f"{'.'.join(map(str, KNOWN_TO_WORK))} does. Set 'clickhouse_version' to a newer one and deploy first",
        )


def login(access: Access, user: str, password: str) -> int:
    """Return the HTTP status of the answer to that login, ClickHouse's or Vector's, 0 when there is none."""
    import httpx

    if user == INGEST:
        name = access.vector.settings.vector_username or ""
        try:
            with http_client(
                access.vector.url, access.vector.tls(), timeout=5, login=(name, password)
            ) as sending:
                # a request without an event in it
                return sending.post(
                    "/", content=b"[]", headers={"Content-Type": "application/json"}
                ).status_code
        except httpx.HTTPError:
            return 0
    endpoint = access.clickhouse_for(user)
    try:
        with http_client(endpoint.url, endpoint.tls(), timeout=5) as asking:
            login = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
            return asking.get("/", params={"query": "SELECT 1"}, headers=login).status_code
    except httpx.HTTPError:
        return 0

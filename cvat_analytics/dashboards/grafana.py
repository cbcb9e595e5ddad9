"""The dashboards of a running Grafana, through its HTTP API.

https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/. A dashboard that came from a file can be saved this
way only while the provider has `allowUiUpdates`, which ours has.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client, no_answer

FOLDER = "CVAT"
"""The folder into which the provider puts our dashboards (templates/grafana/dashboards.yaml.j2)."""
_TIMEOUT = 15.0
VIEWER = "-viewer"
"""What the version of the embedded viewer ends with, which answers some of these calls too."""
_CLASSIC = ("v1", "v1beta1")
"""Versions of Grafana's newer API whose dashboards are the classic JSON, the best first."""


@dataclass(frozen=True)
class Found:
    """A dashboard as the search lists it."""

    uid: str
    title: str
    folder: str = ""
    """The title of the folder that it is in; empty for Grafana's own."""


@dataclass(frozen=True)
class Elsewhere:
    """A Grafana that is not the stack's own, such as the one of CVAT's stock compose, which lets everybody in."""

    url: str
    login: tuple[str, str] | None = field(default=None, repr=False)

    def grafana_client(self, timeout: float) -> httpx.Client:
        """Return a client of it; nothing has been asked yet."""
        trust = ssl.create_default_context() if self.url.startswith("https:") else None
        return http_client(self.url, trust, timeout=timeout, login=self.login)


class Grafana:
    """A Grafana that has answered."""

    def __init__(self, access: Access | Elsewhere) -> None:
        """Log in: to the stack's own as administrator. Raises UnreachableError when there is no Grafana, or it refuses the login."""
        self._access = access
        if isinstance(access, Elsewhere):
            self.address = access.url
            self._refused = f"Grafana at {self.address} lets nobody in who is not known to it. Give --grafana-user and --grafana-password-file"
        else:
            self.address = f"{access.grafana.url}{access.grafana.settings.grafana_path}"
            self._refused = (
                f"Grafana at {self.address} refuses the login of admin. If its password was changed in Grafana, put the new "
                "one into the secrets file"
            )
        with self._errors("its version"):
            self.version = str(self._ask("GET", "/api/health").get("version", ""))
        if self.version.endswith(VIEWER):
            raise UnreachableError(
                Code.GRAFANA_ABSENT,
                f"there is no Grafana at {self.address}: this stack runs the viewer, which shows the dashboard files as "
                "`cvat-analytics up` has put them there. Install Grafana, so that it is on PATH, or give --inventory",
            )

    def list(self) -> list[Found]:
        """Return all dashboards."""
        with self._errors("its dashboards"):
            listed = self._ask("GET", "/api/search", params={"type": "dash-db", "limit": 5000})
        return [Found(item["uid"], item["title"], item.get("folderTitle", "")) for item in listed]

    def is_provisioned(self, uid: str) -> bool:
        """Return whether a dashboard came from a file; one in the newer form did not, as files have the classic one."""
        with self._errors(f"dashboard {uid}"):
            try:
                return bool(self._ask("GET", f"/api/dashboards/uid/{uid}")["meta"].get("provisioned"))
            except httpx.HTTPStatusError as error:
                if error.response.status_code != 406:
                    raise
                return False

    def count(self, path: str) -> int | None:
        """Return how many things the answer to `path` lists; None where this login may not see them, or there is nothing of the kind."""
        with self._errors(path):
            try:
                return len(self._ask("GET", path))
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in (401, 403, 404):
                    raise
                return None

    def read(self, uid: str) -> dict[str, Any] | None:
        """Return a dashboard in the classic JSON, or None when there is none.

        Raises CvatAnalyticsError for one that cannot be had in that form.
        """
        with self._errors(f"dashboard {uid}"):
            try:
                return dict(self._ask("GET", f"/api/dashboards/uid/{uid}")["dashboard"])
            except httpx.HTTPStatusError as error:
                if error.response.status_code == 404:
                    return None
                # Grafana 12 and later say so of what its newer editor has stored in its newer form
                if error.response.status_code != 406:
                    raise
            return self._converted(uid)

    def _converted(self, uid: str) -> dict[str, Any]:
        """Return a dashboard that is stored in the newer form, as Grafana itself converts it back."""
        # https://grafana.com/docs/grafana/latest/developer-resources/api-reference/http-api/apis/
        offered = self._ask("GET", "/apis/dashboard.grafana.app")
        versions = {each["version"] for each in offered.get("versions", [])}
        version = next((each for each in _CLASSIC if each in versions), None)
        if version is None:
            raise CvatAnalyticsError(
                Code.DASHBOARD_FORM,
                f"Grafana cannot give dashboard {uid} in the classic form (it offers {', '.join(sorted(versions))}). "
                "Export it by hand: Export, Export as JSON, model Classic",
            )
        stored = self._ask(
            "GET", f"/apis/dashboard.grafana.app/{version}/namespaces/default/dashboards/{uid}"
        )
        conversion = stored.get("status", {}).get("conversion", {})
        if conversion.get("failed"):
            raise CvatAnalyticsError(
                Code.DASHBOARD_FORM,
                f"Grafana cannot convert dashboard {uid} to the classic form: {conversion.get('error', 'no reason given')}. "
                "Take out what the classic form does not have, such as tabs and rules for showing a panel",
            )
        return {**stored["spec"], "uid": uid}

    def write(self, model: Mapping[str, Any], message: str, folder: str = FOLDER) -> None:
        """Save a dashboard over whatever Grafana has of it, a new one in `folder`. Raises CvatAnalyticsError when Grafana refuses."""
        with self._errors(f"saving dashboard {model['title']!r}"):
            uid = self._folder_of(str(model["uid"]), folder)
            body = {"dashboard": dict(model), "folderUid": uid, "message": message, "overwrite": True}
            self._ask("POST", "/api/dashboards/db", json=body)

    def _folder_of(self, uid: str, title: str = FOLDER) -> str:
        """Return the uid of the folder that a dashboard is in; of a new one, that of the folder with that title."""
        try:
            return str(self._ask("GET", f"/api/dashboards/uid/{uid}")["meta"].get("folderUid", ""))
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in (404, 406):
                raise
        folders = {each["title"]: each["uid"] for each in self._ask("GET", "/api/folders")}
        return str(folders.get(title) or self._ask("POST", "/api/folders", json={"title": title})["uid"])

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        """Return the JSON of the answer to a request. Raises httpx.HTTPError, or ValueError when it is none."""
        with self._access.grafana_client(_TIMEOUT) as client:
            return client.request(method, path, **more).raise_for_status().json()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 401:
                raise UnreachableError(Code.GRAFANA_LOGIN, self._refused) from None
            raise CvatAnalyticsError(
                Code.GRAFANA_REFUSES, f"Grafana, {what}: {complaint(error.response)}"
            ) from None
        except (httpx.HTTPError, ValueError) as error:
            # ValueError: an answer that is not JSON, so somebody else's
            raise UnreachableError(
                Code.GRAFANA_AWAY,
                f"Grafana at {self.address} cannot be reached: {_short(no_answer(self.address, error))}",
            ) from None


def complaint(answer: httpx.Response) -> str:
    """Return what Grafana says about a request that it refuses."""
    try:
        message = answer.json()["message"]
    except (ValueError, LookupError, TypeError):
        message = answer.text
    return f"HTTP {answer.status_code} {_short(message)}".rstrip()


def _short(text: object) -> str:
    return " ".join(str(text).split())[:200]

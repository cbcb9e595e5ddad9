"""The dashboards of a running Grafana, through its HTTP API.

https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/. A dashboard that came from a file can be saved this
way only while the provider has `allowUiUpdates`, which ours has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from grafana_client.client import GrafanaException, GrafanaUnauthorizedError

from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.connect.access import Access

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


class Grafana:
    """A Grafana that has answered."""

    def __init__(self, access: Access) -> None:
        """Log in as administrator. Raises UnreachableError when there is no Grafana, or it refuses the login."""
        self.address = f"{access.grafana.url}{access.grafana.settings.grafana_path}"
        self._api: Any = access.grafana_api(_TIMEOUT)
        with self._errors("its version"):
            version = str(self._api.client.GET("/health").get("version", ""))
        if version.endswith(VIEWER):
            raise UnreachableError(
                f"there is no Grafana at {self.address}: this stack runs the viewer, which shows the dashboard files as "
                "`cvat-analytics up` has put them there. Install Grafana, so that it is on PATH, or give --inventory"
            )

    def list(self) -> list[Found]:
        """Return all dashboards."""
        with self._errors("its dashboards"):
            return [
                Found(item["uid"], item["title"])
                for item in self._api.search.search_dashboards(type_="dash-db", limit=5000)
            ]

    def read(self, uid: str) -> dict[str, Any] | None:
        """Return a dashboard in the classic JSON, or None when there is none.

        Raises CvatAnalyticsError for one that cannot be had in that form.
        """
        with self._errors(f"dashboard {uid}"):
            try:
                return dict(self._api.dashboard.get_dashboard(uid)["dashboard"])
            except GrafanaException as error:
                if error.status_code == 404:
                    return None
                # Grafana 12 and later say so of what its newer editor has stored in its newer form
                if error.status_code != 406:
                    raise
            return self._converted(uid)

    def _converted(self, uid: str) -> dict[str, Any]:
        """Return a dashboard that is stored in the newer form, as Grafana itself converts it back."""
        # the client's addresses end in /api; the newer API is beside it, in /apis
        # https://grafana.com/docs/grafana/latest/developer-resources/api-reference/http-api/apis/
        offered = self._api.client.GET("s/dashboard.grafana.app")
        versions = {each["version"] for each in offered.get("versions", [])}
        version = next((each for each in _CLASSIC if each in versions), None)
        if version is None:
            raise CvatAnalyticsError(
                f"Grafana cannot give dashboard {uid} in the classic form (it offers {', '.join(sorted(versions))}). "
                "Export it by hand: Export, Export as JSON, model Classic"
            )
        stored = self._api.client.GET(
            f"s/dashboard.grafana.app/{version}/namespaces/default/dashboards/{uid}"
        )
        conversion = stored.get("status", {}).get("conversion", {})
        if conversion.get("failed"):
            raise CvatAnalyticsError(
                f"Grafana cannot convert dashboard {uid} to the classic form: {conversion.get('error', 'no reason given')}. "
                "Take out what the classic form does not have, such as tabs and rules for showing a panel"
            )
        return {**stored["spec"], "uid": uid}

    def write(self, model: Mapping[str, Any], message: str) -> None:
        """Save a dashboard over whatever Grafana has of it. Raises CvatAnalyticsError when Grafana refuses."""
        with self._errors(f"saving dashboard {model['title']!r}"):
            folder = self._folder_of(str(model["uid"]))
            self._api.dashboard.update_dashboard(
                {"dashboard": dict(model), "folderUid": folder, "message": message, "overwrite": True}
            )

    def _folder_of(self, uid: str) -> str:
        """Return the uid of the folder that a dashboard is in; of a new one, that of our folder."""
        try:
            return str(self._api.dashboard.get_dashboard(uid)["meta"].get("folderUid", ""))
        except GrafanaException as error:
            if error.status_code not in (404, 406):
                raise
        folders = {each["title"]: each["uid"] for each in self._api.folder.get_all_folders()}
        return str(folders.get(FOLDER) or self._api.folder.create_folder(FOLDER)["uid"])

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except GrafanaUnauthorizedError:
            raise UnreachableError(
                f"Grafana at {self.address} refuses the login of admin. If its password was changed in Grafana, put the new "
                "one into the secrets file"
            ) from None
        except GrafanaException as error:
            raise CvatAnalyticsError(f"Grafana, {what}: {_short(error)}") from None
        except (OSError, ValueError) as error:
            # ValueError: an answer that is not JSON, so somebody else's
            raise UnreachableError(f"Grafana at {self.address} cannot be reached: {_short(error)}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

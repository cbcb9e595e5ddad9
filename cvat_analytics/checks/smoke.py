"""Prove that a stack works, from outside, as its users use it: the smoke test.

Most checks are cases (smoke_case.py). The rest asks the parts about themselves, first of all whether they are there (causes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from clickhouse_connect.driver.exceptions import ClickHouseError

from cvat_analytics import dashboards
from cvat_analytics.base.addresses import real
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import causes, smoke_case
from cvat_analytics.checks.causes import Check, Result, SkippedError, within
from cvat_analytics.checks.datasource import answered, read_events
from cvat_analytics.checks.smoke_case import Case, read_cases
from cvat_analytics.checks.smoke_export import export
from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import answered_rows, error_text
from cvat_analytics.connect.http import http_client, no_answer
from cvat_analytics.dashboards.grafana import VIEWER
from cvat_analytics.rendering.files import GRAFANA_PASSWORD, UNITS
from cvat_analytics.store import migrations, rebuild, smoke_events, ways_in

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_ROOM = "disk-space"
_SCHEMA = "schema-version"
_READABLE = "01-event-is-readable"
_ALIVE = {
    "clickhouse": "/ping",
    "vector": "/ping",
    "grafana": "GRAFANA/api/health",
    "events_api": "/health",
    "gateway": "GRAFANA/",
}
"""Each part, and what it is asked to see whether it is there; of whether the answer is good others judge."""  # fmt: skip


def run(access: Access) -> Iterator[Result]:
    """Yield the result of each check, in order, within a minute. What the test has sent is removed at the end.

    Raises UnreachableError when the connection to a host is lost: no check has failed then, they could not be made.
    """
    marker = smoke_events.new_marker()
    smoke = Smoke(access, marker)
    try:
        for result in causes.results(smoke.checks(), causes.WHOLE_SECONDS):
            if result.passed is False:
                access.ensure_connected()
            yield result
    finally:
        smoke.tidy_up()


class Smoke:
    """One run of the smoke test. `marker` is in all that it sends."""

    def __init__(self, access: Access, marker: str) -> None:
        self.access, self.marker = access, marker
        self._clients: dict[str, Client] = {}

    def looks(self) -> list[Check]:
        """Return the checks that only look: whether parts answer, let their users in, and have the schema."""
        users = ["admin", "vector", "grafana", *(["events_api"] if self.access.events_api else [])]
        return [
            Check(_ROOM, "run it again when there is room", self._room, code=Code.DISK_FULL),
            *(self._part(part, endpoint) for part in _ALIVE if (endpoint := getattr(self.access, part))),
            *(self._login(user) for user in users),
            Check(
                _SCHEMA,
                "look at `cvat-analytics deploy --dry`",
                self._schema,
                ["login-admin"],
                code=Code.SCHEMA_BEHIND,
            ),
        ]

    def checks(self) -> list[Check]:
        """Return the checks of this stack, each after those that it needs."""
        return [
            *self.looks(),
            *(self._case(case) for case in read_cases()),
            Check(
                "events-api-export",
                "see the events API's log",
                lambda: export(self.access, self.marker),
                # beside a CVAT it says at once that it has nothing to check
                [] if self.access.asked_cvat else [_ROOM, "events-api", "login-events_api", _READABLE],
                code=Code.EXPORT_UNPROVEN,
            ),
            *self._dashboards(),
            *self._grafana(),
        ]

    def tidy_up(self) -> None:
        """Remove what this run has sent, and what others have left; no longer than a little while."""
        client = self._clients.get("admin")
        if client is None:
            # ClickHouse is away: a check has already failed, and nothing could have been stored
            return
        try:
            within(
                causes.TIDYING_SECONDS,
                lambda: smoke_events.remove(client, self.access.database, self.marker),
            )
        except CvatAnalyticsError:
            # the next run does it
            return

    def rows(self, user: str, query: str, **parameters: str) -> Sequence[Sequence[Any]]:
        """Return what ClickHouse answers `user`. Raises ClickHouseError, or CvatAnalyticsError for what is no answer."""
        return answered_rows(self._client(user), query, parameters)

    def _client(self, user: str) -> Client:
        if user not in self._clients:
            client = self.access.client(user, timeout=causes.STEP_SECONDS)
            client.database = self.access.database
            self._clients[user] = client
        return self._clients[user]

    def _part(self, part: str, endpoint: Endpoint) -> Check:
        def answers() -> str:
            path = _ALIVE[part].replace("GRAFANA", endpoint.settings.grafana_path, 1)
            try:
                with http_client(endpoint.url, endpoint.tls(), timeout=causes.STEP_SECONDS / 2) as asking:
                    answer = asking.get(path)
            except httpx.HTTPError as error:
                raise UnreachableError(
                    Code.PART_NOT_ANSWERING,
                    f"{endpoint.url} does not answer ({no_answer(endpoint.url, error)})",
                ) from None
            return real(f"{endpoint.url} answers (HTTP {answer.status_code})")

        return Check(
            part.replace("_", "-"),
            f"see `cvat-analytics status`, and on its host `journalctl -u {UNITS[part]}`",
            answers,
            # without room Vector takes nothing
            suspects=[_ROOM],
            is_part=True,
            code=Code.PART_NOT_ANSWERING,
        )

    def _login(self, user: str) -> Check:
        def comes_in() -> str:
            self.rows(user, "SELECT 1")
            return f"ClickHouse lets in the user {user}"

        return Check(
            f"login-{user}",
            f"ClickHouse has another password for {user} than the stack's secrets, or does not let it in from there: deploy again",
            comes_in,
            ["clickhouse"],
            speaks_for="clickhouse",
            code=Code.CLICKHOUSE_LOGIN,
        )

    def _room(self) -> str:
        found = self.access.volumes()
        if full := [volume for volume in found if volume.refuses]:
            raise CvatAnalyticsError(Code.DISK_FULL, "; ".join(map(str, full)))
        if not found:
            raise SkippedError("no host says how much is free on its disks")
        return f"there is room on {len(found)} disk{'s' if len(found) > 1 else ''}"

    def _schema(self) -> str:
        database = self.access.database
        scripts = migrations.read(ROOT / "clickhouse")
        applied = {
            str(name): str(checksum)
            for name, checksum in self.rows("admin", migrations.applied_query(database))
        }
        pending = migrations.pending(scripts, applied)
        if rebuild.pending(scripts, applied):
            raise CvatAnalyticsError(
                Code.SCHEMA_BEHIND,
                f"the table {database}.{rebuild.TABLE} is one of an earlier version and still to be rebuilt",
            )
        if pending:
            raise CvatAnalyticsError(
                Code.SCHEMA_BEHIND,
                f"database {database} lacks {', '.join(script.name for script in pending)}",
            )
        ((broken,),) = self.rows("admin", ways_in.broken_query(database))
        if broken:
            raise CvatAnalyticsError(Code.SCHEMA_BEHIND, f"{ways_in.problem(database, broken)}: deploy again")
        return f"database {database} has all {len(scripts)} scripts"

    def _case(self, case: Case) -> Check:
        needs = [case.request.part] if case.request else ["clickhouse", f"login-{case.user}"]
        return Check(
            case.name,
            case.advice,
            lambda: smoke_case.run(self.access, case, self.marker, partial(self.rows, case.user)),
            [*([_ROOM, "vector"] if case.events else []), *needs, *case.needs],
            # the gateway asks the events API who somebody is
            ["events-api"] if case.request else [_SCHEMA],
        )

    def _dashboards(self) -> Iterator[Check]:
        """Run every query of each dashboard as the user grafana, for its default range and no filter."""
        now = datetime.now(UTC)
        week = dashboards.TimeRange(now - timedelta(days=7), now)
        for dashboard in dashboards.load():

            def answers(dashboard: dashboards.Dashboard = dashboard) -> str:
                for query in dashboard.queries:
                    try:
                        self.rows("grafana", dashboards.expand(query, dashboard, week))
                    except ClickHouseError as error:
                        if not getattr(error, "name", None):
                            raise
                        raise CvatAnalyticsError(
                            Code.CLICKHOUSE_REFUSES, f"{query.where}: {error_text(error)}"
                        ) from None
                return f"all {len(dashboard.queries)} queries of the dashboard {dashboard.title!r} answer"

            yield Check(
                f"dashboard-{dashboard.file.stem}",
                "`cvat-analytics deploy` brings the schema to what the dashboards need",
                answers,
                ["login-grafana"],
                [_SCHEMA],
                code=Code.CLICKHOUSE_REFUSES,
            )

    def _grafana(self) -> Iterator[Check]:
        """Ask Grafana for what it reads through its datasource, and whether it has the dashboards."""

        def get[T](path: str, shape: type[T], **parameters: str) -> T:
            with self.access.grafana_client(timeout=causes.STEP_SECONDS) as grafana:
                return answered(grafana.get(path, params=parameters), shape)

        def comes_in() -> str:
            get("/api/search", list, type="dash-db", limit="1")
            return "Grafana lets in its administrator"

        def datasource() -> str:
            # its health is a ping, which comes back while each query is refused
            who = "Grafana"
            if str(get("/api/health", dict).get("version", "")).endswith(VIEWER):
                who = "the embedded viewer, which stands in for Grafana, its plugin and the plugin's driver here,"
            with self.access.grafana_client(timeout=causes.STEP_SECONDS) as grafana:
                events, seconds = read_events(grafana)
            return f"{who} reads {events:.0f} events of the last hour through its datasource, in a query that may take {seconds:g} s"

        def provisioned() -> str:
            found = get("/api/search", list, type="dash-db")
            present = {item.get("uid") for item in found if isinstance(item, dict)}
            missing = [dashboard.title for dashboard in dashboards.load() if dashboard.uid not in present]
            if missing:
                raise CvatAnalyticsError(
                    Code.DASHBOARDS_ABSENT, f"Grafana lacks the dashboards {', '.join(missing)}"
                )
            return f"Grafana has all {len(dashboards.load())} dashboards"

        yield Check(
            "login-grafana-administrator",
            f"Grafana keeps the password of its first start: on its host, `{GRAFANA_PASSWORD}` sets the one in the "
            "stack's secrets (docs/how-to/change-a-password.md)",
            comes_in,
            ["grafana"],
            code=Code.GRAFANA_LOGIN,
        )
        yield Check(
            "grafana-datasource",
            "see Grafana's log, and whether the plugin is installed. Code 452: its driver asks for more than users.d allows; deploy again",
            datasource,
            ["login-grafana-administrator", "login-grafana"],
            [_SCHEMA],
            code=Code.DATASOURCE_FAILS,
        )
        yield Check(
            "grafana-dashboards",
            "see Grafana's log for its provisioning",
            provisioned,
            ["login-grafana-administrator"],
            code=Code.DASHBOARDS_ABSENT,
        )

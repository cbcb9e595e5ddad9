"""How a command reaches a running stack, whether embedded, on this machine, or behind SSH."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cvat_analytics.base.addresses import refusal
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import RefusedLoginError, UnreachableError
from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.connect.clickhouse_errors import error_text
from cvat_analytics.connect.http import http_client

if TYPE_CHECKING:
    import httpx
    from clickhouse_connect.driver.client import Client

    from cvat_analytics.connect.clocks import Clock
    from cvat_analytics.connect.volumes import Volume

# Every error is raised as well: without a handler of its own the driver's log goes onto standard error
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Access:
    """The way from here to each component, and the passwords."""

    clickhouse: Endpoint
    vector: Endpoint
    grafana: Endpoint
    events_api: Endpoint | None = None
    """None where the stack has none, as the next two."""
    gateway: Endpoint | None = None
    gateway_http: Endpoint | None = None
    """The gateway's port without TLS, which sends everybody on to the other."""
    clickhouse_as: Mapping[str, Endpoint] = field(default_factory=dict)
    """Where else ClickHouse is reached as a user whom it lets in only from the host of its component."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    away: Mapping[str, str] = field(default_factory=dict)
    """Of each host to which there is no way, the line that says why and what to do."""
    ensure_connected: Callable[[], None] = field(default=lambda: None, repr=False)
    """Raises UnreachableError when a connection over which this way goes has been lost; whoever takes failures for results asks it."""
    clocks: Callable[[], Sequence[Clock]] = field(default=lambda: (), repr=False)
    """Asks the hosts that are reached over SSH for the time. This machine's own clock has nobody to be compared with."""
    volumes: Callable[[], Sequence[Volume]] = field(default=lambda: (), repr=False)
    """Asks how much is free where the data of the parts lies, as far as their hosts say it."""

    @property
    def database(self) -> str:
        """Return the name of the stack's database."""
        return self.clickhouse.settings.database

    @property
    def vector_login(self) -> tuple[str, str] | None:
        """Return the name and the password without which Vector takes nothing; None where it asks for none."""
        name = self.vector.settings.vector_username
        return (name, self.secrets["vector_ingest"]) if name else None

    @property
    def asked_cvat(self) -> str:
        """Return the CVAT that the events API asks who somebody is; empty where it goes by the file of local users."""
        return self.events_api.settings.asked_cvat if self.events_api else ""

    def clickhouse_for(self, user: str) -> Endpoint:
        """Return where ClickHouse lets in `user`."""
        return self.clickhouse_as.get(user, self.clickhouse)

    def client(self, user: str = "admin", *, timeout: float = 300) -> Client:
        """Return a ClickHouse client logged in as `user` to the stack's database, which waits `timeout` seconds for an answer.

        Raises UnreachableError when ClickHouse does not answer or refuses the login, UnreachableHostError where there is no way to its host.
        """
        # half a second of every command's start, for those that need it
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import ClickHouseError
        from clickhouse_connect.driver.httputil import default_pool_manager, get_pool_manager

        endpoint = self.clickhouse_for(user)
        host, port = endpoint.address
        # the driver takes the environment's proxy unless it is given where its connections come from
        connections = default_pool_manager()
        if trust := endpoint.trust:
            # the name is that of the host behind a forwarded port
            connections = get_pool_manager(
                ca_cert=str(trust.authority), server_hostname=trust.name, assert_hostname=trust.name
            )
        try:
            return clickhouse_connect.get_client(
                host=host,
                port=port,
                username=user,
                password=self.secrets[f"clickhouse_{user}"],
                connect_timeout=5,
                send_receive_timeout=math.ceil(timeout),
                # each reader's limits are in its profile; the driver must not try to change them
                autogenerate_session_id=False,
                query_retries=0,
                # The driver has ClickHouse hold back each answer until it is whole: in a file, and on a full disk every answer is
                # empty, with status 200. This much of it is held in memory instead.
                settings={"buffer_size": 2**26},
                secure=trust is not None,
                pool_mgr=connections,
            )
        except (ClickHouseError, OSError) as error:
            reason = refusal((host, port)) or error_text(error)
            text = f"ClickHouse at {host}:{port} cannot be reached as {user}: {reason}"
            if getattr(error, "name", None):
                raise RefusedLoginError(Code.CLICKHOUSE_LOGIN, text) from None
            raise UnreachableError(Code.CLICKHOUSE_AWAY, text) from None

    def grafana_client(self, timeout: float) -> httpx.Client:
        """Return a client of Grafana, as the administrator; nothing has been asked yet."""
        address = f"{self.grafana.url}{self.grafana.settings.grafana_path}"
        login = ("admin", self.secrets["grafana_admin"])
        return http_client(address, self.grafana.tls(), timeout=timeout, login=login)


def pairs(client: Client, query: str) -> dict[str, str]:
    """Return the rows of a query with two columns as a mapping."""
    return {str(key): str(value) for key, value in client.query(query).result_rows}

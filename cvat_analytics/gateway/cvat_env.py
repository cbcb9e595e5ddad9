"""What the CVAT side has to be told: where events go, where its own ClickHouse queries go, where the dashboards are.

The names are CVAT's own (its docker-compose.yml and components/analytics/docker-compose.analytics.yml).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config.endpoints import EVERYWHERE, LOOPBACK
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.topology import Topology
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.gateway import compose, gateway, no_proxy, traefik

STOCK_SERVICES = ("cvat_clickhouse", "cvat_vector", "cvat_grafana")
"""What this stack takes the place of."""
CLIENTS = (
    "cvat_server", "cvat_utils", "cvat_worker_annotation", "cvat_worker_chunks", "cvat_worker_consensus", "cvat_worker_export",
    "cvat_worker_import", "cvat_worker_quality_reports", "cvat_worker_webhooks",
)  # fmt: skip
"""CVAT's services that send events or read them, as of CVAT 2.40; `cvats_services` finds those of another version."""
PROXY = "traefik"
SERVICES: Mapping[str, no_proxy.Lists] = {
    **{name: {"no_proxy": "clickhouse,grafana,vector,nuclio,opa,${no_proxy:-}"} for name in CLIENTS},
    **{name: {} for name in (PROXY, *STOCK_SERVICES)},
}
"""The services that CVAT 2.40 has, and what they keep off a proxy."""
RULE = "./analytics.yml"
"""What `as_traefik` returns, as a file beside CVAT's docker-compose.yml."""
AUTHORITY = "./cvat-analytics-ca.pem"
"""The stack's `certificates/ca.pem` as a file beside CVAT's docker-compose.yml."""
_TRUSTED = "/etc/ssl/cvat-analytics-ca.pem"


def _mount(source: str, target: str) -> dict[str, Any]:
    # otherwise docker makes a directory of a file that is not there
    file = {"type": "bind", "source": source, "target": target, "read_only": True}
    return {**file, "bind": {"create_host_path": False}}


@dataclass(frozen=True)
class Environment:
    """The settings for CVAT, what stands in the way of using them, and what files of this stack's it needs."""

    values: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())
    rule: bool = False
    authority: bool = False
    """Whether CVAT has to trust the stack's own authority."""
    backend: tuple[str, ...] = ()
    """The addresses that CVAT's backend connects to."""
    proxy: tuple[str, ...] = ()
    """The addresses that CVAT's traefik connects to."""
    refused: str = ""
    """Why these settings are of no use to any CVAT."""


def environment(topology: Topology, embedded: bool = False) -> Environment:
    """Return what CVAT has to be told about the stack of `topology`, without the password."""
    settings = topology.settings
    ingest, store = (topology.groups[group][0] for group in ("vector", "clickhouse"))
    notes: list[str] = []
    refused: list[str] = []

    def address(host: str, listens: Sequence[str], what: str, setting: str) -> str:
        endpoint = reachable(settings[host], host, listens)
        if _is_link_local(endpoint):
            refused.append(
                f"{what} is at {endpoint!r} ({setting!r}), a link-local address: it counts on one link of one host, and CVAT's "
                "containers have a network of their own. Set an address that is routed (fd00::/8 or a public one), or an IPv4 one"
            )
        if endpoint == LOOPBACK and not embedded:
            notes.append(
                f"{what} listens on {LOOPBACK} only, which a CVAT on another machine or in a container does not reach: set {setting!r}"
            )
        return endpoint

    events = address(ingest, (settings[ingest].vector_listen_address,), "Vector", "vector_listen_address")
    exports = address(
        store, topology.clickhouse_listen_addresses(), "ClickHouse", "clickhouse_listen_addresses"
    )
    values = {
        "CVAT_ANALYTICS": "1",
        "DJANGO_LOG_SERVER_HOST": _in_url(events),
        "DJANGO_LOG_SERVER_PORT": str(settings[ingest].vector_port),
        "CLICKHOUSE_HOST": _in_url(exports),
        "CLICKHOUSE_PORT": str(_clickhouse_port(settings[store])),
        "CLICKHOUSE_DB": settings[store].database,
        "CLICKHOUSE_USER": "cvat",
    }
    view, listens, what, setting = _entrance(topology)
    behind = not topology.groups["gateway"] or gateway.behind_cvat(settings[view])
    viewer = address(view, (listens,), what, setting) if behind else ""  # or CVAT's proxy hands nothing on
    if not topology.groups["gateway"]:
        values |= {
            "DJANGO_LOG_VIEWER_HOST": _in_url(viewer),
            "DJANGO_LOG_VIEWER_PORT": str(settings[view].grafana_port),
        }
    if not settings[store].clickhouse_allowed_addresses and not embedded:
        notes.append(
            "ClickHouse lets nobody from another machine in as cvat: set 'clickhouse_allowed_addresses' to CVAT's address"
        )
    if settings[ingest].firewall and not settings[ingest].vector_allowed_addresses and events != LOOPBACK:
        notes.append("the firewall keeps CVAT's events out: set 'vector_allowed_addresses' to CVAT's address")
    notes += _notes_on_tls(settings[store], settings[ingest])
    rule = not embedded and traefik.needed(topology)
    if rule:
        notes.append(
            "CVAT's own traefik rule does not fit this stack: mount the one that --format traefik prints"
        )
    if not embedded:
        notes += (_notes_on_gateway if topology.groups["gateway"] else _notes_on_grafana)(settings[view])
    proxied = (viewer, str(urlsplit(traefik.CVAT_SERVER).hostname) if rule else "")
    return Environment(
        values, tuple(notes), rule, settings[store].clickhouse_tls,
        tuple(dict.fromkeys((events, exports))), tuple(filter(None, proxied)), "; ".join(refused),
    )  # fmt: skip


def _is_link_local(address: str) -> bool:
    try:
        described = ip_address(address)
    except ValueError:
        return False
    return described.version == 6 and described.is_link_local


def _in_url(address: str) -> str:
    """Return `address` as CVAT's clients put it, unchanged, before `:PORT` in a URL.

    That is so for events (logstash-async), for the dashboards (traefik's rule) and for exports: clickhouse-connect before 1.8 puts no
    brackets around an address itself, and later ones leave those that are there.
    """
    return f"[{address}]" if ":" in address else address


def _clickhouse_port(settings: Settings) -> int:
    return settings.clickhouse_https_port if settings.clickhouse_tls else settings.clickhouse_http_port


def _notes_on_tls(store: Settings, ingest: Settings) -> list[str]:
    """Return what CVAT's own clients need to speak TLS: that of ClickHouse (clickhouse-connect) can, that of Vector cannot."""
    notes = []
    if store.clickhouse_tls:
        notes.append(
            "CVAT has to trust the stack's certificates/ca.pem, or its exports fail: --format compose mounts it as "
            f"{AUTHORITY} and names it in SSL_CERT_FILE"
        )
        # its driver goes by the port alone (clickhouse_connect/driver/__init__.py, create_client)
        if store.clickhouse_https_port not in (443, 8443):
            notes.append(
                "CVAT speaks TLS to ClickHouse on port 8443 or 443 and on no other: set 'clickhouse_https_port' to one of them"
            )
    if ingest.vector_speaks_tls:
        setting = "vector_tls_certificate" if ingest.vector_tls_certificate else "vector_tls"
        notes.append(
            f"CVAT sends its events by plain HTTP, which Vector does not take: leave {setting!r} out, or put a proxy in between"
        )
    return notes


def reachable(settings: Settings, host: str, listens: Sequence[str]) -> str:
    """Return where another machine reaches what `listens` on these addresses of `host`; loopback if it does not."""
    own = [each for each in listens if each not in (LOOPBACK, "::1", *EVERYWHERE)]
    if own:
        return own[0]
    return str(settings.address or host) if set(listens) & set(EVERYWHERE) else LOOPBACK


def _entrance(topology: Topology) -> tuple[str, str, str, str]:
    """Return through what people come in: its host, where it listens, what it is called, and which setting says so."""
    if topology.groups["gateway"]:
        host = topology.groups["gateway"][0]
        return host, topology.settings[host].gateway_listen_address, "the gateway", "gateway_listen_address"
    host = topology.groups["grafana"][0]
    return host, topology.settings[host].grafana_listen_address, "Grafana", "grafana_listen_address"


def _notes_on_grafana(settings: Settings) -> list[str]:
    """Return what is still to be done where CVAT's traefik asks CVAT by itself and hands on to Grafana."""
    notes = []
    name = urlsplit(settings.grafana_root_url).hostname
    if name == "localhost" or (settings.cvat_url and name != urlsplit(settings.cvat_url).hostname):
        notes.append(
            f"Grafana takes {settings.grafana_root_url} for its address: set 'grafana_root_url' to "
            f"{settings.cvat_url or 'https://YOUR-CVAT/'}analytics/"
        )
    if not settings.grafana_anonymous_viewer:
        notes.append(
            "CVAT's traefik tells Grafana no name, so Grafana asks whom CVAT lets in for a login of its own: set "
            "'grafana_anonymous_viewer' to True, or have the stack's own gateway"
        )
    if settings.grafana_listen_address not in (LOOPBACK, "::1"):
        if not settings.firewall:
            notes.append(
                "whoever reaches Grafana's port passes CVAT by: set 'firewall' to True and 'grafana_allowed_addresses' to CVAT's address"
            )
        elif not settings.grafana_allowed_addresses:
            notes.append(
                "the firewall keeps CVAT's traefik out: set 'grafana_allowed_addresses' to CVAT's address"
            )
    return notes


def _notes_on_gateway(settings: Settings) -> list[str]:
    """Return what is still to be done where the stack's own gateway asks CVAT."""
    notes = []
    if settings.cvat_url and not settings.cvat_server_url:
        notes.append(
            f"the gateway cannot ask CVAT's server for the analytics right at {settings.cvat_url}: set 'cvat_server_url' to "
            f"{gateway.server_url(settings)}, which the rule leads there"
        )
    if not gateway.behind_cvat(settings):
        notes.append(
            f"people reach the dashboards at {settings.grafana_root_url}; CVAT's menu leads there with the rule"
        )
        return notes
    if not settings.gateway_trusted_proxies:
        notes.append(
            "the gateway takes all visitors for one, CVAT's traefik: set 'gateway_trusted_proxies' to the address from which that comes"
        )
    if settings.gateway_certificate:
        notes.append(
            "CVAT's traefik must trust who signed 'gateway_certificate': mount a private authority into /etc/ssl/certs of its container"
        )
    return notes


OFF = {"CVAT_ANALYTICS": "0", "DJANGO_LOG_SERVER_HOST": ""}
"""What turns analytics off: without a host CVAT sends nothing."""


def as_env(values: Mapping[str, str]) -> str:
    """Return `values` as lines for an .env file."""
    return "".join(f"{name}={value}\n" for name, value in values.items())


def cvats_services(described: Mapping[str, compose.Service], where: str) -> dict[str, no_proxy.Lists]:
    """Return which of the services of CVAT's compose files the override is for, and what each keeps off a proxy.

    These are those of its backend, its proxy and the stock ones. Raises InputError when the files are no CVAT's.
    """
    server = described.get("cvat_server")
    if server is None:
        raise InputError(
            Code.COMPOSE_FILE,
            f"{where}: has no service cvat_server; give the docker-compose.yml of your CVAT",
        )
    runs = _runs(server)
    if not runs:
        raise InputError(
            Code.COMPOSE_FILE,
            f"{where}: cvat_server has neither an image nor a build; give all the files that your CVAT is started with, in their order",
        )
    backend = [
        name
        for name, service in described.items()
        if (_runs(service) == runs or "DJANGO_LOG_SERVER_HOST" in service.environment)
        and name not in (PROXY, *STOCK_SERVICES)
    ]
    names = [*backend, *[name for name in (PROXY, *STOCK_SERVICES) if name in described]]
    return {name: no_proxy.of(described[name].environment) for name in names}


def _runs(service: compose.Service) -> str:
    """Return a service's image without its version, as one worker of another version is CVAT's backend too; or how it is built."""
    name, slash, last = service.image.partition("@")[0].rpartition("/")
    return f"{name}{slash}{last.partition(':')[0]}" or service.build


def as_compose(
    env: Environment,
    services: Mapping[str, no_proxy.Lists] = SERVICES,
    off: bool = False,
    docker: str | None = None,
) -> str:
    """Return a docker compose override for CVAT: its `services` get what `env` says, the stock analytics services do not start.

    The password is not in it: compose takes it from CVAT's .env. What a service connects to it keeps off a proxy, together with
    what it keeps off already; `docker` is what docker itself keeps off one in each container. With `off`, nothing is connected to.
    """
    values, rule, authority = (OFF, False, False) if off else (env.values, env.rule, env.authority)
    viewer = {name: value for name, value in values.items() if name.startswith("DJANGO_LOG_VIEWER")}
    backend = {name: value for name, value in values.items() if name not in viewer}
    if "CLICKHOUSE_USER" in values:
        backend |= {
            "CLICKHOUSE_PASSWORD": "${CLICKHOUSE_PASSWORD:?see cvat-analytics cvat-env --password-file}"
        }
    trusted = {}
    if authority:
        # what Python's ssl reads in the place of the distribution's file; its directory /etc/ssl/certs counts as ever
        backend |= {"SSL_CERT_FILE": _TRUSTED}
        trusted = {"volumes": [_mount(AUTHORITY, _TRUSTED)]}
    described: dict[str, Any] = {}
    for name, lists in services.items():
        if name in STOCK_SERVICES:
            # they stay defined, because others depend on them; compose does not wait for a service without containers
            described[name] = {"deploy": {"replicas": 0}}
        elif name != PROXY:
            direct = {} if off else no_proxy.merged(lists, env.backend, docker)
            described[name] = {"environment": backend | direct, **trusted}
        elif viewer or rule:
            known = lists or (no_proxy.BETWEEN_CONTAINERS if docker is None else {})
            direct = no_proxy.merged(known, env.proxy, docker) if env.proxy else {}
            described[name] = ({"environment": viewer | direct} if viewer | direct else {}) | (
                {"volumes": [_mount(RULE, traefik.RULES)]} if rule else {}
            )
    return HEADER + _START + traefik.as_yaml({"services": described})


HEADER = "# Written by `cvat-analytics cvat-env --format compose`."
"""How an override of this stack's begins."""
_START = """ Start CVAT with it after its own files:
#   docker compose -f docker-compose.yml -f docker-compose.analytics.yml up -d
"""


def as_traefik(topology: Topology, authority: Authority | None) -> str:
    """Return the rule file for CVAT's traefik; `authority` has signed what it connects to through TLS.

    Raises InputError where traefik has to trust an authority that is not made yet.
    """
    host, listens, _, _ = _entrance(topology)
    return traefik.rule(topology, reachable(topology.settings[host], host, (listens,)), authority)

"""What the CVAT side has to be told: where events go, where its own ClickHouse queries go, where the dashboards are.

The names are CVAT's own (its docker-compose.yml and components/analytics/docker-compose.analytics.yml).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from cvat_analytics.errors import InputError
from cvat_analytics.topology import LOOPBACK, Topology

STOCK_SERVICES = ("cvat_clickhouse", "cvat_vector", "cvat_grafana")
"""What this stack takes the place of."""
CLIENTS = (
    "cvat_server", "cvat_utils", "cvat_worker_annotation", "cvat_worker_chunks", "cvat_worker_consensus", "cvat_worker_export",
    "cvat_worker_import", "cvat_worker_quality_reports", "cvat_worker_webhooks",
)  # fmt: skip
"""CVAT's services that send events or read them, as of CVAT 2.40; `services` reads those of another version."""
PROXY = "traefik"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - not a listener


@dataclass(frozen=True)
class Environment:
    """The settings for CVAT, and what stands in the way of using them."""

    values: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())


def environment(topology: Topology, embedded: bool = False) -> Environment:
    """Return what CVAT has to be told about the stack of `topology`, without the password."""
    settings = topology.settings
    ingest, store, view = (topology.groups[group][0] for group in ("vector", "clickhouse", "grafana"))
    notes: list[str] = []

    def address(host: str, listens: tuple[str, ...], what: str, setting: str) -> str:
        own = settings[host].address
        reachable = [each for each in listens if each not in (LOOPBACK, "::1", *_EVERYWHERE)]
        if reachable:
            return reachable[0]
        if set(listens) & set(_EVERYWHERE):
            return str(own or host)
        if not embedded:
            notes.append(
                f"{what} listens on {LOOPBACK} only, which a CVAT on another machine or in a container does not reach: set {setting!r}"
            )
        return LOOPBACK

    values = {
        "CVAT_ANALYTICS": "1",
        "DJANGO_LOG_SERVER_HOST": address(
            ingest, (settings[ingest].vector_listen_address,), "Vector", "vector_listen_address"
        ),
        "DJANGO_LOG_SERVER_PORT": str(settings[ingest].vector_port),
        "CLICKHOUSE_HOST": address(
            store, topology.clickhouse_listen_addresses(), "ClickHouse", "clickhouse_listen_addresses"
        ),
        "CLICKHOUSE_PORT": str(settings[store].clickhouse_http_port),
        "CLICKHOUSE_DB": settings[store].database,
        "CLICKHOUSE_USER": "cvat",
        "DJANGO_LOG_VIEWER_HOST": address(
            view, (settings[view].grafana_listen_address,), "Grafana", "grafana_listen_address"
        ),
        "DJANGO_LOG_VIEWER_PORT": str(settings[view].grafana_port),
    }
    if not settings[store].clickhouse_allowed_addresses and not embedded:
        notes.append(
            "ClickHouse lets nobody from another machine in as cvat: set 'clickhouse_allowed_addresses' to CVAT's address"
        )
    if topology.groups["gateway"]:
        notes.append(
            "the dashboards are behind the stack's own gateway; CVAT's traefik need not know them (DJANGO_LOG_VIEWER_*)"
        )
    elif settings[view].grafana_serve_from_sub_path and not embedded:
        notes.append(
            "CVAT's own traefik rule strips /analytics, and Grafana expects it: set 'grafana_serve_from_sub_path' to False and "
            "'grafana_root_url' to https://YOUR-CVAT/analytics, or use the rule that --format traefik prints"
        )
    return Environment(values, tuple(notes))


OFF = {"CVAT_ANALYTICS": "0", "DJANGO_LOG_SERVER_HOST": ""}
"""What turns analytics off: without a host CVAT sends nothing."""


def as_env(values: Mapping[str, str]) -> str:
    """Return `values` as lines for an .env file."""
    return "".join(f"{name}={value}\n" for name, value in values.items())


def services(compose: str, where: str) -> tuple[str, ...]:
    """Return which of the services in CVAT's docker-compose.yml (`compose`, its text) this is about: backend, proxy, stock ones.

    Raises InputError when it is no such file.
    """
    try:
        document = yaml.safe_load(compose)
        found = {name: dict(service or {}) for name, service in document["services"].items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{where}: is not a docker-compose.yml; give that of your CVAT") from None
    server = found.get("cvat_server")
    if server is None:
        raise InputError(f"{where}: has no service cvat_server; give the docker-compose.yml of your CVAT")
    # every service that runs CVAT's backend has the same image as the server
    backend = [name for name, service in found.items() if service.get("image") == server.get("image")]
    return tuple(backend) + tuple(name for name in (PROXY, *STOCK_SERVICES) if name in found)


def as_compose(values: Mapping[str, str], names: Sequence[str] = (*CLIENTS, PROXY, *STOCK_SERVICES)) -> str:
    """Return a docker compose override for CVAT: its services `names` get `values`, the stock analytics services do not start.

    The password is not in it: compose takes it from CVAT's .env.
    """
    viewer = {name: value for name, value in values.items() if name.startswith("DJANGO_LOG_VIEWER")}
    backend = {name: value for name, value in values.items() if name not in viewer}
    if "CLICKHOUSE_USER" in values:
        backend |= {
            "CLICKHOUSE_PASSWORD": "${CLICKHOUSE_PASSWORD:?see cvat-analytics cvat-env --password-file}"
        }
    described: dict[str, Any] = {}
    for name in names:
        if name in STOCK_SERVICES:
            # they stay defined, because others depend on them; compose does not wait for a service without containers
            described[name] = {"deploy": {"replicas": 0}}
        elif name != PROXY:
            described[name] = {"environment": backend}
        elif viewer:
            described[name] = {"environment": viewer}
    return _COMPOSE + _yaml({"services": described})


_COMPOSE = """# Written by `cvat-analytics cvat-env --format compose`. Start CVAT with it after its own files:
#   docker compose -f docker-compose.yml -f docker-compose.analytics.yml up -d
"""


def as_traefik(topology: Topology, values: Mapping[str, str]) -> str:
    """Return a rule file for CVAT's traefik: /analytics for whom CVAT lets in, and Grafana behind it."""
    view = topology.groups["grafana"][0]
    settings = topology.settings[view]
    path = urlsplit(settings.grafana_root_url).path.rstrip("/") or "/analytics"
    middlewares: dict[str, Any] = {
        # CVAT answers 200 to a superuser, an administrator and whoever has the box "analytics access" ticked
        "cvat-analytics-access": {
            "forwardAuth": {
                "address": "http://cvat-server:8080/analytics",
                "authRequestHeaders": ["Cookie", "Authorization"],
            }
        }
    }
    if not settings.grafana_serve_from_sub_path:
        middlewares["cvat-analytics-path"] = {"stripPrefix": {"prefixes": [path]}}
    url = f"http://{values['DJANGO_LOG_VIEWER_HOST']}:{values['DJANGO_LOG_VIEWER_PORT']}"
    rule = {
        "routers": {
            "cvat-analytics": {
                "rule": f'Host(`{{{{ env "CVAT_HOST" }}}}`) && PathPrefix(`{path}`)',
                "middlewares": list(middlewares),
                "service": "cvat-analytics",
            }
        },
        "middlewares": middlewares,
        "services": {
            "cvat-analytics": {"loadBalancer": {"passHostHeader": False, "servers": [{"url": url}]}}
        },
    }
    return _TRAEFIK + _yaml({"http": rule})


_TRAEFIK = """# Written by `cvat-analytics cvat-env --format traefik`. Mount it into CVAT's traefik in the place of its own rule:
#   volumes: ["./analytics.yml:/etc/traefik/rules/grafana_conf.yml:ro"]
"""


def _yaml(value: object) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    text: str = yaml.dump(value, Dumper=Plain, sort_keys=False, width=1000)
    return text

"""The rule file for CVAT's traefik: what becomes of `/analytics` under CVAT's own name (docs/how-to/connect-cvat.md).

Entry points, `CVAT_HOST` and the name of CVAT's server are those of CVAT's docker-compose.yml and of the rule file that this one is
mounted over. Options are those that traefik 2.10 and 3 have in common (doc.traefik.io, "Routing & Load Balancing").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import endpoints
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.topology import Topology
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.gateway import gateway

CVAT_SERVER = "http://cvat-server:8080"
"""CVAT's server in the network of its containers: what its own rule asks too, by a name that Django takes."""
RULES = "/etc/traefik/rules/grafana_conf.yml"
"""CVAT's own rule in its traefik's container."""
_ANALYTICS = "/analytics"
"""Where the menu of CVAT's user interface leads."""
_ASKED = (_ANALYTICS, "/api/users/self", "/api/memberships", "/api/organizations")
"""What this stack asks of CVAT's server."""
# CVAT's routers have no priority, and then traefik goes by the length of the rule: a user interface with several host names
# would come before this. A redirection of a whole entry point to https comes first, with traefik's highest.
_PRIORITY = 10_000
_ENTRY_POINTS: dict[str, dict[str, Any]] = {"web": {}, "websecure": {"tls": {}}}
_BELIEVED = ("X-WEBAUTH-LOGIN", "X-WEBAUTH-USER", "X-WEBAUTH-ROLE", "X-WEBAUTH-EMAIL")


def needed(topology: Topology) -> bool:
    """Return whether CVAT's own rule does not do: it strips `/analytics` and speaks plain HTTP to a Grafana that is not guarded."""
    settings = topology.settings[topology.groups["grafana"][0]]
    return bool(topology.groups["gateway"]) or settings.grafana_serve_from_sub_path or settings.grafana_tls


def rule(topology: Topology, address: str, authority: Authority | None) -> str:
    """Return the rule file, for a gateway or Grafana that traefik reaches at `address`.

    What `authority` has signed is verified with it. Raises InputError when it has to be and is not made yet.
    """
    if not topology.groups["gateway"]:
        described = _to_grafana(topology.settings[topology.groups["grafana"][0]], address, authority)
    else:
        settings = topology.settings[topology.groups["gateway"][0]]
        way = (
            _to_gateway(settings, address, authority)
            if gateway.behind_cvat(settings)
            else _elsewhere(settings)
        )
        described = _merged(way, _to_server(settings))
    return _HEADER + as_yaml({"http": described})


_HEADER = f"""# Written by `cvat-analytics cvat-env --format traefik`. Mount it into CVAT's traefik in the place of its own rule, as the
# override of `--format compose` does:
#   volumes: ["./analytics.yml:{RULES}:ro"]
"""


def _to_grafana(settings: Settings, address: str, authority: Authority | None) -> dict[str, Any]:
    """CVAT is asked for every request by traefik itself, and Grafana gets it."""
    path = urlsplit(settings.grafana_root_url).path.rstrip("/") or _ANALYTICS
    middlewares: dict[str, Any] = {
        # CVAT answers 200 to a superuser, an administrator and whoever has the box "analytics access" ticked
        "cvat-analytics-access": {
            "forwardAuth": {
                "address": f"{CVAT_SERVER}/analytics",
                "authRequestHeaders": ["Cookie", "Authorization"],
            }
        },
        # an empty value takes a header away: Grafana would refuse a login that is CVAT's, and nobody here is to say who a visitor is
        "cvat-analytics-headers": {
            "headers": {"customRequestHeaders": dict.fromkeys(("Authorization", *_BELIEVED), "")}
        },
    }
    if not settings.grafana_serve_from_sub_path:
        middlewares["cvat-analytics-path"] = {"stripPrefix": {"prefixes": [path]}}
    server = endpoints.url(address, settings.grafana_port, tls=settings.grafana_tls)
    return {
        "routers": _routers("cvat-analytics", _below(path), list(middlewares), "cvat-analytics"),
        "middlewares": middlewares,
    } | _service(server, settings, authority)


def _to_gateway(settings: Settings, address: str, authority: Authority | None) -> dict[str, Any]:
    """The gateway gets it and asks by itself; its certificate is for the name that people type."""
    path = urlsplit(settings.grafana_root_url).path.rstrip("/")
    server = endpoints.url(address, settings.gateway_https_port, tls=True)
    # a certificate of the operator's is verified with the authorities that traefik's container knows
    trusted = None if settings.gateway_certificate else authority
    return {
        "routers": _routers("cvat-analytics", _below(path), [], "cvat-analytics"),
    } | _service(server, settings, trusted)


def _elsewhere(settings: Settings) -> dict[str, Any]:
    """The gateway has an address of its own: CVAT's menu leads there."""
    name = "cvat-analytics-elsewhere"
    return {
        "routers": _routers("cvat-analytics", _below(_ANALYTICS), [name], "noop@internal"),
        "middlewares": {name: {"redirectRegex": {"regex": ".*", "replacement": settings.grafana_root_url}}},
    }


def _to_server(settings: Settings) -> dict[str, Any]:
    """This stack asks CVAT's server for the right; CVAT's own rules send `/analytics` to the user interface."""
    ours = gateway.server_url(settings)
    if not settings.cvat_url or settings.cvat_server_url.rstrip("/") not in ("", ours):
        return {}
    name = "cvat-analytics-server"
    paths = " || ".join(f"Path(`{gateway.SERVER_PATH}{path}`)" for path in _ASKED)
    return {
        "routers": _routers(name, f"({paths})", [name], name),
        "middlewares": {name: {"stripPrefix": {"prefixes": [gateway.SERVER_PATH]}}},
        "services": {name: {"loadBalancer": {"passHostHeader": True, "servers": [{"url": CVAT_SERVER}]}}},
    }


def _routers(name: str, paths: str, middlewares: Sequence[str], service: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "rule": f'Host(`{{{{ env "CVAT_HOST" }}}}`) && {paths}',
        "priority": _PRIORITY,
    }
    if middlewares:
        described["middlewares"] = list(middlewares)
    return {
        f"{name}-{entry}": {"entryPoints": [entry], **described, "service": service, **tls}
        for entry, tls in _ENTRY_POINTS.items()
    }


def _below(path: str) -> str:
    return f"(Path(`{path}`) || PathPrefix(`{path}/`))"


def _service(url: str, settings: Settings, authority: Authority | None) -> dict[str, Any]:
    """Describe what is at `url`. A certificate is always for the name that people type, and that is verified, not the address."""
    name = "cvat-analytics"
    balancer: dict[str, Any] = {"passHostHeader": True, "servers": [{"url": url}]}
    if not url.startswith("https:"):
        return {"services": {name: {"loadBalancer": balancer}}}
    transport: dict[str, Any] = {"serverName": urlsplit(settings.grafana_root_url).hostname}
    if authority:
        transport["rootCAs"] = [_certificate(authority)]
    return {
        "services": {name: {"loadBalancer": balancer | {"serversTransport": name}}},
        "serversTransports": {name: transport},
    }


def _certificate(authority: Authority) -> str:
    try:
        return authority.certificate_file.read_text()
    except OSError as error:
        raise InputError(
            Code.AUTHORITY_MISSING,
            f"{authority.certificate_file}: cannot be read ({error.strerror}), and CVAT's traefik has to trust it. The first deploy "
            "makes it, or `cvat-analytics certificates issue`",
        ) from None


def _merged(*parts: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for kind, described in part.items():
            merged[kind] = merged.get(kind, {}) | described
    return merged


def as_yaml(value: object) -> str:
    """Return `value` as YAML as a person would write it: no references, a text of several lines as it is."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    Plain.add_representer(
        str,
        lambda dumper, text: dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        ),
    )
    text: str = yaml.dump(value, Dumper=Plain, sort_keys=False, width=1000)
    return text

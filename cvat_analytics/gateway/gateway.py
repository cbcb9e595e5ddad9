"""The gateway's and the firewall's files: what stands between the outside and the stack.

Grafana listens on loopback and believes who the gateway says a visitor is, so both are always on one host.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config.endpoints import LOOPBACK
from cvat_analytics.config.settings import Settings
from cvat_analytics.credentials.certificates import Pair
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import UNITS, RenderedFile
from cvat_analytics.rendering.render import render

UNIT = UNITS["gateway"]
FIREWALL_UNIT = "cvat-analytics-firewall"
SERVER_PATH = "/cvat-server"
"""Below this path CVAT's proxy leads to CVAT's server (cvat_analytics.gateway.traefik): its own rule has no way to `/analytics` there."""
WORKERS = 4
WORKER_CONNECTIONS = 4096
"""Places of each of nginx's workers. A request that is passed on takes two; all of them together are several times as many as the
firewall lets one address have (gateway_connections_per_address)."""
NGINX = "/usr/sbin/nginx"
MARK = "# cvat-analytics gateway"
"""What begins the line of its configuration that says which one it is: a digest of what it is rendered from."""
_TEMPLATES = ("gateway/nginx.conf.j2", "gateway/start.j2", f"systemd/{UNIT}.service.j2")
ACCESS_LOG = "syslog:server=unix:/dev/log,nohostname,tag=gateway"


@functools.cache
def digest() -> str:
    """Return what stands for this checkout's gateway, whatever its settings are."""
    return sha256(b"\0".join((ROOT / "templates" / name).read_bytes() for name in _TEMPLATES)).hexdigest()[
        :12
    ]


def digest_there(directory: str) -> str:
    """Return a line of sh that prints the digest of the gateway whose files are in `directory`: `earlier` where it has none, nothing without one."""
    file = f"{directory}/nginx.conf"
    return f"[ ! -e {file} ] || {{ sed -n 's/^{MARK} //p' {file}; echo earlier; }} | head -n 1"


def host_name(context: Context) -> str:
    """Return the name under which people reach the gateway.

    Raises InputError when `grafana_root_url` cannot be the gateway's address.
    """
    settings = context.settings
    parts = urlsplit(settings.grafana_root_url)
    if parts.scheme != "https" or not parts.hostname:
        raise InputError(
            Code.GATEWAY_ADDRESS,
            f"setting 'grafana_root_url' of host {context.host}: {settings.grafana_root_url} is not where people reach the gateway. "
            "Give the https address that they type, such as https://analytics.example.org/analytics/",
        )
    if not settings.grafana_serve_from_sub_path and parts.path.strip("/"):
        raise InputError(
            Code.GATEWAY_ADDRESS,
            f"setting 'grafana_serve_from_sub_path' of host {context.host}: must stay True with a gateway, which does not strip the path",
        )
    if behind_cvat(settings):
        _refuse_loop(context, parts.path.rstrip("/"))
    return parts.hostname


def behind_cvat(settings: Settings) -> bool:
    """Return whether people reach the gateway through CVAT's own proxy: its address is then CVAT's."""
    return bool(settings.cvat_url) and _origin(settings.cvat_url) == _origin(settings.grafana_root_url)


def port_note(settings: Settings) -> str:
    """Say that people are sent to another port than the gateway's; empty where that is right, or a proxy is known to be in between.

    No mistake by itself: a router may hand one port on to the other, of which no setting knows.
    """
    _, name, port = _origin(settings.grafana_root_url)
    if port == settings.gateway_https_port or settings.gateway_trusted_proxies or behind_cvat(settings):
        return ""
    if settings.gateway_listen_address in (LOOPBACK, "::1"):
        return ""  # nobody comes in but through something else
    return (
        f"the gateway has port {settings.gateway_https_port} ('gateway_https_port'), but 'grafana_root_url' sends people to port {port} of "
        f"{name}: so do redirects and the links in alerts. Write :{settings.gateway_https_port} into 'grafana_root_url', unless something "
        f"in between hands port {port} on to it"
    )


def _refuse_loop(context: Context, path: str) -> None:
    """Raise InputError where CVAT's proxy, asked for CVAT or its right, would ask the gateway again."""
    settings = context.settings
    if not path:
        raise InputError(
            Code.GATEWAY_ADDRESS,
            f"setting 'grafana_root_url' of host {context.host}: is CVAT's own address. Give a path below it, such as "
            f"{settings.cvat_url}analytics/",
        )
    if path == "/analytics" and settings.cvat_server_url in ("", settings.cvat_url):
        raise InputError(
            Code.GATEWAY_ADDRESS,
            f"setting 'cvat_server_url' of host {context.host}: needed because people reach the gateway below CVAT's own address, where "
            f"CVAT's proxy would ask the gateway for /analytics again. Give {server_url(settings)}, which the rule of "
            "`cvat-analytics cvat-env --format traefik` leads to CVAT's server, or another address of that server",
        )


def server_url(settings: Settings) -> str:
    """Return where CVAT's proxy leads to CVAT's server once it has this stack's rule."""
    return f"{settings.cvat_url.rstrip('/')}{SERVER_PATH}"


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def variables(context: Context) -> dict[str, Any]:
    """Return what the gateway's templates see beside the usual names."""
    settings = context.settings
    name = host_name(context)
    parts = urlsplit(settings.grafana_root_url)
    cvat = urlsplit(settings.cvat_url)
    # a browser sends CVAT's session only to CVAT's own host; elsewhere it is asked for name and password
    login_url = f"{settings.cvat_url}auth/login?next={parts.path}" if cvat.hostname == name else ""
    return {
        "gateway": {
            "host_name": name,
            "authority": parts.netloc,
            "grafana_path": parts.path.rstrip("/"),
            "login_url": login_url,
            "behind_cvat": behind_cvat(settings),
        },
        "gateway_access_log": ACCESS_LOG,
        "gateway_workers": WORKERS,
        "gateway_worker_connections": WORKER_CONNECTIONS,
        "nginx": NGINX,
        "gateway_mark": f"{MARK} {digest()}",
    }


def files(context: Context, pair: Pair) -> list[RenderedFile]:
    """Return the gateway's configuration, its certificate `pair`, and its unit."""
    paths = context.paths
    names = context.variables() | variables(context)
    return [
        RenderedFile(f"{paths.secrets}/{UNIT}/certificate_key", pair.key, mode="600", secret=True),
        RenderedFile(f"{paths.gateway_config}/certificate.pem", pair.certificate),
        RenderedFile(f"{paths.gateway_config}/nginx.conf", render("gateway/nginx.conf.j2", names)),
        RenderedFile(f"{paths.gateway_config}/start", render("gateway/start.j2", names)),
        RenderedFile(
            f"{paths.root}/etc/systemd/system/{UNIT}.service", render(f"systemd/{UNIT}.service.j2", names)
        ),
    ]


def guarded_ports(context: Context) -> list[dict[str, Any]]:
    """Return this host's own ports that the firewall closes: name, ports and who may use them, loopback always."""
    settings, topology = context.settings, context.topology
    stack = [
        str(each.address) for name, each in topology.settings.items() if name != context.host and each.address
    ]
    allowed = {
        "clickhouse": settings.clickhouse_allowed_addresses,
        "vector": settings.vector_allowed_addresses,
        "grafana": settings.grafana_allowed_addresses,
        "events_api": settings.grafana_allowed_addresses,
    }
    return [
        {
            "name": component,
            "ports": sorted(settings.listening_ports()[component].values()),
            "addresses": _by_family([*stack, *allowed[component]]),
        }
        for component in topology.components(context.host)
        if component in allowed
    ]


def has_rules(context: Context) -> bool:
    """Return whether a host has firewall rules: where the setting asks for them, and wherever the gateway is.

    Nothing else counts connections on which nothing is said: nginx does so once a request's header has come.
    """
    return context.settings.firewall or _is_here(context)


def firewall_files(context: Context) -> list[RenderedFile]:
    """Return the firewall's rules and its unit."""
    settings = context.settings
    names = context.variables() | {
        "guarded": guarded_ports(context) if settings.firewall else [],
        "gateway_ports": sorted(settings.listening_ports()["gateway"].values()) if _is_here(context) else [],
        "gateway_proxies": _by_family(settings.gateway_trusted_proxies),
        "connections_per_address": settings.gateway_connections_per_address,
    }
    paths = context.paths
    return [
        RenderedFile(f"{paths.gateway_config}/firewall.nft", render("gateway/firewall.nft.j2", names)),
        RenderedFile(
            f"{paths.root}/etc/systemd/system/{FIREWALL_UNIT}.service",
            render(f"systemd/{FIREWALL_UNIT}.service.j2", names),
        ),
    ]


def certificate_names(context: Context) -> tuple[str, ...]:
    """Return the names for which the gateway's own certificate is made."""
    address = context.settings.address
    names = (host_name(context), LOOPBACK, *((str(address),) if address else ()))
    return tuple(dict.fromkeys(names))


def _is_here(context: Context) -> bool:
    return "gateway" in context.topology.components(context.host)


def _by_family(addresses: Sequence[str]) -> dict[str, list[str]]:
    """Return the addresses as nftables wants them: those of IPv4 (`ip`) apart from those of IPv6 (`ip6`)."""
    families: dict[str, list[str]] = {"ip": [], "ip6": []}
    for address in dict.fromkeys(addresses):
        families["ip6" if ":" in address else "ip"].append(address)
    return {family: members for family, members in families.items() if members}

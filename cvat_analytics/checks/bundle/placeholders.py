"""A stack's settings and configuration with nobody's names, addresses and passwords: made-up ones stand in their places, and it is rendered with them.

A setting is kept where its kind cannot say anything of anybody: numbers, switches, spans of time, choices, versions, and whatever is
the default. For each other one there is a made-up value of the same kind, or else its default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.config import certificate_names
from cvat_analytics.config.reference import as_written
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.topology import Topology
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering import events_api, render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import RenderedFile

_NOWHERE = Path("/nonexistent")
_DEFAULTS = Settings()
_VERSION = re.compile(r"\d+(\.\d+){1,3}(-\d{1,3})?")
_EVERYBODYS = ("127.0.0.1", "::1", "0.0.0.0", "::", "0.0.0.0/0", "::/0")  # noqa: S104 - not a listener
_ADDRESSES = ("clickhouse_listen_addresses", "clickhouse_allowed_addresses", "vector_allowed_addresses", "grafana_allowed_addresses",
              "gateway_trusted_proxies", "vector_listen_address", "grafana_listen_address", "events_api_listen_address", "gateway_listen_address")  # fmt: skip
_MADE_UP: Mapping[str, Any] = {
    "grafana_root_url": "https://analytics.example.org/analytics/",
    "cvat_url": "https://cvat.example.org",
    "cvat_server_url": "https://cvat.example.org",
    "alert_webhook_url": "https://hook.example.org/",
    "smtp_host": "mail.example.org:25",
    "alert_emails": ("somebody@example.org",),
    "vector_username": "somebody",
}


def hosts(topology: Topology) -> dict[str, str]:
    """Return by which name each host goes here."""
    return {name: f"host-{number}" for number, name in enumerate(topology.settings, 1)}


def harmless(topology: Topology) -> Topology:
    """Return the stack with made-up names of hosts, and settings that say nothing of anybody."""
    names = hosts(topology)
    groups = {group: tuple(names[each] for each in members) for group, members in topology.groups.items()}
    settings = {
        names[host]: _harmless(each, number)
        for number, (host, each) in enumerate(topology.settings.items(), 1)
    }
    return Topology(groups, settings)


def _harmless(settings: Settings, number: int) -> Settings:
    made: dict[str, Any] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if is_harmless(name, value):
            continue
        made[name] = _made_up(name, value, number)
    if settings.vector_tls_certificate:
        made["vector_tls"] = True
    # what is made up needs no validation, and a value that was valid beside another one may not be so beside a made-up one
    return settings.model_copy(update=made)


def is_harmless(name: str, value: Any) -> bool:
    """Return whether the value of a setting says nothing of anybody."""
    if value is None or value == getattr(_DEFAULTS, name):
        return True
    if isinstance(value, bool | int | float | timedelta):
        return True
    if isinstance(value, tuple):
        return all(
            isinstance(each, int) or each in _choices(Settings.model_fields[name].annotation)
            for each in value
        )
    if isinstance(value, str):
        return value in _choices(Settings.model_fields[name].annotation) or (
            name.endswith("_version") and bool(_VERSION.fullmatch(value))
        )
    return False


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for each in get_args(annotation) for choice in _choices(each))


def _made_up(name: str, value: Any, number: int) -> Any:
    """Return what stands for a value that is somebody's."""
    if name == "address":
        return f"192.0.2.{number}"
    if name in _ADDRESSES and isinstance(value, tuple):
        return tuple(
            each if each in _EVERYBODYS else f"198.51.100.{count}" for count, each in enumerate(value, 1)
        )
    if name in _ADDRESSES:
        return value if value in _EVERYBODYS else f"192.0.2.{number}"
    return _MADE_UP.get(name, getattr(_DEFAULTS, name))


def shown(settings: Settings) -> dict[str, str]:
    """Return each setting as an operator writes it; of one that may say something of somebody only whether it is set."""
    return {
        name: as_written(value, name)
        if is_harmless(name, value := getattr(settings, name))
        else _that_it_is_set(value)
        for name in Settings.model_fields
    }


def _that_it_is_set(value: Any) -> str:
    return f"({len(value)} set)" if isinstance(value, tuple | dict) else "(set)"


def rendered(topology: Topology, memory: Mapping[str, int]) -> Iterator[tuple[str, str, str]]:
    """Yield host, path and text of each file of configuration that holds no secret, of a stack that is `harmless`.

    `memory`: of each host. What cannot be rendered so is named in place of its text.
    """
    passwords = secrets.Secrets({**secrets.generate(), **dict.fromkeys(secrets.GIVEN, "made-up")})
    for host in topology.settings:
        authority = Authority(_NOWHERE, preview=True, permitted=certificate_names.of_stack(topology))
        context = Context(
            host, topology, passwords, memory_bytes=memory.get(host) or 4 * 2**30, authority=authority
        )
        for component in topology.components(host):
            try:
                files = _files(context, component)
            except CvatAnalyticsError:
                yield host, f"/{component}", "not rendered: it cannot be with made-up names\n"
                continue
            for file in files:
                is_shipped = file.path.startswith(
                    (context.paths.dashboards, f"{context.paths.vector_config}/tests")
                )
                if not file.secret and not file.path.endswith(".pem") and not is_shipped:
                    yield host, file.path, file.content


def _files(context: Context, component: str) -> list[RenderedFile]:
    if component == "events_api":
        return events_api.files(context, _NOWHERE / "users.json")
    if component == "gateway":
        pair = context.signing().issue("gateway", gateway.certificate_names(context))
        return [*gateway.files(context, pair), *gateway.firewall_files(context)]
    return {
        "clickhouse": render.clickhouse_files,
        "vector": render.vector_files,
        "grafana": render.grafana_files,
    }[component](context)

"""What a host gets: files, and where they are.

A file knows its owner, its mode, whether it may be shown in a diff, and what must happen to its service when it changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from cvat_analytics.connect.volumes import DIRECTORIES

Effect = Literal["restart", "none"]

UNITS = {
    "clickhouse": "clickhouse-server",
    "vector": "vector",
    "grafana": "grafana-server",
    "events_api": "cvat-analytics-events-api",
    "gateway": "cvat-analytics-gateway",
}
"""Each component's systemd unit: the packages' own, and two of this project's."""
BACKUP = "cvat-analytics-backup"
"""The timer, and the service that it starts, on each host that backs something up."""
BACKUP_VERIFY = "cvat-analytics-backup-verify"
"""Those that restore the newest backup beside the live tables and compare, once a month, on the host of ClickHouse."""


@dataclass(frozen=True)
class Paths:
    """Where the stack's files live: on a host as the packages have it, or below a directory of its own."""

    root: str = ""

    clickhouse_config: str = field(init=False)
    clickhouse_data: str = field(init=False)
    clickhouse_logs: str = field(init=False)
    vector_config: str = field(init=False)
    vector_data: str = field(init=False)
    vector_credentials: str = field(init=False)
    grafana_config: str = field(init=False)
    grafana_data: str = field(init=False)
    grafana_logs: str = field(init=False)
    grafana_plugins: str = field(init=False)
    grafana_credentials: str = field(init=False)
    dashboards: str = field(init=False)
    events_api_config: str = field(init=False)
    events_api_data: str = field(init=False)
    events_api_program: str = field(init=False)
    events_api_credentials: str = field(init=False)
    gateway_config: str = field(init=False)
    gateway_run: str = field(init=False)
    gateway_cache: str = field(init=False)
    gateway_credentials: str = field(init=False)
    backup_config: str = field(init=False)
    backup_data: str = field(init=False)
    backup_program: str = field(init=False)
    authority: str = field(init=False)
    """The certificate of the stack's own authority, for whatever on the host connects to another part."""
    secrets: str = field(init=False)

    def __post_init__(self) -> None:
        credentials = f"{self.root}/credentials" if self.root else "/run/credentials"
        places = {
            "clickhouse_config": "/etc/clickhouse-server",
            "clickhouse_data": DIRECTORIES["clickhouse"],
            "clickhouse_logs": "/var/log/clickhouse-server",
            "vector_config": "/etc/vector",
            "vector_data": DIRECTORIES["vector"],
            "grafana_config": "/etc/grafana",
            "grafana_data": DIRECTORIES["grafana"],
            "grafana_logs": "/var/log/grafana",
            "grafana_plugins": "/var/lib/grafana/plugins",
            "dashboards": "/etc/cvat-analytics/dashboards",
            "events_api_config": "/etc/cvat-analytics/events-api",
            "events_api_data": "/var/lib/cvat-analytics-events-api",
            "events_api_program": "/opt/cvat-analytics/events-api",
            "gateway_config": "/etc/cvat-analytics/gateway",
            "gateway_run": "/run/cvat-analytics-gateway",
            "gateway_cache": "/var/cache/cvat-analytics-gateway",
            "backup_config": "/etc/cvat-analytics/backup",
            "backup_data": "/var/lib/cvat-analytics/backup",
            "backup_program": "/opt/cvat-analytics/backup",
            "authority": "/etc/cvat-analytics/ca.pem",
            "secrets": "/etc/cvat-analytics/secrets",
        }
        for name, path in places.items():
            object.__setattr__(self, name, self.root + path)
        # systemd lays credentials out by unit name (LoadCredential=, systemd.exec(5)); the embedded stack does the same
        for component in ("vector", "grafana", "events_api", "gateway"):
            object.__setattr__(self, f"{component}_credentials", f"{credentials}/{UNITS[component]}.service")


GRAFANA_PASSWORD = (
    f"sudo sh -c 'grafana cli --homepath /usr/share/grafana --config {Paths().grafana_config}/cvat-analytics.ini "
    f"admin reset-admin-password --password-from-stdin < {Paths().secrets}/{UNITS['grafana']}/admin_password'"
)
"""The line that gives Grafana's administrator the password of the last deploy, on its host: Grafana keeps that of its first start."""


@dataclass(frozen=True)
class RenderedFile:
    """One file as it must be on the host."""

    path: str
    content: str = field(repr=False)
    user: str = "root"
    group: str = "root"
    mode: str = "644"
    effect: Effect = "restart"
    """What the component needs when this file changes."""
    secret: bool = False
    """Whether the content must not appear in a diff or a log."""


def fingerprint(*parts: object) -> str:
    """Return what a service was started with, as one word: files' contents, package versions."""
    digest = sha256()
    for part in parts:
        text = f"{part.path}\0{part.content}" if isinstance(part, RenderedFile) else str(part)
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()

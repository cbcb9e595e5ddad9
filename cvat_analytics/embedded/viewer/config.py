"""Read what was rendered for Grafana: its ini file, and below `provisioning` the datasource and the dashboards' place."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards import DATASOURCE_TYPE


@dataclass(frozen=True)
class Datasource:
    """The ClickHouse that Grafana would read."""

    uid: str
    host: str
    database: str
    username: str
    password: str = field(repr=False)
    connections: int
    """How many queries of all visitors together run at the same time."""
    authority: str | None = None
    """Who has signed ClickHouse's certificate (PEM), where it is reached through TLS."""


@dataclass(frozen=True)
class Config:
    """What the viewer needs of Grafana's configuration."""

    address: str
    port: int
    certificate: tuple[str, str] | None
    """Files with its certificate and the key, where it speaks TLS."""
    names: tuple[str, ...]
    """Under which names it is asked, beside addresses and the host's own name."""
    prefix: str
    """The sub-path under which everything is served, such as `/analytics`, or empty."""
    admin_user: str
    admin_password: str = field(repr=False)
    anonymous_viewer: bool
    proxy_header: str
    """The header in which a gateway names a visitor whom it has let in; empty where there is no gateway."""
    proxy_addresses: frozenset[str]
    """From where that header is believed."""
    datasource: Datasource
    dashboards: Path
    home: str
    """File name of the dashboard that opens first."""


def read(path: Path) -> Config:
    """Return the configuration in the ini file `path`.

    Raises InputError that names the file for what is missing or cannot be understood.
    """
    ini = configparser.ConfigParser(interpolation=None)
    try:
        with path.open() as file:
            ini.read_file(file, str(path))
        provisioning = Path(ini["paths"]["provisioning"])
        provider = _only(provisioning / "dashboards", "providers")
        server, security = ini["server"], ini["security"]
        gateway = ini["auth.proxy"] if ini.getboolean("auth.proxy", "enabled", fallback=False) else {}
        sub_path = (
            urlsplit(server["root_url"]).path.rstrip("/")
            if server.getboolean("serve_from_sub_path", False)
            else ""
        )
        return Config(
            address=server.get("http_addr", ""),
            port=server.getint("http_port", 3000),
            certificate=(server["cert_file"], server["cert_key"])
            if server.get("protocol", "http") == "https"
            else None,
            names=tuple(filter(None, [urlsplit(server.get("root_url", "")).hostname])),
            prefix=sub_path,
            admin_user=security.get("admin_user", "admin"),
            admin_password=expand(security["admin_password"]),
            anonymous_viewer=ini.getboolean("auth.anonymous", "enabled", fallback=False),
            proxy_header=gateway.get("header_name", ""),
            proxy_addresses=frozenset(each.strip() for each in gateway.get("whitelist", "").split(",")),
            datasource=_datasource(_only(provisioning / "datasources", "datasources")),
            dashboards=Path(provider["options"]["path"]),
            home=Path(ini.get("dashboards", "default_home_dashboard_path", fallback="")).name,
        )
    except (OSError, configparser.Error, yaml.YAMLError, LookupError, ValueError, TypeError) as error:
        raise InputError(
            Code.VIEWER_CONFIGURATION,
            f"Grafana configuration {path}: cannot be used ({type(error).__name__}: {error})",
        ) from None


def expand(value: str) -> str:
    """Return `value` with `$__file{PATH}` replaced by the file's text, whose outer white space does not count."""
    return re.sub(r"\$__file\{([^}]+)\}", lambda match: Path(match[1]).read_text().strip(), value)


def _only(directory: Path, key: str) -> dict[str, Any]:
    """Return the one entry of the provisioning files in `directory`; packages put empty samples there."""
    files = [yaml.safe_load(file.read_text()) or {} for file in sorted(directory.glob("*.yaml"))]
    entries = [entry for file in files for entry in file.get(key) or []]
    if len(entries) != 1:
        raise ValueError(f"{directory} has {len(entries)} entries in {key}; the viewer needs exactly one")
    return dict(entries[0])


def _datasource(entry: dict[str, Any]) -> Datasource:
    if entry["type"] != DATASOURCE_TYPE:
        raise ValueError(
            f"datasource {entry['name']!r} is of type {entry['type']}; the viewer reads {DATASOURCE_TYPE} only"
        )
    secret = entry["secureJsonData"]
    settings = entry["jsonData"]
    return Datasource(
        uid=entry["uid"],
        host=settings["host"],
        database=settings["defaultDatabase"],
        username=settings["username"],
        password=expand(secret["password"]),
        connections=int(settings["maxOpenConns"]),
        authority=expand(secret["tlsCACert"]) if settings.get("secure") else None,
    )

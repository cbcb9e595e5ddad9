"""Read what was rendered for the events API: its ini file, and the password that the file points to."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError


@dataclass(frozen=True)
class ClickHouseConfig:
    """Where events are read from, and as whom."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that the user's profile does not have."""
    authority: Path | None = None
    """Who has signed the certificate that it must show, where it is reached with TLS."""


@dataclass(frozen=True)
class PlacesConfig:
    """How many queries may run at the same time beside those of exports, and how long a request waits for its turn."""

    streams: int
    questions: int
    wait: timedelta


@dataclass(frozen=True)
class VectorConfig:
    """Where events go."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: Path | None = None
    """The certificate that Vector must show, where it is reached with TLS."""
    authority: Path | None = None
    """Or who has signed it."""


@dataclass(frozen=True)
class ExportsConfig:
    """Where finished exports lie, for how long, and how many and how large ones one person may have."""

    directory: Path
    keep: timedelta
    per_user: int
    bytes_per_user: int
    running_per_user: int
    running: int


@dataclass(frozen=True)
class Config:
    """All that the events API needs to know."""

    address: str
    port: int
    names: tuple[str, ...]
    """Under which names it is asked, beside addresses and the host's own name."""
    clickhouse: ClickHouseConfig
    vector: VectorConfig
    cvat_url: str
    """Base URL of the CVAT that is asked who somebody is; empty where the users file is asked."""
    users_file: Path
    client_scopes: tuple[str, ...]
    """Scopes that clients may send beside those that are known."""
    exports: ExportsConfig
    places: PlacesConfig


def read(path: Path) -> Config:
    """Return the configuration in the ini file `path`. Raises InputError that says what in it cannot be used."""
    ini = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            ini.read_file(file, str(path))
        server, store, exports, places = ini["server"], ini["clickhouse"], ini["exports"], ini["places"]
        return Config(
            address=server["address"],
            port=int(server["port"]),
            names=tuple(server.get("names", "").split()),
            clickhouse=ClickHouseConfig(
                host=store["host"],
                port=int(store["port"]),
                database=store["database"],
                user=store["user"],
                password=Path(store["password_file"]).read_text(encoding="utf-8").strip(),
                authority=_file(store, "ca_file"),
            ),
            vector=_vector(ini["vector"]),
            cvat_url=ini["identity"].get("cvat_url", "").rstrip("/"),
            users_file=Path(ini["identity"]["users_file"]),
            client_scopes=tuple(ini["events"].get("client_scopes", "").split()),
            exports=ExportsConfig(
                directory=Path(exports["directory"]),
                keep=timedelta(seconds=int(exports["keep_seconds"])),
                per_user=int(exports["per_user"]),
                bytes_per_user=int(exports["bytes_per_user"]),
                running_per_user=int(exports["running_per_user"]),
                running=int(exports["running"]),
            ),
            places=PlacesConfig(
                streams=int(places["streams"]),
                questions=int(places["questions"]),
                wait=timedelta(seconds=int(places["wait_seconds"])),
            ),
        )
    except (OSError, configparser.Error, LookupError, ValueError) as error:
        raise InputError(
            Code.API_CONFIGURATION,
            f"events API configuration {path}: cannot be used ({type(error).__name__}: {error})",
        ) from None


def _file(section: configparser.SectionProxy, name: str) -> Path | None:
    value = section.get(name)
    return Path(value) if value else None


def _vector(section: configparser.SectionProxy) -> VectorConfig:
    password_file = section.get("password_file")
    return VectorConfig(
        url=section["url"],
        username=section.get("username", ""),
        password=Path(password_file).read_text(encoding="utf-8").strip() if password_file else "",
        certificate=_file(section, "certificate_file"),
        authority=_file(section, "ca_file"),
    )

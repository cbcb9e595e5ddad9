"""The events API's files: its configuration, its passwords, its users, its unit."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config.endpoints import EVERYWHERE
from cvat_analytics.credentials import users
from cvat_analytics.credentials.users import ADMIN, User, Users
from cvat_analytics.rendering import tls
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import UNITS, RenderedFile
from cvat_analytics.rendering.render import render

UNIT = UNITS["events_api"]


def all_users(context: Context, file: Path) -> Users:
    """Return the users in `file` and the administrator. Raises InputError for one who has the administrator's name."""
    known = users.load(file)
    if ADMIN in known:
        raise InputError(
            Code.USER_IS_ADMINISTRATOR,
            f"users file {file}: {ADMIN!r} is the stack's own administrator, whose password is in the secrets file. Use another name",
        )
    password = context.secrets["events_api_admin"].encode()
    # Always the same for the same password, so that a second deploy changes nothing; the password is random and long
    salt = sha256(b"events API\0" + password).digest()[:16]
    return users.add(known, User(ADMIN, users.hasher().hash(password, salt=salt), analytics=True, admin=True))


def ingest_host(context: Context) -> str:
    """Return the host to whose Vector events go: this one if it has one."""
    hosts = context.topology.groups["vector"]
    return context.host if context.host in hosts else hosts[0]


def names(context: Context) -> list[str]:
    """Return the names under which the events API is asked: those that people and the gateway use for it."""
    settings = context.settings
    hosts = (urlsplit(url).hostname for url in (settings.grafana_root_url, settings.cvat_url))
    # a host may be called anything in an inventory, as pyinfra's connectors have it
    own = (context.host,) if re.fullmatch(r"[\w.-]+", context.host) else ()
    return sorted({name for name in (*own, *settings.events_api_names, *hosts) if name})


def variables(context: Context) -> dict[str, Any]:
    """Return what the events API's templates see beside the usual names."""
    ingest = ingest_host(context)
    settings = context.topology.settings[ingest]
    address = settings.vector_listen_address
    if address in EVERYWHERE:
        address = EVERYWHERE[address] if ingest == context.host else str(settings.address)
    return {
        "unit": UNIT,
        "names": names(context),
        "vector": {
            "scheme": "https" if settings.vector_speaks_tls else "http",
            "address": address,
            "port": settings.vector_port,
            "username": settings.vector_username or "",
            # the operator's own is trusted as it is, one of the stack's authority by that
            "own_certificate": bool(settings.vector_tls_certificate),
            "tls": settings.vector_speaks_tls,
        },
    }


def files(context: Context, users_file: Path) -> list[RenderedFile]:
    """Return the events API's files. Raises InputError when the users file cannot be used."""
    paths, names = context.paths, context.variables() | variables(context)
    vector = context.topology.settings[ingest_host(context)]
    rendered = [
        *tls.authority_files(context),
        _secret(context, "clickhouse_password", context.secrets["clickhouse_events_api"]),
        _secret(context, "users", users.dump(all_users(context, users_file))),
        RenderedFile(
            f"{paths.events_api_config}/events-api.ini", render("events_api/events-api.ini.j2", names)
        ),
        RenderedFile(
            f"{paths.root}/etc/systemd/system/{UNIT}.service", render(f"systemd/{UNIT}.service.j2", names)
        ),
    ]
    if vector.vector_username:
        rendered.append(_secret(context, "vector_password", context.secrets["vector_ingest"]))
    if vector.vector_tls_certificate:
        rendered.append(
            RenderedFile(f"{paths.events_api_config}/vector.pem", vector.vector_tls_certificate.read_text())
        )
    return rendered


def _secret(context: Context, name: str, content: str) -> RenderedFile:
    """Return the root-only file that systemd hands to the unit (LoadCredential=, systemd.exec(5))."""
    return RenderedFile(f"{context.paths.secrets}/{UNIT}/{name}", content, mode="600", secret=True)

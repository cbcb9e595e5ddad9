"""Render `templates/` into the files of a host or of the embedded stack.

The deploy and the embedded stack call the same functions; only `Paths` differs.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import jinja2

from cvat_analytics.base.project import ROOT
from cvat_analytics.config.settings import Settings
from cvat_analytics.credentials.certificates import Pair
from cvat_analytics.dashboards import languages, load, site, tidy
from cvat_analytics.rendering import alerts, tls
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Effect, RenderedFile

ALERTING = "provisioning/alerting/cvat-analytics.yaml"
"""Where Grafana's alert rules are, below its configuration."""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the templates are configuration files, not HTML
    )
    environment.filters["seconds"] = lambda value: (
        int(value.total_seconds()) if isinstance(value, timedelta) else int(value)
    )
    environment.globals["at"] = lambda host, port: f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # a text for Grafana's provisioning, which replaces $NAME and ${NAME} in it, and $$ by a plain $
    environment.filters["literal"] = lambda value: json.dumps(value).replace("$", "$$")
    # in Grafana's ini: without quotes a value ends at the first ; or #
    environment.filters["ini"] = lambda value: f"`{value}`"
    return environment


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Return the text of `template` (a path below `templates/`). Raises jinja2.UndefinedError for an unknown name."""
    return _environment().get_template(template).render(**variables)


def clickhouse_files(context: Context) -> list[RenderedFile]:
    """Return ClickHouse's drop-ins and the login of the administrator's client."""
    variables, paths = context.variables(), context.paths
    login = {"password": context.secrets["clickhouse_admin"]}
    certificate = []
    if context.settings.clickhouse_tls:
        pair = context.certificate("clickhouse")
        # ClickHouse watches these files and reloads them by itself
        certificate = [
            _clickhouse_s(file, text, effect="none", secret=True)
            for file, text in zip(tls.clickhouse_files(paths), (pair.certificate, pair.key), strict=True)
        ]
    return [
        *certificate,
        _clickhouse_s(
            f"{paths.clickhouse_config}/config.d/cvat-analytics.xml",
            render("clickhouse/config.xml.j2", variables),
        ),
        # ClickHouse reloads users by itself within seconds of a change
        _clickhouse_s(
            f"{paths.clickhouse_config}/users.d/cvat-analytics.xml",
            render("clickhouse/users.xml.j2", variables),
            effect="none",
            secret=True,
        ),
        RenderedFile(
            f"{paths.secrets}/clickhouse-client.xml",
            render("clickhouse/client.xml.j2", variables | login),
            mode="600",
            effect="none",
            secret=True,
        ),
        _drop_in(context, "clickhouse-server"),
    ]


def vector_files(context: Context) -> list[RenderedFile]:
    """Return Vector's configuration and tests, its credentials, its unit's drop-in, and what keeps its journal and its disk."""
    settings, paths, variables = context.settings, context.paths, context.variables()
    files = [
        _credential(context, "vector", "clickhouse_password", "clickhouse_vector"),
        RenderedFile(
            f"{paths.secrets}/vector/large_bodies", _large_bodies_token(context), mode="600", secret=True
        ),
    ]
    if settings.vector_username:
        files += [_credential(context, "vector", *each) for each in context.ingest_passwords()]
    if settings.vector_tls_certificate and settings.vector_tls_key:
        own = Pair(settings.vector_tls_certificate.read_text(), settings.vector_tls_key.read_text())
        files += tls.shown(paths, "vector", own)
    elif settings.vector_tls:
        files += tls.shown(paths, "vector", context.certificate("vector"))
    units = f"{paths.root}/etc/systemd/system"
    keeping = {
        f"{paths.root}/etc/tmpfiles.d/cvat-analytics-vector.conf": "vector/journal-tmpfiles.conf.j2",
        f"{paths.vector_config}/keep-journal": "vector/keep-journal.j2",
        f"{paths.vector_config}/keep-room": "vector/keep-room.j2",
        f"{units}/cvat-analytics-journal.service": "systemd/cvat-analytics-journal.service.j2",
        f"{units}/cvat-analytics-journal.timer": "systemd/cvat-analytics-journal.timer.j2",
        f"{units}/cvat-analytics-room.service": "systemd/cvat-analytics-room.service.j2",
    }
    return [
        *files,
        *tls.authority_files(context),
        RenderedFile(f"{paths.vector_config}/vector.toml", render("vector.toml.j2", variables)),
        RenderedFile(f"{paths.vector_config}/start", render("vector/start.j2", variables)),
        RenderedFile(
            f"{paths.vector_config}/tests.toml", render("vector/tests.toml.j2", variables), effect="none"
        ),
        *(
            RenderedFile(path, render(template, variables), effect="none")
            for path, template in keeping.items()
        ),
        _drop_in(context, "vector"),
    ]


def grafana_files(context: Context) -> list[RenderedFile]:
    """Return Grafana's configuration, provisioning, dashboards, passwords and its unit's drop-in."""
    paths = context.paths
    targets = {
        "cvat-analytics.ini": "cvat-analytics.ini",
        "cvat-analytics.env": "cvat-analytics.env",
        "datasources.yaml": "provisioning/datasources/cvat-analytics.yaml",
        "dashboards.yaml": "provisioning/dashboards/cvat-analytics.yaml",
    }
    if context.settings.alerts:
        targets["alerting.yaml"] = ALERTING
    certificate = []
    if context.settings.grafana_tls:
        certificate = tls.shown(paths, "grafana-server", context.certificate("grafana"))
    return [
        *certificate,
        *tls.authority_files(context),
        _credential(context, "grafana-server", "clickhouse_password", "clickhouse_grafana"),
        _credential(context, "grafana-server", "admin_password", "grafana_admin"),
        _credential(context, "grafana-server", "secret_key", "grafana_secret_key"),
        *(
            _credential(context, "grafana-server", credential, name)
            for credential, name in alerts.credentials(context.settings).items()
        ),
        *(_grafana_s(context, template, target) for template, target in targets.items()),
        _drop_in(context, "grafana-server"),
        # Grafana's file provider sees a changed dashboard by itself within half a minute
        *(
            RenderedFile(f"{paths.dashboards}/{name}", content, effect="none")
            for name, content in dashboards(context.settings).items()
        ),
    ]


def alerts_off(context: Context) -> list[RenderedFile]:
    """Return the file that takes alert rules out of a Grafana that has had them."""
    return [_grafana_s(context, "alerting.yaml", ALERTING)]


def _grafana_s(context: Context, template: str, target: str) -> RenderedFile:
    """Return a file of Grafana's configuration, which Grafana may read and nobody else."""
    content = render(f"grafana/{template}.j2", context.variables())
    return RenderedFile(f"{context.paths.grafana_config}/{target}", content, group="grafana", mode="640")


def dashboards(settings: Settings) -> dict[str, str]:
    """Return the dashboards by file name, in the language, with the links to CVAT and the days that the settings want."""
    table = languages.read(settings.grafana_language)
    return {
        board.file.name: tidy(
            languages.translate(site.for_site(board.model, settings.cvat_url, settings.time_zone), table)
        )
        for board in load(ROOT / "grafana" / "dashboards")
    }


def _clickhouse_s(path: str, content: str, effect: Effect = "restart", secret: bool = False) -> RenderedFile:
    """Return a file of ClickHouse's own user, to whom its package gives everything in its directory at each upgrade."""
    return RenderedFile(path, content, "clickhouse", "clickhouse", "640", effect, secret)


def _drop_in(context: Context, unit: str) -> RenderedFile:
    return RenderedFile(
        f"{context.paths.root}/etc/systemd/system/{unit}.service.d/cvat-analytics.conf",
        render(f"systemd/{unit}.conf.j2", context.variables()),
    )


def _large_bodies_token(context: Context) -> str:
    """Return that by which Vector knows what its own sink sends: made of a password of Vector's, which it gives away no part of."""
    return hmac.digest(context.secrets["clickhouse_vector"].encode(), b"large_bodies", "sha256").hex()


def _credential(context: Context, unit: str, credential: str, name: str) -> RenderedFile:
    """Return the root-only file that systemd hands to `unit` as `credential` (LoadCredential=, systemd.exec(5))."""
    return RenderedFile(
        f"{context.paths.secrets}/{unit}/{credential}", context.secrets[name], mode="600", secret=True
    )

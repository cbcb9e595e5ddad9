"""The files in which a component's certificate reaches its host, and those that it needs no longer."""

from __future__ import annotations

from cvat_analytics.credentials.certificates import Pair
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import UNITS, Paths, RenderedFile

_SHOWN = ("tls_certificate", "tls_key")


def clickhouse_files(paths: Paths) -> tuple[str, str]:
    """Return where ClickHouse's certificate and its key are; the template says the same."""
    return (
        f"{paths.clickhouse_config}/cvat-analytics.pem",
        f"{paths.clickhouse_config}/cvat-analytics-key.pem",
    )


def shown(paths: Paths, unit: str, pair: Pair) -> list[RenderedFile]:
    """Return the root-only files that systemd hands to `unit` as the certificate that it shows, and its key."""
    return [
        RenderedFile(f"{paths.secrets}/{unit}/{name}", text, mode="600", secret=True)
        for name, text in zip(_SHOWN, (pair.certificate, pair.key), strict=True)
    ]


def authority_files(context: Context) -> list[RenderedFile]:
    """Return the certificate of the stack's authority, if any part of the stack shows one that it has signed."""
    if not context.topology.uses_authority:
        return []
    return [RenderedFile(context.paths.authority, context.signing().make().certificate)]


def left_over(context: Context) -> list[str]:
    """Return the paths of what the host needs no longer where TLS is off, to be removed once its services run without."""
    settings, paths = context.settings, context.paths
    unused = [] if context.topology.uses_authority else [paths.authority]
    if not settings.clickhouse_tls:
        unused += clickhouse_files(paths)
    for name, used in (("vector", settings.vector_speaks_tls), ("grafana", settings.grafana_tls)):
        if not used:
            unused += [f"{paths.secrets}/{UNITS[name]}/{file}" for file in _SHOWN]
    return unused

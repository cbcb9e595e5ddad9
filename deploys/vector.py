"""Vector: receives CVAT's events and writes them into ClickHouse."""

from __future__ import annotations

from cvat_analytics.rendering import render
from cvat_analytics.rendering.files import UNITS, Effect, RenderedFile, fingerprint
from deploys import operations, packages, previous, tls, vector_operations
from deploys.plan import Plan

UNIT = UNITS["vector"]
JOURNAL_TIMER = "cvat-analytics-journal.timer"
ROOM = "cvat-analytics-room"


def install(plan: Plan) -> None:
    """Install Vector. The package brings no configuration, so nothing starts yet."""
    probes = [_probe(plan, port) for port in plan.settings.vector_sources.values()]
    previous.keep(plan, "vector", render.vector_files(plan.context), " && ".join(probes))
    packages.install("vector", plan.settings, plan.state.architecture)
    packages.distribution_s("vector: what packs the journal", ["zstd"], plan.settings)
    if plan.topology.clickhouse_endpoint(plan.context.host).tls or plan.settings.vector_tls:
        packages.distribution_s("vector: what asks through TLS", tls.PACKAGES, plan.settings)


def configure(plan: Plan) -> None:
    """Have Vector prove the pipeline, then write it, the unit's drop-in and the passwords that systemd hands over."""
    files = render.vector_files(plan.context)
    vector_operations.proven(
        name="vector: the configuration is proven", context=plan.context, files=files, unit=UNIT
    )
    operations.managed_files(name="vector: configuration", files=files, unit=UNIT)


def activate(plan: Plan) -> None:
    """Prove that Vector's user may insert, then bring Vector to what was written and wait until every port answers.

    The proof comes first: with a missing table or right nothing would be lost, but everything would wait.
    """
    settings, paths = plan.settings, plan.context.paths
    operations.insert_probe(
        name="vector: may insert into ClickHouse",
        unit=UNIT,
        applied=_applied(plan),
        endpoint=plan.topology.clickhouse_endpoint(plan.context.host),
        database=plan.topology.settings[plan.topology.clickhouse_host].database,
        password_file=f"{paths.secrets}/vector/clickhouse_password",
        authority=paths.authority,
        timeout=settings.health_timeout.total_seconds(),
    )
    vector_operations.applied(
        name="vector: service",
        unit=UNIT,
        configuration=f"{paths.vector_config}/vector.toml",
        fingerprint=_applied(plan),
        probes=[_probe(plan, port) for port in settings.vector_sources.values()],
        timeout=settings.health_timeout.total_seconds(),
    )
    operations.service(
        name="vector: the journal is packed and kept within its size",
        unit=JOURNAL_TIMER,
        applied=fingerprint(*(file for file in _files(plan, "none") if "journal" in file.path)),
        probe=f"systemctl -q is-active {JOURNAL_TIMER}",
        timeout=settings.health_timeout.total_seconds(),
    )
    operations.service(
        name="vector: intake stops before the disk is full",
        unit=ROOM,
        applied=fingerprint(*(file for file in _files(plan, "none") if "room" in file.path)),
        probe=f"systemctl -q is-active {ROOM}",
        timeout=settings.health_timeout.total_seconds(),
    )


def _probe(plan: Plan, port: int) -> str:
    address = plan.settings.vector_listen_address
    if plan.settings.vector_tls_certificate:
        # the operator's own, perhaps for another name, by an authority that this host does not know
        return vector_operations.tcp_probe(port, address)
    if plan.settings.vector_tls:
        return tls.https_probe(port, "/ping", address, plan.context.paths.authority)
    return operations.http_probe(port, "/ping", address)


def _applied(plan: Plan) -> str:
    return fingerprint(packages.versions("vector", plan.settings), *_files(plan, "restart"))


def _files(plan: Plan, effect: Effect) -> list[RenderedFile]:
    return [file for file in render.vector_files(plan.context) if file.effect == effect]

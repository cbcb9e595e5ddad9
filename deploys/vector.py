"""Vector: receives CVAT's events and writes them into ClickHouse."""

from __future__ import annotations

from cvat_analytics import render
from cvat_analytics.render import RenderedFile
from deploys import operations, packages, vector_operations
from deploys.plan import Plan

UNIT = "vector"
JOURNAL_TIMER = "cvat-analytics-journal.timer"


def install(plan: Plan) -> None:
    """Install Vector. The package brings no configuration, so nothing starts yet."""
    packages.install("vector", plan.settings, plan.state.architecture)


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
    settings, clickhouse = plan.settings, plan.context.variables()["clickhouse"]
    operations.insert_probe(
        name="vector: may insert into ClickHouse",
        unit=UNIT,
        applied=_applied(plan),
        address=clickhouse["address"],
        port=clickhouse["http_port"],
        database=clickhouse["database"],
        password_file=f"{plan.context.paths.secrets}/vector/clickhouse_password",
        timeout=settings.health_timeout.total_seconds(),
    )
    address = settings.vector_listen_address
    vector_operations.applied(
        name="vector: service",
        unit=UNIT,
        configuration=f"{plan.context.paths.vector_config}/vector.toml",
        fingerprint=_applied(plan),
        probes=[
            vector_operations.tcp_probe(port, address)
            if settings.vector_tls_certificate
            else operations.http_probe(port, "/ping", address)
            for port in settings.vector_sources.values()
        ],
        timeout=settings.health_timeout.total_seconds(),
    )
    operations.service(
        name="vector: the journal's size is kept",
        unit=JOURNAL_TIMER,
        applied=render.fingerprint(*(file for file in _files(plan, "none") if "journal" in file.path)),
        probe=f"systemctl -q is-active {JOURNAL_TIMER}",
        timeout=settings.health_timeout.total_seconds(),
    )


def _applied(plan: Plan) -> str:
    return render.fingerprint(packages.versions("vector", plan.settings), *_files(plan, "restart"))


def _files(plan: Plan, effect: render.Effect) -> list[RenderedFile]:
    return [file for file in render.vector_files(plan.context) if file.effect == effect]

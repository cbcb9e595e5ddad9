"""Vector: receives CVAT's events and writes them into ClickHouse."""

from __future__ import annotations

from cvat_analytics import render
from deploys import operations, packages
from deploys.plan import Plan

UNIT = "vector"


def install(plan: Plan) -> None:
    """Install Vector. The package brings no configuration, so nothing starts yet."""
    packages.install("vector", plan.settings, plan.state.architecture)


def configure(plan: Plan) -> None:
    """Write the pipeline, the unit's drop-in and the password that systemd hands over."""
    operations.managed_files(name="vector: configuration", files=render.vector_files(plan.context), unit=UNIT)


def activate(plan: Plan) -> None:
    """Prove that Vector's user may insert, then start Vector if needed and wait until it answers.

    The proof comes first: a missing table or right would make Vector drop whole batches (a 4xx answer).
    """
    settings = plan.settings
    operations.insert_probe(
        name="vector: may insert into ClickHouse",
        unit=UNIT,
        applied=_applied(plan),
        address=plan.topology.clickhouse_address(plan.context.host),
        port=plan.context.variables()["clickhouse"]["http_port"],
        database=plan.context.variables()["clickhouse"]["database"],
        password_file=f"{plan.context.paths.secrets}/vector/clickhouse_password",
        timeout=settings.health_timeout.total_seconds(),
    )
    operations.service(
        name="vector: service",
        unit=UNIT,
        applied=_applied(plan),
        probe=operations.http_probe(settings.vector_port, "/ping", settings.vector_listen_address),
        timeout=settings.health_timeout.total_seconds(),
    )


def _applied(plan: Plan) -> str:
    return render.fingerprint(packages.versions("vector", plan.settings), *render.vector_files(plan.context))

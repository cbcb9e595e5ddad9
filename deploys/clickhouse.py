"""ClickHouse: the store, its users, and the schema."""

from __future__ import annotations

from dataclasses import replace

from cvat_analytics.base.project import ROOT
from cvat_analytics.rendering import render
from cvat_analytics.rendering.files import UNITS, fingerprint
from cvat_analytics.store import migrations
from deploys import operations, packages, previous, schema_operations
from deploys.plan import Plan, clickhouse_client

UNIT = UNITS["clickhouse"]


def rebuild(plan: Plan) -> None:
    """Rebuild a table of an earlier version, before anything may write to it what only the new one can hold."""
    schema_operations.rebuilt(
        name="clickhouse: rebuild of the event table",
        scripts=migrations.read(ROOT / "clickhouse"),
        settings=plan.settings,
        client=clickhouse_client(plan.context.paths),
    )


def install(plan: Plan) -> None:
    """Install server and client."""
    previous.keep(plan, "clickhouse", render.clickhouse_files(plan.context), _probe(plan))
    packages.install("clickhouse", plan.settings, plan.state.architecture)


def configure(plan: Plan) -> None:
    """Write the drop-ins; the package's own files stay as they are.

    ClickHouse takes its users up at once: what a Vector of an earlier version needs is taken from it last (`settle`).
    """
    operations.managed_files(
        name="clickhouse: configuration", files=render.clickhouse_files(plan.context), unit=UNIT
    )


def activate(plan: Plan) -> None:
    """Start it if needed, wait until it answers, and bring the schema up to date."""
    files = [file for file in render.clickhouse_files(plan.context) if file.effect == "restart"]
    operations.service(
        name="clickhouse: service",
        unit=UNIT,
        applied=fingerprint(packages.versions("clickhouse", plan.settings), *files),
        probe=_probe(plan),
        timeout=plan.settings.health_timeout.total_seconds(),
    )
    schema_operations.schema(
        name="clickhouse: schema",
        scripts=migrations.read(ROOT / "clickhouse"),
        settings=plan.settings,
        client=clickhouse_client(plan.context.paths),
        losses_are_known=plan.losses_are_known,
    )


def _probe(plan: Plan) -> str:
    return operations.http_probe(plan.settings.clickhouse_http_port, "/ping")


def settle(plan: Plan) -> None:
    """Take from Vector's user what only an earlier version's needed, now that every Vector runs with what is new."""
    if plan.former_vector_ends:
        operations.managed_files(
            name="clickhouse: rights of an earlier version's Vector end",
            files=render.clickhouse_files(replace(plan.context, former_vector=False)),
            unit=UNIT,
        )

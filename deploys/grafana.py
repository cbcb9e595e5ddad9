"""Grafana: the dashboards, with the ClickHouse plugin installed from a file."""

from __future__ import annotations

from cvat_analytics.credentials import secrets
from cvat_analytics.rendering import alerts, plugin, render
from cvat_analytics.rendering.files import UNITS, fingerprint
from deploys import operations, packages, previous, tls
from deploys.plan import Plan

UNIT = UNITS["grafana"]


def install(plan: Plan) -> None:
    """Install Grafana and its ClickHouse plugin."""
    previous.keep(plan, "grafana", render.grafana_files(plan.context), _probe(plan))
    packages.install("grafana", plan.settings, plan.state.architecture)
    if plan.settings.grafana_tls:
        packages.distribution_s("grafana: what asks through TLS", tls.PACKAGES, plan.settings)
    settings, architecture = plan.settings, plan.state.architecture
    operations.unpacked(
        name="grafana: ClickHouse plugin",
        archive=lambda: plugin.archive(settings, architecture),
        digest=plugin.sha256(settings, architecture),
        directory=f"{plan.context.paths.grafana_plugins}/{plugin.NAME}",
        unit=UNIT,
    )


def configure(plan: Plan) -> None:
    """Write configuration, provisioning and dashboards; the package's grafana.ini stays as it is."""
    rendered = render.grafana_files(plan.context)
    paths = plan.context.paths
    operations.managed_files(
        name="grafana: configuration",
        files=rendered,
        unit=UNIT,
        # a dashboard that was taken out of the repository goes from the host too
        directory=paths.dashboards,
        absent=[
            f"{paths.secrets}/grafana-server/{name}"
            for name in secrets.GIVEN
            if name not in alerts.credentials(plan.settings)
        ],
        # rules outlive their file in Grafana's database: where there was one, another one must remove them
        replacing=[] if plan.settings.alerts else render.alerts_off(plan.context),
    )


def activate(plan: Plan) -> None:
    """Start Grafana if needed and wait until it says that it is healthy."""
    settings = plan.settings
    files = [file for file in render.grafana_files(plan.context) if file.effect == "restart"]
    operations.service(
        name="grafana: service",
        unit=UNIT,
        applied=fingerprint(
            packages.versions("grafana", settings), plugin.sha256(settings, plan.state.architecture), *files
        ),
        probe=_probe(plan),
        timeout=settings.health_timeout.total_seconds(),
    )


def _probe(plan: Plan) -> str:
    settings = plan.settings
    health = settings.grafana_port, f"{settings.grafana_path}/api/health", settings.grafana_listen_address
    if settings.grafana_tls:
        return tls.https_probe(*health, plan.context.paths.authority)
    return operations.http_probe(*health)

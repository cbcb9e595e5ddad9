"""The gateway: TLS, and nobody in without the right. An nginx of the distribution's, run as a unit of our own."""

from __future__ import annotations

from cvat_analytics.credentials import certificates
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering.files import RenderedFile, fingerprint
from deploys import gateway_operations, operations, package_operations, packages, previous
from deploys.plan import Plan


def prepare(plan: Plan) -> None:
    """Keep nginx's own service off, which would listen publicly with a page of the distribution's.

    Before all installs: an offline bundle's first packages bring nginx along.
    """
    package_operations.masked(
        name="gateway: nginx's own service stays off", package="nginx", unit="nginx.service"
    )


def install(plan: Plan) -> None:
    """Install nginx, and what counts connections to it."""
    previous.keep(plan, "gateway", files(plan), _probe(plan))
    packages.distribution_s("gateway: nginx", ["nginx", "nftables"], plan.settings)


def configure(plan: Plan) -> None:
    """Write configuration, certificate and unit."""
    operations.managed_files(name="gateway: configuration", files=files(plan), unit=gateway.UNIT)


def activate(plan: Plan) -> None:
    """Start the gateway if needed and wait until it answers."""
    operations.service(
        name="gateway: service",
        unit=gateway.UNIT,
        applied=fingerprint(*files(plan)),
        probe=_probe(plan),
        timeout=plan.settings.health_timeout.total_seconds(),
    )


def _probe(plan: Plan) -> str:
    settings = plan.settings
    authority = gateway.variables(plan.context)["gateway"]["authority"]
    ports = settings.gateway_https_port, settings.gateway_http_port
    return gateway_operations.gateway_probe(*ports, settings.gateway_listen_address, authority)


def certificate(plan: Plan) -> certificates.Pair:
    """Return the operator's certificate, or one by the stack's own authority. Raises InputError when it cannot be used."""
    settings = plan.settings
    if settings.gateway_certificate and settings.gateway_certificate_key:
        return certificates.given(
            settings.gateway_certificate, settings.gateway_certificate_key, gateway.host_name(plan.context)
        )
    return plan.context.signing().issue(
        f"gateway-{gateway.host_name(plan.context)}", gateway.certificate_names(plan.context)
    )


def files(plan: Plan) -> list[RenderedFile]:
    """Return the files that it needs on the host."""
    return gateway.files(plan.context, certificate(plan))

"""The firewall's rules: for the stack's own ports where the setting asks for them, for the gateway's wherever it is."""

from __future__ import annotations

from cvat_analytics.gateway import gateway
from cvat_analytics.rendering.files import fingerprint
from deploys import gateway_operations, operations, packages
from deploys.plan import Plan


def install(plan: Plan) -> None:
    """Install what loads the rules."""
    if gateway.has_rules(plan.context):
        packages.distribution_s("firewall: nftables", ["nftables"], plan.settings)


def configure(plan: Plan) -> None:
    """Write the rules and their unit."""
    if gateway.has_rules(plan.context):
        operations.managed_files(
            name="firewall: rules", files=gateway.firewall_files(plan.context), unit=gateway.FIREWALL_UNIT
        )


def close(plan: Plan) -> None:
    """Load rules that close ports, before anything is started that listens there."""
    if plan.settings.firewall:
        _load(plan)


def open_again(plan: Plan) -> None:
    """Load rules that close nothing, or take them away where nothing asks for them any more.

    Last of all: a part that goes back to loopback listens on the network until it was restarted.
    """
    if not gateway.has_rules(plan.context):
        gateway_operations.retired(
            name="firewall: none",
            unit=gateway.FIREWALL_UNIT,
            files=[file.path for file in gateway.firewall_files(plan.context)],
        )
    elif not plan.settings.firewall:
        _load(plan)


def _load(plan: Plan) -> None:
    gateway_operations.rules(
        name="firewall: service",
        unit=gateway.FIREWALL_UNIT,
        applied=fingerprint(*gateway.firewall_files(plan.context)),
        probe="nft list table inet cvat_analytics > /dev/null",
        timeout=plan.settings.health_timeout.total_seconds(),
    )

"""The firewall's rules: for the stack's own ports where the setting asks for them, for the gateway's wherever it is."""

from __future__ import annotations

from cvat_analytics.gateway import gateway
from cvat_analytics.rendering.files import fingerprint
from deploys import gateway_operations, operations, package_operations
from deploys.plan import Plan


def apply(plan: Plan) -> None:
    """Load the rules, or take them away where nothing asks for them any more."""
    files = gateway.firewall_files(plan.context)
    if not gateway.has_rules(plan.context):
        gateway_operations.retired(
            name="firewall: none", unit=gateway.FIREWALL_UNIT, files=[file.path for file in files]
        )
        return
    package_operations.prerequisites(name="firewall: nftables", packages=["nftables"])
    operations.managed_files(name="firewall: rules", files=files, unit=gateway.FIREWALL_UNIT)
    gateway_operations.rules(
        name="firewall: service",
        unit=gateway.FIREWALL_UNIT,
        applied=fingerprint(*files),
        probe="nft list table inet cvat_analytics > /dev/null",
        timeout=plan.settings.health_timeout.total_seconds(),
    )

"""Which certificate a component shows to those who connect to it."""

from __future__ import annotations

import re

from cvat_analytics.config import certificate_names
from cvat_analytics.config.topology import Topology
from cvat_analytics.credentials.certificates import Authority, Pair


def certificate(authority: Authority, topology: Topology, host: str, component: str) -> Pair:
    """Return the certificate of `component` (clickhouse, vector or grafana) on `host`, made or renewed when it is time."""
    # pyinfra's names of hosts may have any letters, as in @docker/name
    label = re.sub(r"[^A-Za-z0-9.]+", "-", host).strip("-.")
    return authority.issue(f"{component}-{label}", certificate_names.of_component(topology, host, component))

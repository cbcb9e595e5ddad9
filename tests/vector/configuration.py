"""Vector's rendered configuration, and its transforms as the VRL runtime takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cvat_analytics.config import topology
from cvat_analytics.credentials import secrets
from cvat_analytics.embedded.vector_substitute import config
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Paths
from tests.clickhouse import free_ports

Run = Callable[[str | bytes], Mapping[str, list[dict[str, Any]]]]


def context(root: Path, **settings: Any) -> Context:
    """Return what the templates of a one-host stack below `root` see."""
    groups = {"clickhouse": ["h"], "vector": ["h"], "grafana": ["h"]}
    stack = topology.build(groups, {"h": settings}, where="test")
    return Context("h", stack, secrets.generate(), Paths(root=str(root)))


READINGS = "scrape_interval_secs = 15"
"""How often Vector reads what it counts: whoever waits for that may have it read more often."""


def write_configuration(root: Path, *, reads_every: int = 15, **settings: Any) -> Path:
    """Write Vector's rendered configuration and its password below `root`; return the path of vector.toml.

    `reads_every`: seconds between two readings of what it counts.
    """
    # of each root's own: several run at a time
    port = root / "large_port"
    if not port.exists():
        root.mkdir(parents=True, exist_ok=True)
        port.write_text(str(free_ports(1)[0]))
    stack = context(root, **{"vector_large_port": int(port.read_text())} | settings)
    credentials = Path(stack.paths.vector_credentials)
    credentials.mkdir(parents=True, exist_ok=True)
    (credentials / "clickhouse_password").write_text("pass word\n")
    (credentials / "large_bodies").write_text("of large bodies\n")
    (credentials / "ingest_password").write_text("in gest\n")
    for name in ("tls_certificate", "tls_key"):
        if source := getattr(stack.settings, f"vector_{name}"):
            (credentials / name).write_text(source.read_text())
    path = Path(stack.paths.vector_config) / "vector.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = render.render("vector.toml.j2", stack.variables())
    assert READINGS in text
    path.write_text(text.replace(READINGS, f"scrape_interval_secs = {reads_every}"))
    return path


def transforms(document: Mapping[str, Any]) -> tuple[config.Component, ...]:
    """Return the transforms of a configuration in the order of the file, which is that of the events."""
    return tuple(
        config.Component(name, table["type"], table) for name, table in document["transforms"].items()
    )

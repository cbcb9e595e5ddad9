"""Where the project's own files are that are no modules of the library: templates, SQL, dashboards, deploy.py, commands.

In a checkout they lie beside the library; in an installed wheel inside of it (`shipped/`, laid out by pyproject.toml).
"""

from __future__ import annotations

import os
from pathlib import Path

LIBRARY = Path(__file__).parent.parent
"""The package `cvat_analytics` itself."""
_SHIPPED = LIBRARY / "shipped"

ROOT = _SHIPPED if _SHIPPED.is_dir() else LIBRARY.parent
"""The directory that has `templates/`, `clickhouse/`, `grafana/`, `inventory/`, `deploys/`, `scripts/` in it."""

IS_CHECKOUT = ROOT != _SHIPPED


def cache_directory() -> Path:
    """Return where files that were fetched once are kept (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cvat-analytics"

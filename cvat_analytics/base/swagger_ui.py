"""Which files of Swagger UI the events API shows, and where they lie."""

from __future__ import annotations

from pathlib import Path

from cvat_analytics.base.project import LIBRARY, ROOT

ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
"""What of Swagger UI is needed, and as what it is served."""


def assets() -> Path:
    """Return where they lie: among npm's packages in a checkout, else beside the page that shows them."""
    packed = LIBRARY / "api" / "static" / "swagger-ui"
    return packed if packed.is_dir() else ROOT / "node_modules" / "swagger-ui-dist"

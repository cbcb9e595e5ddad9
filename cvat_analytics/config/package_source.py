"""Which of the three kinds of place packages come from: the setting `package_source` is read here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings


def kind(settings: Settings) -> Literal["vendor", "mirror", "bundle"]:
    """Return whether packages come from their vendors, from a mirror's URL, or from a directory."""
    if settings.package_source == "vendor":
        return "vendor"
    return "mirror" if settings.package_source.startswith(("http://", "https://")) else "bundle"


def bundle(settings: Settings) -> Path | None:
    """Return the directory of an offline bundle; None where packages come over the network."""
    return Path(settings.package_source) if kind(settings) == "bundle" else None

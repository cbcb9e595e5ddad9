"""Which of the versions that run have known faults: known_faults.toml says what is known, from where, and what to do."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from cvat_analytics.checks.finding import Finding

_FILE = Path(__file__).with_suffix(".toml")
_NAMES = {
    "clickhouse": "ClickHouse",
    "vector": "Vector",
    "grafana": "Grafana",
    "plugin": "Grafana's ClickHouse plugin",
    "cvat": "CVAT",
}
"""Each part of which faults are known."""


@cache
def known() -> list[dict[str, Any]]:
    """Return what is known."""
    faults: list[dict[str, Any]] = tomllib.loads(_FILE.read_text())["fault"]
    return faults


def findings(versions: Iterable[tuple[str, str, str]]) -> Iterator[Finding]:
    """Yield the known faults of `versions`: host, part, version as its package has it."""
    for host, part, text in versions:
        version = parsed(text)
        if version is None:
            continue
        for fault in known():
            if fault["part"] == part and SpecifierSet(fault["versions"]).contains(version, prereleases=True):
                why = f"{_NAMES[part]} {text} {fault['fault']} (source: {fault['source']})"
                yield Finding(fault["weight"], "version", why, fault["next"], host=host)


def parsed(text: str) -> Version | None:
    """Return a version without what a distribution or a build has put behind it; None for what is none."""
    try:
        return Version(text.partition("-")[0].partition("+")[0].partition("~")[0])
    except InvalidVersion:
        return None

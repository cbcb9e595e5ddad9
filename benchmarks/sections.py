"""The sections of the benchmark. A new one is a module with `run(runs, say) -> Report`, named here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from benchmarks.report import Report

Say = Callable[[str], None]
"""Tells the person who waits what is being done."""

SECTIONS = {
    "commands": "benchmarks.commands",
    "deploy": "benchmarks.deploy",
    "store": "benchmarks.store",
    "pipeline": "benchmarks.pipeline",
    "dashboards": "benchmarks.dashboards",
    "export": "benchmarks.export",
    "backup": "benchmarks.backup",
    "guard": "benchmarks.guard",
    "small": "benchmarks.small",
}
BY_NAME = ("guard", "small")
"""What is only run when it is named: it compares with another state of the project, or takes an hour and root."""


def load(name: str) -> Callable[..., Report]:
    """Return the function that measures the section `name`; imported only now, because sections need much."""
    return cast(Callable[..., Report], importlib.import_module(SECTIONS[name]).run)

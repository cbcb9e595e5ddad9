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
}


def load(name: str) -> Callable[..., Report]:
    """Return the function that measures the section `name`; imported only now, because sections need much."""
    return cast(Callable[..., Report], importlib.import_module(SECTIONS[name]).run)

"""The scopes that SQL and made-up events name are those of `cvat_analytics/store/event_scopes.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cvat_analytics.base.project import LIBRARY, ROOT
from cvat_analytics.store.event_scopes import SCOPES


def written(files: Iterator[Path]) -> Iterator[tuple[str, str]]:
    """Yield each text in `files` that looks like a scope, and where it stands."""
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            for scope in re.findall(r"""['"]([a-z]+:[a-z_]+)['"]""", line):
                yield f"{file.relative_to(ROOT)}:{number}", scope


def sql_and_vrl() -> Iterator[Path]:
    for pattern in (
        "clickhouse/**/*.sql",
        "templates/**/*.sql.j2",
        "templates/**/*.vrl",
        "templates/vector.toml.j2",
    ):
        yield from sorted(ROOT.glob(pattern))


def makers_of_events() -> Iterator[Path]:
    for folder in ("demo", "pipeline", "store"):
        yield from sorted((LIBRARY / folder).rglob("*.py"))


def test_sql_asks_for_scopes_that_somebody_sends() -> None:
    named = list(written(sql_and_vrl()))
    assert len(named) > 30
    unknown = [f"{place}: nobody sends {scope}" for place, scope in named if scope not in SCOPES]
    assert unknown == []


def test_made_up_events_have_scopes_that_somebody_sends() -> None:
    named = list(written(makers_of_events()))
    assert len(named) > 20
    unknown = [f"{place}: nobody sends {scope}" for place, scope in named if scope not in SCOPES]
    assert unknown == []

"""Find in a query what Grafana's ClickHouse plugins of one major line expand differently.

A dashboard is shown by whatever plugin is installed: what the next version reads in another way is no number to rely on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cvat_analytics.dashboards.macro_grammar import (
    NEWEST,
    V4_19,
    V4_20,
    Call,
    interpolate,
    interpolate_before_4_19,
    pieces,
    without_comments,
)
from cvat_analytics.dashboards.macros import SINCE_4_19, TimeRange, Times, table

_END = datetime(2026, 1, 8, tzinfo=UTC)
_TIMES = Times(TimeRange(_END - timedelta(days=7), _END), timedelta(hours=1))


def differences(sql: str) -> list[tuple[str, str]]:
    """Return what is read differently in `sql`, as Grafana's backend gets it, and what to write instead."""
    if "$__" not in sql:
        return []
    known = table(_TIMES)
    older = {name for name in _called(sql) if name in SINCE_4_19}
    for name in sorted(older):
        return [
            (
                f"plugins before 4.19 make something else of $__{name}",
                "Write out what it becomes, or use $__timeFilter, $__fromTime, $__toTime or $__timeInterval",
            )
        ]
    by_4_19, by_4_20, by_newest = (
        _outcome(lambda grammar=grammar: interpolate(sql, known, grammar))  # type: ignore[misc]
        for grammar in (V4_19, V4_20, NEWEST)
    )
    if by_4_19 != by_4_20:
        return [
            (
                "a macro stands in another macro's argument, where plugins of the 4.19 line leave it as it is",
                "Write out what the outer macro becomes",
            )
        ]
    if by_4_20 != by_newest:
        return [
            (
                "plugins up to 4.20.0 see a comment inside `…` or $…$ in it",
                "Keep -- and /* out of such names and texts",
            )
        ]
    before = _outcome(lambda: without_comments(interpolate_before_4_19(sql, known)))
    if before != by_newest:
        return [
            (
                "plugins before 4.19 read a macro in it differently: they look into comments too, and count brackets and commas in quotes",
                "Keep macros out of comments, and quotes with brackets or commas out of a macro's arguments",
            )
        ]
    return []


def _called(sql: str) -> set[str]:
    """Return the names of the macros in a query; an argument is looked into as well."""
    names: set[str] = set()
    for piece in pieces(without_comments(sql), table(_TIMES)):
        if isinstance(piece, Call):
            names |= {piece.name, *(name for argument in piece.arguments for name in _called(argument))}
    return names


def _outcome(expand: Callable[[], str]) -> str | None:
    try:
        return expand()
    except ValueError:
        return None

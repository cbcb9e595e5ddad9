"""Find one's way in a dashboard's JSON: its panels, and what to call them in messages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Model = Mapping[str, Any]
Refusal = Callable[[str], str]
"""Asks an engine whether it would run a query; returns what it complains of, or an empty text."""
Problems = Iterator[tuple[str, str, str]]
"""Where in a dashboard something is wrong, what, and the next step."""


def panels(model: Model) -> Iterator[Model]:
    """Yield the panels of a dashboard, rows and what is in collapsed rows too."""
    for panel in model.get("panels", []):
        yield panel
        yield from panels(panel)


def name_of(panel: Model) -> str:
    """Return what people call a panel."""
    return f"panel {panel['title']!r}" if panel.get("title") else f"panel #{panel.get('id', '?')}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known name, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {matches[0]!r}?" if matches else ""

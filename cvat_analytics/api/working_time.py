"""The working time of one request's events, as the CVAT server reports it (docs/why/working-time.md states the rule).

The server knows of a person only what one request brings: its events and the last one of the request before. What is
computed in ClickHouse over all events is the exact figure; this one is what CVAT's users are used to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

THRESHOLD_MS = 100_000
DURATION_SCOPES = frozenset({"change:frame"})


class Ids(NamedTuple):
    """What was worked on."""

    job_id: int | None
    task_id: int | None
    project_id: int | None


class Action(NamedTuple):
    """What matters here of an event. Times are milliseconds since 1970."""

    at_ms: int
    scope: str
    duration_ms: int
    ids: Ids

    @property
    def end_ms(self) -> int:
        """Return when it ends: where its scope has no duration that counts, when it happens."""
        return self.at_ms + (self.duration_ms if self.scope in DURATION_SCOPES else 0)


class Amount(NamedTuple):
    """How long something was worked on, and until when."""

    milliseconds: int
    until_ms: int


def amounts(actions: Iterable[Action], previous: Action | None) -> dict[Ids, Amount]:
    """Return the working time per ids that `actions` add to what was covered up to `previous`; none that is 0.

    An action adds the pause before it if that is shorter than 100 s, and what it covers beyond the furthest end so
    far. What it adds belongs to the ids of the action before it; of a person's first action to its own.
    """
    totals: dict[Ids, Amount] = {}
    furthest = previous.end_ms if previous else None
    ids = previous.ids if previous else None
    for action in _in_order(actions):
        pause_counts = furthest is not None and action.at_ms - furthest < THRESHOLD_MS
        begin = furthest if furthest is not None and pause_counts else action.at_ms
        end = max(begin, action.end_ms)
        key = ids if ids is not None else action.ids
        if end > begin:
            totals[key] = Amount(
                totals[key].milliseconds + end - begin if key in totals else end - begin, end
            )
        furthest = end if furthest is None else max(furthest, action.end_ms)
        ids = action.ids
    return totals


def covered(actions: Iterable[Action], previous: Action | None) -> Action:
    """Return what later actions have as `previous`: the furthest end of `actions` (one at least), and the last one's ids."""
    ordered = _in_order(actions)
    ends = [each.end_ms for each in (*ordered, *([previous] if previous else []))]
    return Action(max(ends), "", 0, ordered[-1].ids)


def _in_order(actions: Iterable[Action]) -> Sequence[Action]:
    """Return actions in order of time; those of the same time in an order that does not depend on how they came."""
    return sorted(
        actions, key=lambda each: (each.at_ms, each.end_ms, *((i is None, i or 0) for i in each.ids))
    )

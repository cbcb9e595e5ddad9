"""State the rule of working time in plain Python, so that the SQL has something to be held against.

Slow and clear on purpose. The tests compare ClickHouse's answer with it
row by row, and people who doubt a figure can follow an event from here to the row that it ends in.

The rule (docs/why/working-time.md explains it to people who are not programmers): take a person's client events in
order, and keep the furthest end seen so far. An event that begins less than the threshold after that end adds the
pause; what an event covers beyond that end is added too; the added time belongs to the ids of the event before.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

THRESHOLD_MS = 100_000
DURATION_SCOPES = frozenset({"change:frame"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
OWN_EVENT_SINCE_MS = (datetime(2024, 6, 5, tzinfo=UTC) - _EPOCH) // _MILLISECOND
"""Since when CVAT (2.14.1) reports working time in an event of its own."""


class Ids(NamedTuple):
    """Say what was worked on. None is an id of its own: "in no job"."""

    org_id: int | None = None
    project_id: int | None = None
    task_id: int | None = None
    job_id: int | None = None


NO_IDS = Ids()


@dataclass(frozen=True)
class Event:
    """Hold what matters here of a row of the event table.

    Two events that are equal are one event that arrived twice. `other_columns` tells those apart that differ
    in nothing else; any value will do.
    """

    user_id: int | None
    timestamp_ms: int
    scope: str
    duration_ms: int = 0
    ids: Ids = NO_IDS
    source: str = "client"
    payload: str | None = None
    other_columns: Hashable = None

    def end_ms(self, duration_scopes: Collection[str] = DURATION_SCOPES) -> int:
        """Return when the event ends: where its scope has no duration that counts, when it happens."""
        return self.timestamp_ms + (self.duration_ms if self.scope in duration_scopes else 0)


class Span(NamedTuple):
    """Hold the time [start_ms, end_ms) that an event added, which may be empty, and the ids that it belongs to."""

    user_id: int | None
    ids: Ids
    start_ms: int
    end_ms: int
    event: Event


class Key(NamedTuple):
    """Name a row of `working_time`."""

    user_id: int | None
    org_id: int | None
    project_id: int | None
    task_id: int | None
    job_id: int | None
    day: date


@dataclass
class Amounts:
    """Hold the numbers of a row of `working_time`."""

    computed_ms: int = 0
    reported_ms: int = 0
    events: int = 0


def spans(
    events: Iterable[Event],
    threshold_ms: int = THRESHOLD_MS,
    duration_scopes: Collection[str] = DURATION_SCOPES,
) -> list[Span]:
    """Return the span of each client event, by user and in order. Together a user's spans never overlap.

    Raises ValueError for a threshold that is not positive.
    """
    if threshold_ms <= 0:
        raise ValueError(f"threshold: must be 1 ms or more, not {threshold_ms} ms")
    by_user: dict[int | None, list[Event]] = defaultdict(list)
    for event in set(events):
        if event.source == "client":
            by_user[event.user_id].append(event)
    return [
        span
        for user_id in sorted(by_user, key=_null_last)
        for span in _spans_of_one(by_user[user_id], threshold_ms, duration_scopes)
    ]


def _spans_of_one(events: list[Event], threshold_ms: int, duration_scopes: Collection[str]) -> Iterator[Span]:
    furthest_ms: int | None = None
    ids = NO_IDS
    for event in sorted(events, key=lambda each: _order(each, duration_scopes)):
        begin_ms, end_ms = event.timestamp_ms, event.end_ms(duration_scopes)
        if furthest_ms is None:
            ids, start_ms = event.ids, begin_ms
        elif begin_ms - furthest_ms >= threshold_ms:
            start_ms = begin_ms  # the pause was a break
        else:
            start_ms = furthest_ms  # a pause that counts, or the part beyond what is covered
        yield Span(event.user_id, ids, start_ms, max(start_ms, end_ms), event)
        furthest_ms = end_ms if furthest_ms is None else max(furthest_ms, end_ms)
        ids = event.ids


def _order(event: Event, duration_scopes: Collection[str]) -> tuple[object, ...]:
    """Return the sort key of an event among its user's.

    Events of the same time need an order that does not depend on their arrival. Those that are equal in all of
    this are interchangeable: the later one adds nothing, and its ids are the same.
    """
    org_id, project_id, task_id, job_id = event.ids
    return (
        event.timestamp_ms,
        event.end_ms(duration_scopes),
        *(_null_last(each) for each in (job_id, task_id, project_id, org_id)),
    )


def _null_last(number: int | None) -> tuple[bool, int]:
    return (number is None, number or 0)


def totals(spans: Iterable[Span], zone: str = "UTC") -> dict[Key, int]:
    """Return the milliseconds per user, ids and day, with each span split at the midnights of a time zone."""
    result: dict[Key, int] = defaultdict(int)
    for span in spans:
        for day, milliseconds in _by_day(span.start_ms, span.end_ms, ZoneInfo(zone)):
            result[Key(span.user_id, *span.ids, day)] += milliseconds
    return dict(result)


def _by_day(start_ms: int, end_ms: int, zone: ZoneInfo) -> Iterator[tuple[date, int]]:
    while start_ms < end_ms:
        day = day_of(start_ms, zone)
        stop_ms = min(end_ms, _begin_of(day + timedelta(days=1), zone))
        yield day, stop_ms - start_ms
        start_ms = stop_ms


def day_of(milliseconds: int, zone: ZoneInfo) -> date:
    """Return the day that an instant lies in. Where a clock is set back over midnight, the new day goes on."""
    day = (_EPOCH + milliseconds * _MILLISECOND).astimezone(zone).date()
    tomorrow = day + timedelta(days=1)
    return tomorrow if _begin_of(tomorrow, zone) <= milliseconds else day


def _begin_of(day: date, zone: ZoneInfo) -> int:
    """Return when a day begins. Where midnight is skipped, this is the moment at which the clock is set forward."""
    return (datetime.combine(day, time(), zone).astimezone(UTC) - _EPOCH) // _MILLISECOND


def reported_ms(event: Event) -> int:
    """Return what the CVAT server said in this event: in one of its own, or in a client's, as it did before 2.14.1.

    Whatever else says so is what somebody claims.
    """
    if event.source == "server" and event.scope == "send:working_time":
        return event.duration_ms
    if event.source != "client" or event.timestamp_ms >= OWN_EVENT_SINCE_MS:
        return 0
    try:
        payload = json.loads(event.payload or "")
    except ValueError:
        return 0
    value = payload.get("working_time") if isinstance(payload, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def table(
    events: Collection[Event],
    threshold_ms: int = THRESHOLD_MS,
    duration_scopes: Collection[str] = DURATION_SCOPES,
    zone: str = "UTC",
) -> dict[Key, Amounts]:
    """Return what `working_time` holds for these events.

    A span is found under the ids that it belongs to, on the day that it lies in. A client event is counted, and
    reported time found, under the event's own ids, on the day of its timestamp.
    """
    rows: dict[Key, Amounts] = defaultdict(Amounts)
    for key, milliseconds in totals(spans(events, threshold_ms, duration_scopes), zone).items():
        rows[key].computed_ms = milliseconds
    for event in set(events):
        reported, counted = reported_ms(event), event.source == "client"
        if reported or counted:
            row = rows[Key(event.user_id, *event.ids, day_of(event.timestamp_ms, ZoneInfo(zone)))]
            row.reported_ms += reported
            row.events += counted
    return dict(rows)

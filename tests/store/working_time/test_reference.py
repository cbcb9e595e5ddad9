"""The reference, sentence by sentence of the rule (docs/why/working-time.md), and what follows from the rule."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.working_time.histories import DAY_MS, histories, milliseconds
from tests.store.working_time.reference import (
    OWN_EVENT_SINCE_MS,
    THRESHOLD_MS,
    Amounts,
    Event,
    Ids,
    Key,
    reported_ms,
    spans,
    table,
    totals,
)

MORNING = milliseconds("2026-01-05 10:00:00")


def event(at: int, job_id: int | None = 1, duration_ms: int | None = None, **fields: Any) -> Event:
    """Return an event `at` milliseconds after ten in the morning: a change of frame if it has a duration."""
    scope = "save:job" if duration_ms is None else "change:frame"
    return Event(
        7, MORNING + at, fields.pop("scope", scope), duration_ms or 0, Ids(1, 2, 3, job_id), **fields
    )


def added(*events: Event, **rule: Any) -> list[tuple[int | None, int, int]]:
    """Return the job, start and end of each span that is not empty, times counted from ten in the morning."""
    return [
        (span.ids.job_id, span.start_ms - MORNING, span.end_ms - MORNING)
        for span in spans(events, **rule)
        if span.end_ms > span.start_ms
    ]


CASES: dict[str, tuple[list[Event], list[tuple[int | None, int, int]]]] = {
    "no event": ([], []),
    "a first event without a duration": ([event(0)], []),
    "a first event counts its own duration for its own ids": ([event(0, 5, 3_000)], [(5, 0, 3_000)]),
    "a pause is the event's before": ([event(0, 5), event(10_000, 6)], [(5, 0, 10_000)]),
    "so is the duration": (
        [event(0, 5), event(10_000, 6, 500), event(10_500, 7)],
        [(5, 0, 10_500)],
    ),
    "so is the duration after a break": (
        [event(0, 5), event(200_000, 6, 500)],
        [(5, 200_000, 200_500)],
    ),
    "a pause of 1 ms": ([event(0), event(1)], [(1, 0, 1)]),
    "a pause of 99 999 ms": ([event(0), event(99_999)], [(1, 0, 99_999)]),
    "a pause of 100 000 ms": ([event(0), event(100_000)], []),
    "a pause of 100 001 ms": ([event(0), event(100_001)], []),
    "a pause is counted from the furthest end, not from the event before": (
        [event(0, 1, 150_000), event(10_000, 2), event(249_999, 3)],
        [(1, 0, 150_000), (2, 150_000, 249_999)],
    ),
    "a pause of 100 000 ms after the furthest end": (
        [event(0, 1, 150_000), event(10_000, 2), event(250_000, 3)],
        [(1, 0, 150_000)],
    ),
    "an event inside what is covered adds nothing": (
        [event(0, 1, 50_000), event(10_000, 2, 5_000)],
        [(1, 0, 50_000)],
    ),
    "one that ends with it adds nothing": (
        [event(0, 1, 50_000), event(10_000, 2, 40_000)],
        [(1, 0, 50_000)],
    ),
    "one that ends after it adds the part beyond": (
        [event(0, 1, 50_000), event(10_000, 2, 40_001), event(20_000, 3, 31_000)],
        [(1, 0, 50_000), (1, 50_000, 50_001), (2, 50_001, 51_000)],
    ),
    "one that begins at the end adds its duration": (
        [event(0, 1, 50_000), event(50_000, 2, 1_000)],
        [(1, 0, 50_000), (1, 50_000, 51_000)],
    ),
    "an event that adds nothing is still the event before": (
        [event(0, 1, 50_000), event(10_000, 2), event(60_000, 3)],
        [(1, 0, 50_000), (2, 50_000, 60_000)],
    ),
    "only change:frame has a duration": (
        [event(0, 1, 9_000, scope="draw:object"), event(5_000, 2, 9_000, scope="save:job")],
        [(1, 0, 5_000)],
    ),
    "the longest duration there is": ([event(0, 1, 2**32 - 1)], [(1, 0, 4_294_967_295)]),
    "no job is a job of its own": (
        [event(0, None), event(10, 4), event(20, None)],
        [(None, 0, 10), (4, 10, 20)],
    ),
    "equal in time: the one that ends first": (
        [event(0, 1, 5_000), event(0, 2), event(10_000, 3)],
        [(2, 0, 5_000), (1, 5_000, 10_000)],
    ),
    "equal in time and end: the lower id, and none after all": (
        [event(0, None), event(0, 2), event(0, 1), event(10_000, 3)],
        [(None, 0, 10_000)],
    ),
    "equal again: the ids from job to organization": (
        [
            replace(event(0), ids=Ids(org, project, task, 1))
            for org in (1, 2)
            for project in (1, 2)
            for task in (1, None)
        ]
        + [event(10_000, 3)],
        [(1, 0, 10_000)],
    ),
    "an event twice": ([event(0), event(0), event(10), event(10)], [(1, 0, 10)]),
    "events of the server": ([event(0, source="server"), event(10, source="server")], []),
    "a person's work is not another's": ([event(0), replace(event(10), user_id=8)], []),
    "nobody's work is a person's of its own": (
        [replace(event(0), user_id=None), event(10), replace(event(30), user_id=None)],
        [(1, 0, 30)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_added(case: str) -> None:
    events, expected = CASES[case]
    assert added(*events) == expected


def test_equal_in_time_the_last_in_order_is_the_event_before() -> None:
    events = [replace(event(0), ids=Ids(org, project, task, 1)) for org, project, task in [(2, 9, 9), (9, 2, 9), (9, 9, 2), (None, 1, 9), (8, 9, 9)]]  # fmt: skip
    assert spans([*events, event(10)])[-1].ids == Ids(8, 9, 9, 1)


def test_the_example_of_the_documentation() -> None:
    events = [
        event(0, 5, scope="load:job"),
        event(10_000, 5, 3_000),
        event(20_000, 6),
        event(150_000, 6, scope="draw:object"),
        event(170_000, 6),
    ]
    assert added(*events) == [(5, 0, 13_000), (5, 13_000, 20_000), (6, 150_000, 170_000)]
    day = date(2026, 1, 5)
    assert totals(spans(events)) == {Key(7, 1, 2, 3, 5, day): 20_000, Key(7, 1, 2, 3, 6, day): 20_000}
    assert table(events) == {
        Key(7, 1, 2, 3, 5, day): Amounts(computed_ms=20_000, events=2),
        Key(7, 1, 2, 3, 6, day): Amounts(computed_ms=20_000, events=3),
    }


def test_another_threshold_and_other_scopes() -> None:
    events = [event(0), event(60_000, 2), event(90_000, 3, 900, scope="draw:object")]
    assert added(*events, threshold_ms=60_000) == [(2, 60_000, 90_000)]
    assert added(*events, duration_scopes={"draw:object"}) == [(1, 0, 60_000), (2, 60_000, 90_900)]
    assert added(event(0), event(1), threshold_ms=1) == []


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_that_is_not_positive_is_refused(threshold: int) -> None:
    with pytest.raises(ValueError, match=f"threshold: must be 1 ms or more, not {threshold} ms"):
        spans([], threshold)


@pytest.mark.parametrize(
    ("zone", "start", "length", "expected"),
    [
        ("UTC", "2026-01-31 23:59:59.000", 2_000, {"2026-01-31": 1_000, "2026-02-01": 1_000}),
        ("UTC", "2026-01-31 23:59:59.000", 1_000, {"2026-01-31": 1_000}),
        ("UTC", "2026-02-01 00:00:00.000", 1_000, {"2026-02-01": 1_000}),
        ("UTC", "2025-12-31 23:59:59.999", 2, {"2025-12-31": 1, "2026-01-01": 1}),
        (
            "UTC",
            "2026-02-27 12:00:00.000",
            3 * DAY_MS,
            {
                "2026-02-27": DAY_MS // 2,
                "2026-02-28": DAY_MS,
                "2026-03-01": DAY_MS,
                "2026-03-02": DAY_MS // 2,
            },
        ),
        # A shift from 22:00 to 06:00 in Tokyo is one day in UTC, and two there
        ("UTC", "2026-06-10 13:00:00", 8 * 3_600_000, {"2026-06-10": 8 * 3_600_000}),
        (
            "Asia/Tokyo",
            "2026-06-10 13:00:00",
            8 * 3_600_000,
            {"2026-06-10": 2 * 3_600_000, "2026-06-11": 6 * 3_600_000},
        ),
        # 18:30 UTC is midnight in Kolkata, not on the hour
        ("Asia/Kolkata", "2026-06-10 18:00:00", 3_600_000, {"2026-06-10": 1_800_000, "2026-06-11": 1_800_000}),
        # The clocks are changed: days of 23 and 25 hours
        ("Europe/Berlin", "2026-03-28 23:00:00", DAY_MS, {"2026-03-29": 82_800_000, "2026-03-30": 3_600_000}),
        ("Europe/Berlin", "2026-10-24 22:00:00", DAY_MS, {"2026-10-25": DAY_MS}),
        # The clock is set forward at midnight: the day begins at one
        ("Africa/Cairo", "2026-04-23 21:00:00", 7_200_000, {"2026-04-23": 3_600_000, "2026-04-24": 3_600_000}),
        # ... and back over midnight: the minute after it is followed by an hour of the same day
        ("America/St_Johns", "2009-11-01 02:29:00", 7_200_000, {"2009-10-31": 60_000, "2009-11-01": 7_140_000}),
        # A day that Samoa did not have
        ("Pacific/Apia", "2011-12-30 09:00:00", 7_200_000, {"2011-12-29": 3_600_000, "2011-12-31": 3_600_000}),
    ],
)  # fmt: skip
def test_time_is_split_at_midnight(zone: str, start: str, length: int, expected: dict[str, int]) -> None:
    only = Event(1, milliseconds(start), "change:frame", length)
    by_day = {str(key.day): amount for key, amount in totals(spans([only]), zone).items()}
    assert by_day == expected


def test_a_pause_over_midnight_is_split_and_its_event_counts_where_it_is() -> None:
    midnight = milliseconds("2026-02-01 00:00:00")
    events = [
        Event(1, midnight - 30_000, "save:job", ids=Ids(job_id=4)),
        Event(1, midnight + 20_000, "save:job", ids=Ids(job_id=5)),
    ]
    assert table(events) == {
        Key(1, None, None, None, 4, date(2026, 1, 31)): Amounts(computed_ms=30_000, events=1),
        Key(1, None, None, None, 4, date(2026, 2, 1)): Amounts(computed_ms=20_000),
        Key(1, None, None, None, 5, date(2026, 2, 1)): Amounts(events=1),
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scope": "send:working_time", "duration_ms": 5, "source": "server"}, 5),
        # of a browser, or of nobody knows whom: no word of the server's
        ({"scope": "send:working_time", "duration_ms": 5}, 0),
        ({"scope": "send:working_time", "duration_ms": 5, "source": "unknown"}, 0),
        ({"scope": "save:job", "duration_ms": 5, "payload": '{"working_time": 70}'}, 70),
        (
            {"scope": "save:job", "payload": '{"working_time": 70}', "timestamp_ms": OWN_EVENT_SINCE_MS - 1},
            70,
        ),
        ({"scope": "save:job", "payload": '{"working_time": 70}', "timestamp_ms": OWN_EVENT_SINCE_MS}, 0),
        ({"scope": "save:job", "duration_ms": 5, "payload": '{"working_time": 70}', "source": "server"}, 0),
        ({"scope": "save:job", "duration_ms": 5}, 0),
        *(
            ({"scope": "save:job", "payload": payload}, 0)
            for payload in ["", "nonsense", "[1]", "{}", '{"working_time": -1}', '{"working_time": null}']
        ),
    ],
)
def test_what_the_server_reported(fields: dict[str, Any], expected: int) -> None:
    assert reported_ms(Event(**{"user_id": 1, "timestamp_ms": 0} | fields)) == expected


def test_reported_time_is_found_under_the_ids_of_its_own_event() -> None:
    report = Event(7, MORNING, "send:working_time", 900, Ids(1, 2, 3, 9), source="server")
    assert table([event(0, 5), report, report]) == {
        Key(7, 1, 2, 3, 5, date(2026, 1, 5)): Amounts(events=1),
        Key(7, 1, 2, 3, 9, date(2026, 1, 5)): Amounts(reported_ms=900),
    }


def per_user(computed: dict[Key, int]) -> dict[int | None, int]:
    """Return the sum per user."""
    sums: dict[int | None, int] = defaultdict(int)
    for key, amount in computed.items():
        sums[key.user_id] += amount
    return dict(sums)


def covered(events: list[Event], padding: int) -> int:
    """Return the length of the union of [begin, end + padding)."""
    length, furthest = 0, None
    for begin, end in sorted((each.timestamp_ms, each.end_ms() + padding) for each in events):
        start = begin if furthest is None else max(begin, furthest)
        length += max(0, end - start)
        furthest = max(end, end if furthest is None else furthest)
    return length


@given(histories(), st.randoms(use_true_random=False))
def test_order_and_repetition_of_events_do_not_matter(
    history: tuple[Event, ...], dice: random.Random
) -> None:
    shuffled = [*history, *dice.choices(history, k=len(history))]
    dice.shuffle(shuffled)
    assert table(shuffled) == table(history)


@given(histories(), st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin", "America/St_Johns"]))
def test_a_persons_total_does_not_depend_on_the_grain(history: tuple[Event, ...], zone: str) -> None:
    assert per_user(totals(spans(history), zone)) == per_user(totals(spans(history)))
    jobless = [replace(each, ids=Ids()) for each in history]
    assert per_user(totals(spans(jobless))) == per_user(totals(spans(history)))


@given(histories())
def test_a_persons_total_agrees_with_the_arithmetic_of_intervals(history: tuple[Event, ...]) -> None:
    """Padded by the threshold, work that belongs together is one interval, which ends too late by the threshold."""
    computed = per_user(totals(spans(history)))
    for user_id in {each.user_id for each in history}:
        own = [each for each in history if each.user_id == user_id and each.source == "client"]
        padded = covered(own, THRESHOLD_MS)
        stretches = padded - covered(own, THRESHOLD_MS - 1)
        total = computed.get(user_id, 0)
        assert total == padded - THRESHOLD_MS * stretches
        assert covered(own, 0) <= total <= padded


@given(histories())
def test_spans_do_not_overlap_and_each_client_event_has_one(history: tuple[Event, ...]) -> None:
    made = spans(history)
    assert {span.event for span in made} == {each for each in history if each.source == "client"}
    for before, after in itertools.pairwise(made):
        assert before.user_id != after.user_id or before.end_ms <= after.start_ms

"""Generated histories of annotators at work, with what careless arithmetic gets wrong in every second of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from tests.store.working_time.reference import DURATION_SCOPES, THRESHOLD_MS, Event, Ids

DAY_MS = 86_400_000
PAUSES = [0, 1, 20_000, THRESHOLD_MS - 1, THRESHOLD_MS, THRESHOLD_MS + 1, 2 * THRESHOLD_MS, 3_600_000]
DAYS = [0, 0, 50_000, DAY_MS - 50_000, DAY_MS, DAY_MS]
DURATIONS = [0, 1, 3_000, THRESHOLD_MS - 1, THRESHOLD_MS, 250_000]
HUGE_DURATIONS = [DAY_MS - 1, DAY_MS, DAY_MS, 2 * DAY_MS + 1, 2**32 - 1]
BORDERS = [
    "1970-01-01 00:00:00", "1970-01-02 00:00:00", "2024-03-01 00:00:00", "2024-06-05 00:00:00", "2024-12-06 12:00:00", "2025-01-01 00:00:00",
    "2026-02-01 00:00:00", "2026-03-11 15:00:00", "2026-10-25 00:00:00", "2099-12-31 00:00:00",
]  # fmt: skip
PAYLOADS = [
    None, "", "not json", "[]", '{"working_time": 0}', '{"working_time": 12345}', '{"working_time": -5}',
    '{"working_time": null, "is_active": true}',
]  # fmt: skip
HIGHEST_ID = 2**64 - 1


def milliseconds(text: str) -> int:
    """Return a time of UTC, written as ClickHouse does, in milliseconds."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        milliseconds=1
    )


def _ids() -> st.SearchStrategy[Ids]:
    """Return a few ids that recur: jobs of the same task, jobs of two tasks, none at all, and the extremes."""
    return st.sampled_from(
        [
            Ids(1, 1, 1, 1),
            Ids(1, 1, 1, 2),
            Ids(1, 1, 2, 3),
            Ids(None, 1, 1, 1),
            Ids(1, None, 1, 1),
            Ids(1, 1, None, 1),
            Ids(1, 1, 1, None),
            Ids(),
            Ids(0, 0, 0, 0),
            Ids(HIGHEST_ID, HIGHEST_ID, HIGHEST_ID, HIGHEST_ID),
        ]
    )


def _sometimes[T](often: T, *rarely: T) -> st.SearchStrategy[T]:
    return st.sampled_from([*[often] * 2 * len(rarely), *rarely])


@st.composite
def histories(draw: st.DrawFn) -> tuple[Event, ...]:
    """Return the events of up to three people (user ids 0 to 2) who work at the same time, in order of writing.

    An event begins a pause after an earlier one, or after the end of everything so far: those are the two that the
    rule looks at. The pauses of a history are either about as long as the threshold or about a day.
    """
    start = milliseconds(draw(st.sampled_from(BORDERS)))
    start += draw(st.sampled_from([0, -1, -30_000, -99_999, -3_600_000] if start else [0, 30_000]))
    pauses = draw(st.sampled_from([PAUSES, DAYS]))
    made: list[Event] = []
    for _ in range(draw(st.integers(1, 10))):
        user_id = draw(_sometimes(0, 0, 1, 2))
        own = [each for each in made if each.user_id == user_id]
        since = start
        if own:
            since = draw(
                st.sampled_from(
                    [own[-1].timestamp_ms, max(each.end_ms() for each in own), own[0].timestamp_ms]
                )
            )
        timestamp = since + draw(st.sampled_from(pauses))
        if draw(_sometimes(False, True)):
            timestamp = max(start, timestamp - draw(st.sampled_from(pauses)))
        scope = draw(
            st.sampled_from(["change:frame", "change:frame", "save:job", "draw:object", "send:working_time"])
        )
        durations = [*DURATIONS, *HUGE_DURATIONS] if scope in DURATION_SCOPES else DURATIONS
        made.append(
            Event(
                user_id,
                timestamp,
                scope,
                draw(st.sampled_from(durations)),
                draw(_ids()),
                source=draw(_sometimes("client", "server", "unknown")),
                payload=draw(_sometimes(None, *PAYLOADS)),
                other_columns=draw(_sometimes(None, "other")),
            )
        )
    return tuple(made)

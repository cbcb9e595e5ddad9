"""ClickHouse's working time held against the reference, on thousands of histories.

A round of the engine takes many histories, each with people of its own. All their events arrive together: shuffled,
repeated, in blocks of any size, with the table brought up to date between some of them. What was wrong is cut down
to the few events that it needs, and shown with both answers.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.clickhouse import Store
from tests.store.working_time.histories import DAY_MS, histories, milliseconds
from tests.store.working_time.reference import Amounts, Event, Ids, Key, table

HISTORIES_A_ROUND = 500
PEOPLE = 3
"""As many user ids does a history have."""
ZONE = "Asia/Kolkata"
"""Its midnight is not on the hour of UTC."""

Table = dict[Key, Amounts]
histories_made = itertools.count(1)


@dataclass
class Block:
    """Hold events that arrive together, and whether the table is brought up to date after them."""

    events: list[Event]
    refresh_after: bool


def row(event: Event) -> dict[str, Any]:
    """Return an event as Vector inserts it."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=event.timestamp_ms)
    return {
        "scope": event.scope,
        "source": event.source,
        "timestamp": f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}",
        "duration": event.duration_ms,
        "user_id": event.user_id,
        "payload": event.payload,
        "obj_name": event.other_columns,
        **event.ids._asdict(),
    }


def read(store: Store, zone: str = "UTC") -> dict[int | None, Table]:
    """Return what readers see, by user: the table, or for the days of another zone what it is made of."""
    ids = "user_id, org_id, project_id, task_id, job_id"
    if zone == "UTC":
        sql = f"SELECT {ids}, day, computed_ms, reported_ms, events FROM working_time"
        torn = (
            "SELECT * FROM working_time_by_day FINAL WHERE (computed_ms, reported_ms, events) "
            "!= (arraySum(slots.computed_ms), arraySum(slots.reported_ms), arraySum(slots.events))"
        )
        assert store.rows(torn) == [], "a day is the sum of its quarters of an hour"
    else:
        sql = (
            f"SELECT {ids}, toDate(slot, '{zone}') AS day, sum(computed_ms), sum(reported_ms), sum(events) "
            "FROM working_time_slots GROUP BY ALL"
        )
    result: dict[int | None, Table] = defaultdict(dict)
    for *numbers, day, computed, reported, events in json.loads(store.post(sql, user="grafana"))["data"]:
        user, org, project, task, job = (None if each is None else int(each) for each in numbers)
        key = Key(user, org, project, task, job, date.fromisoformat(day))
        assert key not in result[key.user_id], f"two rows for {key}"
        amounts = Amounts(int(computed), int(reported), int(events))
        if amounts != Amounts():
            result[key.user_id][key] = amounts
    return result


def own(events: Iterable[Event]) -> list[Event]:
    """Return the events with user ids that no other history has."""
    first = next(histories_made) * PEOPLE
    return [
        each if each.user_id is None else replace(each, user_id=first + each.user_id % PEOPLE)
        for each in events
    ]


def arrival(events: Sequence[Event], dice: random.Random) -> list[Block]:
    """Return the blocks in which events arrive: each event one to three times, anywhere."""
    shuffled = [event for event in events for _ in range(dice.choice([1, 1, 1, 2, 3]))]
    dice.shuffle(shuffled)
    cuts = sorted(dice.choices(range(len(shuffled) + 1), k=dice.randint(0, 5)))
    return [
        Block(shuffled[start:end], dice.random() < 0.8)
        for start, end in itertools.pairwise([0, *cuts, len(shuffled)])
        if start < end
    ]


def part(blocks: Iterable[Block], user_id: int | None) -> list[Block]:
    """Return what arrives for one user, and all refreshes that can matter to them."""
    result: list[Block] = []
    for block in blocks:
        events = [event for event in block.events if event.user_id == user_id]
        if events:
            result.append(Block(events, block.refresh_after))
        elif result:
            result[-1].refresh_after |= block.refresh_after
    return result


def deliver(store: Store, blocks: Iterable[Block]) -> None:
    """Insert the blocks, and leave the table up to date."""
    for block in blocks:
        store.insert([row(event) for event in block.events])
        if block.refresh_after:
            store.refresh()
    store.refresh()


def differences(expected: Table, actual: Table) -> list[str]:
    """Return what each row that is not the same should be and is, and the sums if they differ."""
    lines = [
        f"{key}\n    expected {expected.get(key)}\n    but is   {actual.get(key)}"
        for key in sorted(expected.keys() | actual.keys(), key=str)
        if expected.get(key) != actual.get(key)
    ]
    should, does = (sum(each.computed_ms for each in rows.values()) for rows in (expected, actual))
    return [*lines, f"together: expected {should} ms, but are {does} ms"] if lines else []


def wrong(store: Store, events: Iterable[Event], zone: str = "UTC") -> dict[int | None, list[str]]:
    """Return what is wrong, by user, where these are all events of their users that have arrived."""
    by_user: dict[int | None, list[Event]] = defaultdict(list)
    for event in events:
        by_user[event.user_id].append(event)
    actual = read(store, zone)
    wrong_rows = {
        user_id: differences(table(events, zone=zone), actual[user_id]) for user_id, events in by_user.items()
    }
    return {user_id: lines for user_id, lines in wrong_rows.items() if lines}


def wrong_for_others(store: Store, blocks: Sequence[Block]) -> list[str]:
    """Return what is wrong after these blocks have arrived for people of whom there is nothing yet."""
    events = own(event for block in blocks for event in block.events)
    renamed = iter(events)
    deliver(store, [replace(block, events=[next(renamed) for _ in block.events]) for block in blocks])
    return list(itertools.chain(*wrong(store, events).values()))


def reduced(blocks: list[Block], fails: Callable[[list[Block]], object]) -> list[Block]:
    """Return as few events as still fail: each step leaves out one that is not needed."""
    for index, block in enumerate(blocks):
        for position in range(len(block.events)):
            fewer = [replace(each, events=list(each.events)) for each in blocks]
            del fewer[index].events[position]
            fewer = [each for each in fewer if each.events]
            if fewer and fails(fewer):
                return reduced(fewer, fails)
    return blocks


def explanation(store: Store, blocks: list[Block], first: list[str]) -> str:
    """Return the smallest delivery found that goes wrong, with the difference."""
    if not wrong_for_others(store, blocks):
        return "\n".join(["It takes other people's events as well, or nobody's.", *first])
    smallest = reduced(blocks, lambda fewer: wrong_for_others(store, fewer))
    lines = []
    for block in smallest:
        lines += [json.dumps(row(event)) for event in block.events]
        lines.append("-- then a refresh --" if block.refresh_after else "--")
    return "\n".join([*lines, *wrong_for_others(store, smallest)])


def generated(amount: int, chance: int) -> list[Event]:
    """Return the events of many histories, each with people of its own, and somebody's who has no id."""
    made: list[list[Event]] = []

    @seed(chance)
    @settings(
        max_examples=amount,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(histories())
    def collect(history: tuple[Event, ...]) -> None:
        made.append(own(history))

    collect()
    somebody = made[-1][0].user_id
    made[-1] = [replace(each, user_id=None) if each.user_id == somebody else each for each in made[-1]]
    return list(itertools.chain(*made))


def hold(store: Store, rounds: int) -> None:
    """Let events arrive in some rounds, and compare all that have arrived so far after each of them."""
    arrived: list[Event] = []
    for _ in range(rounds):
        chance = random.SystemRandom().randrange(2**32)
        new = generated(HISTORIES_A_ROUND, chance)
        blocks = arrival(new, random.Random(chance))
        deliver(store, blocks)
        arrived += new
        if differences := wrong(store, arrived):
            user_id = min(differences, key=lambda each: sum(event.user_id == each for event in arrived))
            shown = explanation(store, part(blocks, user_id), differences[user_id])
            pytest.fail(
                f"wrong for {len(differences)} people (seed {chance}), as for user {user_id}:\n{shown}"
            )
    assert wrong(store, arrived, ZONE) == {}


def test_the_table_is_what_the_reference_says(frugal: Store) -> None:
    hold(frugal, rounds=4)


def test_it_is_that_where_days_are_computed_again_for_a_while(deployed: Store) -> None:
    hold(deployed, rounds=1)


def frame(time: str, job_id: int | None, duration_ms: int = 0) -> Event:
    """Return a change of frame in a job."""
    return Event(0, milliseconds(time), "change:frame", duration_ms, Ids(job_id=job_id))


DELIVERIES = {
    "a late event gives the next day's first event another one before it": [
        [frame("2026-01-06 10:00:00", 2, 3_000)],
        [frame("2026-01-05 10:00:00", 1)],
    ],
    "a late event covers what was counted two days later": [
        [frame("2026-01-06 10:00:00", 2), frame("2026-01-07 10:00:00", 3, 3_000)],
        [frame("2026-01-05 10:00:00", 1, 3 * DAY_MS)],
    ],
    "a late event ends shortly before the day after the next one": [
        [frame("2026-01-06 10:00:00", 2), frame("2026-01-07 00:00:10", 3)],
        [frame("2026-01-05 23:59:30", 1, DAY_MS)],
    ],
    "a late event ends exactly the threshold before it": [
        [frame("2026-01-06 10:00:00", 2), frame("2026-01-07 00:01:10", 3)],
        [frame("2026-01-05 23:59:30", 1, DAY_MS)],
    ],
    "the last of a day's events that are equal in time has no job": [
        [frame("2026-01-05 10:00:00", None), frame("2026-01-06 10:00:00", 2, 3_000)],
        [frame("2026-01-05 10:00:00", 1)],
    ],
    "an event of 49 days, then one within it": [
        [frame("2026-01-05 10:00:00", 1, 2**32 - 1)],
        [frame("2026-02-20 10:00:00", 2, 3_000)],
    ],
}


@pytest.mark.parametrize("case", DELIVERIES)
def test_what_arrives_late_changes_other_days(frugal: Store, case: str) -> None:
    assert wrong_for_others(frugal, [Block(events, refresh_after=True) for events in DELIVERIES[case]]) == []


def test_inserts_while_it_is_computed(deployed: Store) -> None:
    """Nothing waits for anything here, and no event is missing at the end."""
    events = generated(HISTORIES_A_ROUND, random.SystemRandom().randrange(2**32))
    events = [event for event in events if event.user_id is not None]
    rows = [row(event) for event in events]
    with ThreadPoolExecutor(3) as pool:
        inserts = [pool.submit(deployed.insert, rows[start::20]) for start in range(20)]
        while not all(insert.done() for insert in inserts):
            deployed.refresh()
        for insert in inserts:
            insert.result()
    deployed.refresh()
    assert wrong(deployed, events) == {}

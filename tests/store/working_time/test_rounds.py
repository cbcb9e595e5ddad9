"""Much at once is computed in rounds of about two million events. Here each day is noted with far more events than it has."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from tests.clickhouse import Store
from tests.store.working_time.test_sql import arrival, frame, generated, row, wrong

FIRST_DAY = date(2026, 1, 5)
PEOPLE = (1_000_001, 1_000_002, 1_000_003, 1_000_004)
HISTORIES = 300


def note_more(store: Store, events: int) -> None:
    """Note `events` more client events for each day of a person that has any."""
    store.post(
        "INSERT INTO working_time_days (user_id, day, client_events, touched_at) "
        f"SELECT user_id, day, {events}, max(touched_at) FROM working_time_days GROUP BY user_id, day HAVING sum(client_events) > 0"
    )


def computed(store: Store) -> dict[tuple[str, str], str]:
    """Return when each person's day was computed, by day and person."""
    found = store.post(
        "SELECT day, user_id, max(computed_at) FROM working_time_results GROUP BY day, user_id FORMAT TSV"
    )
    return {(day, user): at for day, user, at in (line.split("\t") for line in found.splitlines())}


def forget(store: Store) -> None:
    """Remove what other tests have left."""
    for table in ("events", "working_time_days", "working_time_results", "working_time_by_day"):
        store.post(f"TRUNCATE TABLE {table}")


def test_a_round_computes_the_oldest_days_of_all_people_and_no_day_twice(frugal: Store) -> None:
    """They lie together in `events`; all days of some people are nearly everywhere, and each round would read everything."""
    forget(frugal)
    days = [FIRST_DAY + timedelta(days=number) for number in range(5)]
    events = [
        replace(frame(f"{day} 10:00:00", 1, 3_000), user_id=person) for day in days for person in PEOPLE
    ]
    frugal.insert([row(event) for event in events])
    note_more(frugal, 500_000)  # a day of all four is two million
    before: dict[tuple[str, str], str] = {}
    for done in range(1, len(days) + 1):
        frugal.refresh()
        now = computed(frugal)
        assert set(now) == {(str(day), str(person)) for day in days[:done] for person in PEOPLE}
        assert now | before == now
        before = now
    assert wrong(frugal, events) == {}


def test_days_that_only_follow_late_events_count_in_a_round_too(frugal: Store) -> None:
    """Late events that touch days with next to nothing make the full days after them be read."""
    forget(frugal)
    sunday, monday = FIRST_DAY - timedelta(days=1), FIRST_DAY
    people = [2_000_001 + number for number in range(6)]
    full = [replace(frame(f"{monday} 10:00:00", 1, 3_000), user_id=person) for person in people]
    frugal.insert([row(event) for event in full])
    note_more(frugal, 800_000)
    for _ in range(2):
        frugal.refresh()
    settled = computed(frugal)
    assert len(settled) == len(people)
    late = [replace(frame(f"{sunday} 10:00:00", 1, 3_000), user_id=person) for person in people]
    frugal.insert([row(event) for event in late])
    for people_done in (people[:3], people):
        frugal.refresh()
        now = computed(frugal)
        changed = {key for key, at in now.items() if settled.get(key) != at}
        assert changed == {(str(day), str(person)) for day in (sunday, monday) for person in people_done}
    assert wrong(frugal, [*full, *late]) == {}


def test_rounds_between_inserts_forget_nothing(frugal: Store) -> None:
    """A day that only another one makes stale is computed with that one, which tells of it no more afterwards."""
    chance = random.SystemRandom().randrange(2**32)
    events = generated(HISTORIES, chance)
    for block in arrival(events, random.Random(chance)):
        frugal.insert([row(event) for event in block.events])
        note_more(frugal, 20_000)
        frugal.refresh()
    rounds = 0
    while frugal.post("SELECT count() FROM working_time_stale FORMAT TSV") != "0\n" and rounds < 1_000:
        frugal.refresh()
        rounds += 1
    assert rounds > 3, "not all of it fits into one round"
    assert wrong(frugal, events) == {}, f"seed {chance}"


def test_an_upgrade_notes_only_the_events_that_it_does_not_know(deployed: Store) -> None:
    """A round takes so many events, by this: with each upgrade that noted all of them again, a round took fewer days."""
    noted = "SELECT user_id, day, sum(client_events) AS events FROM working_time_days GROUP BY user_id, day HAVING events > 0 ORDER BY ALL FORMAT TSV"
    stored = (
        "SELECT user_id, toDate(timestamp) AS day, count() AS events FROM events "
        "WHERE source = 'client' GROUP BY user_id, day ORDER BY ALL SETTINGS final = 0 FORMAT TSV"
    )
    events = [row(event) for event in generated(20, 1)]
    (script,) = (
        each for each in migrations.read(ROOT / "clickhouse") if each.name == "views/working_time.sql"
    )
    statements = migrations.statements(script.text(deployed.database))
    deployed.insert(events[::2])
    assert deployed.post(noted) == deployed.post(stored)
    for statement in statements:
        deployed.post(statement)
    assert deployed.post(noted) == deployed.post(stored)
    note_more(deployed, 7)
    deployed.post("DROP VIEW working_time_touched SYNC")
    deployed.insert(events[1::2])
    for statement in statements:
        deployed.post(statement)
    assert deployed.post(noted) == deployed.post(stored)

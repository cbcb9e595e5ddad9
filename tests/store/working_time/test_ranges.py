"""Working time of any range: what people choose in their own time zone adds up, day for day, week for week, month for month."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from tests.clickhouse import Store

FIRST, LAST = datetime(2026, 3, 20, 3, 7, tzinfo=UTC), datetime(2026, 4, 9, 17, 38, tzinfo=UTC)
"""One person's events, one a minute: all of it counts. Many clocks change within these days."""
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Africa/Casablanca", "Asia/Kolkata", "Asia/Kathmandu",
    "Asia/Tokyo", "Australia/Adelaide", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Pago_Pago",
]  # fmt: skip
HOUR_MS = 3_600_000
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def worked(frugal: Store) -> Store:
    minutes = (LAST - FIRST) // timedelta(minutes=1)
    frugal.insert(
        [
            {"scope": "draw:object", "source": "client", "user_id": 1, "job_id": 1 + minute % 3, "timestamp": f"{FIRST + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S}"}
            for minute in range(minutes + 1)
        ]
    )  # fmt: skip
    frugal.refresh()
    return frugal


def in_range(store: Store, since: datetime, until: datetime) -> tuple[int, int]:
    """Return milliseconds and events of a range."""
    first, last = (
        f"fromUnixTimestamp64Milli({(each - datetime(1970, 1, 1, tzinfo=UTC)) // MILLISECOND})"
        for each in (since, until)
    )
    (row,) = store.rows(
        f"SELECT sum(computed_ms) AS ms, sum(events) AS number FROM working_time_in_range(since = {first}, until = {last})"
    )
    return int(row["ms"]), int(row["number"])


def expected(since: datetime, until: datetime) -> tuple[int, int]:
    """Return the same of events each minute; ends that are no quarter of an hour move to the next."""
    since, until = (_next_quarter(each) for each in (since, until))
    milliseconds = max(timedelta(), min(until, LAST) - max(since, FIRST)) // MILLISECOND
    events = range((LAST - FIRST) // timedelta(minutes=1) + 1)
    return milliseconds, sum(since <= FIRST + timedelta(minutes=each) < until for each in events)


def _next_quarter(time: datetime) -> datetime:
    return datetime.fromtimestamp(-(-time.timestamp() // 900) * 900, UTC)


def midnights(zone: str, kind: str) -> list[datetime]:
    """Return where days, weeks (of Monday) or months begin in `zone`, from before the first event until after the last."""
    days = [date(2026, 3, 1) + timedelta(days=n) for n in range(62)]
    begin = {
        "day": lambda day: date(2026, 3, 18) <= day < date(2026, 4, 13),
        "week": lambda day: day.weekday() == 0,
        "month": lambda day: day.day == 1,
    }
    return [
        datetime(each.year, each.month, each.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for each in days
        if begin[kind](each)
    ]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kind", ["day", "week", "month"])
def test_what_is_chosen_in_any_time_zone_is_what_lies_in_it_and_adds_up(
    worked: Store, zone: str, kind: str
) -> None:
    ranges = list(itertools.pairwise(midnights(zone, kind)))
    # as Grafana has them: the last millisecond of a day
    hours = {since: in_range(worked, since, until - MILLISECOND) for since, until in ranges}
    assert hours == {since: expected(since, until) for since, until in ranges}
    assert sum(ms for ms, _ in hours.values()) == (LAST - FIRST) // MILLISECOND


@pytest.mark.parametrize(
    "cut",
    [timedelta(minutes=7), timedelta(hours=5, minutes=15), timedelta(seconds=1), timedelta(days=2, milliseconds=-1), timedelta(hours=23, minutes=59, seconds=59)],
    ids=str,
)  # fmt: skip
def test_ranges_that_begin_and_end_anywhere_add_up(worked: Store, cut: timedelta) -> None:
    middle = datetime(2026, 3, 28, tzinfo=UTC) + cut
    parts = [
        (FIRST - timedelta(days=1), middle),
        (middle, middle + cut),
        (middle + cut, LAST + timedelta(days=1)),
    ]
    parts_hours = [in_range(worked, *each) for each in parts]
    assert parts_hours == [expected(*each) for each in parts]
    assert sum(ms for ms, _ in parts_hours) == (LAST - FIRST) // MILLISECOND


def test_a_range_that_ends_before_it_begins_has_nothing(worked: Store) -> None:
    noon = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert in_range(worked, noon, noon - timedelta(hours=1)) == (0, 0)
    assert in_range(worked, noon, noon - timedelta(days=3)) == (0, 0)


def test_a_table_from_before_the_quarters_has_them_as_soon_as_the_script_has_run(worked: Store) -> None:
    before = worked.rows("SELECT * FROM working_time ORDER BY ALL")
    worked.post("ALTER TABLE working_time_by_day DROP COLUMN slots")
    for time in ("first", "second"):
        script = next(
            each for each in migrations.read(ROOT / "clickhouse") if each.sql.startswith("-- Working time by")
        )
        for statement in migrations.statements(script.sql):
            worked.post(statement)
        assert worked.rows("SELECT * FROM working_time ORDER BY ALL") == before, time
        since, until = datetime(2026, 3, 28, 1, 15, tzinfo=UTC), datetime(2026, 3, 30, 23, tzinfo=UTC)
        assert in_range(worked, since, until) == expected(since, until), time

"""What the team does over the weeks, and now."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile

from cvat_analytics.events import Event
from cvat_analytics.team.day import Day, at, author_of, dice_of, server_error
from cvat_analytics.team.people import MEMBERS, ROADS, Member

DAYS = 28

_AT_WORK_NOW = MEMBERS[1:9:2]
_NOW = timedelta(hours=2)


def history(*, seed: int, end: datetime, days: int = DAYS) -> Iterator[Event]:
    """Yield what the team did in the `days` before `end`, in order of time. In the last two hours some are at work."""
    first = (end - timedelta(days=days)).date()
    plans = [_beginning(seed, member, first) for member in MEMBERS if member.role == "maintainer"]
    for number in range(-1, days + 1):
        day = first + timedelta(days=number)
        for member in MEMBERS:
            if _works(seed, member, day):
                # nobody sits at two desks
                stop = end - _NOW if member in _AT_WORK_NOW else end
                plans.append(_until(Day(seed, member, day).work(), stop.timestamp()))
        if day.toordinal() % 9 == 4:
            plans.append(_outage(seed, day))
    plans.append(live(seed=seed, start=end - _NOW))
    start = datetime.combine(first, time(), UTC).timestamp()
    for event in _until(heapq.merge(*plans, key=_time), end.timestamp()):
        if _time(event) >= start:
            yield event


def live(*, seed: int, start: datetime) -> Iterator[Event]:
    """Yield what four people do from `start` on, in order of time, without end."""
    return heapq.merge(*(Day(seed, member, start.date(), start).work() for member in _AT_WORK_NOW), key=_time)


def _until(events: Iterator[Event], end: float) -> Iterator[Event]:
    return takewhile(lambda event: _time(event) < end, events)


def _time(event: Event) -> float:
    return float(event["timestamp"])


def _works(seed: int, member: Member, day: date) -> bool:
    """Return whether somebody works on a day: few at weekends, and now and then somebody is ill."""
    chance = dice_of(seed, "works", member.id, day).random()
    return chance < (0.94 if day.weekday() < 5 else 0.16)


def _beginning(seed: int, member: Member, first: date) -> Iterator[Event]:
    """Yield how a maintainer made the organization and its projects."""
    author = author_of(seed, member, first, at(first, 0.01))
    organization = member.organization
    yield author.server(
        "create:organization", obj_name=organization.slug, obj_id=organization.id, payload=author.request()
    )
    for other in MEMBERS:
        if other.organization is organization:
            yield author.server(
                "create:membership", obj_name="role", obj_val="worker", payload=author.request()
            )
    for project in organization.projects:
        author.ids = {"project_id": project.id}
        author.pause(5, 20)
        request = author.request()
        yield author.server("create:project", obj_name=project.name, obj_id=project.id, payload=request)
        for shape in project.shapes:
            yield author.server("create:label", obj_name=shape, payload=request)


def _outage(seed: int, day: date) -> Iterator[Event]:
    """Yield an hour in which the storage of the images answered with errors: the peak among the exceptions."""
    dice = dice_of(seed, "outage", day)
    now = at(day, 13.4)
    for _ in range(70):
        now += dice.expovariate(1 / 35)
        member = dice.choice([each for each in MEMBERS if each.organization is ROADS])
        author = author_of(seed, member, day, now)
        author.random = dice
        author.ids = {"project_id": dice.choice(ROADS.projects).id}
        yield server_error(
            author, 503, "StorageUnavailable", "tasks", "data", "The image storage does not answer"
        )

"""What the team does over the weeks, and now."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import takewhile

from cvat_analytics.demo.day import Day, at, author_of, dice_of, new_task, server_error
from cvat_analytics.demo.people import MEMBERS, ROADS, Member
from cvat_analytics.pipeline.events import Event

DAYS = 28

_AT_WORK_NOW = MEMBERS[1:9:2]
_NOW = timedelta(hours=2)


def history(*, seed: int, end: datetime) -> Iterator[Event]:
    """Yield what the team did in the DAYS before `end`, in order of time. In the last two hours some are at work."""
    first = (end - timedelta(days=DAYS)).date()
    opening = at(first, 2)  # until then there is only what `_beginning` makes
    plans = [_beginning(seed, member, first) for member in MEMBERS if member.role == "maintainer"]
    for number in range(-1, DAYS + 1):
        day = first + timedelta(days=number)
        for member in MEMBERS:
            if _works(seed, member, day):
                # nobody sits at two desks
                stop = end - _NOW if member in _AT_WORK_NOW else end
                plans.append(_between(opening, Day(seed, member, day).work(), stop.timestamp()))
        if day.toordinal() % 9 == 4:
            plans.append(_between(opening, _outage(seed, day), end.timestamp()))
    plans.append(_between(opening, live(seed=seed, start=end - _NOW), end.timestamp()))
    return heapq.merge(*plans, key=_time)


def live(*, seed: int, start: datetime) -> Iterator[Event]:
    """Yield what four people do from `start` on, in order of time, without end."""
    return heapq.merge(*(Day(seed, member, start.date(), start).work() for member in _AT_WORK_NOW), key=_time)


def _between(start: float, events: Iterator[Event], end: float) -> Iterator[Event]:
    return (event for event in takewhile(lambda event: _time(event) < end, events) if _time(event) >= start)


def _time(event: Event) -> float:
    return float(event["timestamp"])


def _works(seed: int, member: Member, day: date) -> bool:
    """Return whether somebody works on a day: few at weekends, and now and then somebody is ill."""
    if member.role == "maintainer" and day.weekday() == 4:
        return True  # the tasks of the next week are made then
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
        # whoever came before a Friday has nobody who made these
        for week in sorted({(first + timedelta(days=n)).toordinal() // 7 for n in (-1, 1)}):
            for half in (0, 1):
                yield from new_task(author, project, date.fromordinal(week * 7 + 1), half)


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

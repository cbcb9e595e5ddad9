"""One person's working day, event for event."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import count

from cvat_analytics.demo.author import Author
from cvat_analytics.demo.people import LINUX, MEMBERS, PROJECTS, Member, Project
from cvat_analytics.pipeline.events import Event

_FIRST_WEEK = date(2026, 1, 5).toordinal() // 7
_TOOLS = (
    *(
        "zoom:image",
        "drag:object",
        "resize:object",
        "action:undo",
        "fit:image",
        "change:label",
        "delete:object",
    ),
    *("copy:object", "paste:object", "propagate:object", "lock:object", "rotate:image", "click:element"),
)
_BROWSER_ERRORS = (
    (
        "Cannot read properties of undefined (reading 'clientID')",
        "TypeError",
        "annotations-collection.ts:412:31",
    ),
    ("Failed to fetch", "NetworkError", "server-proxy.ts:88:11"),
    ("Could not receive frame data", "Error", "frames.ts:327:15"),
    ("The annotations have been changed in another tab", "ConflictError", "annotations-saver.ts:201:9"),
)
_SERVER_ERRORS = (
    (400, "ValidationError", "jobs", "partial_update", "Stage: the assignee may not change it"),
    (404, "NotFound", "tasks", "data", "No frame has the number 1204"),
    (409, "Conflict", "jobs", "annotations", "The job is being changed by another request"),
)


def dice_of(*about: object) -> random.Random:
    return random.Random("-".join(map(str, about)))  # noqa: S311 - made-up data, the same for the same seed


def author_of(seed: int, member: Member, day: date, now: float) -> Author:
    organization = member.organization
    dice = dice_of(seed, "day", member.id, day)
    return Author(member.id, member.name, member.email, organization.id, organization.slug, dice, now)


def at(day: date, hour: float) -> float:
    return datetime.combine(day, time(), UTC).timestamp() + hour * 3600


def server_error(author: Author, status: int, name: str, basename: str, action: str, message: str) -> Event:
    request = author.request()
    request["request"] |= {"url": f"/api/{basename}/{author.ids.get('task_id', 1)}/{action}", "method": "GET"}
    stack = f'{name}: {message}\n  File "engine/views.py", line 1187, in {action}\n  File "engine/cache.py", line 94, in get'
    about = {
        "message": message,
        "stack": stack,
        "status_code": status,
        "basename": basename,
        "action": action,
    }
    return author.server("send:exception", payload=about | request)


@dataclass
class Day:
    """One person's working day."""

    seed: int
    member: Member
    day: date
    begin: datetime | None = None
    """When it begins if not with the shift; then it has no lunch and no end."""
    unsaved: list[str] = field(default_factory=list)

    @cached_property
    def author(self) -> Author:
        """Return the person before the browser."""
        start = self.begin.timestamp() if self.begin else at(self.day, self.member.shift)
        author = author_of(self.seed, self.member, self.day, start)
        author.random = dice_of(self.seed, "day", self.member.id, self.day, self.begin)
        author.pause(0, 200 if self.begin else 1800)
        return author

    def work(self) -> Iterator[Event]:
        """Yield the person's events, in order of time."""
        author = self.author
        name, version, system = self.member.platform
        yield author.client(
            "load:cvat", payload={"platform": {"name": name, "version": version, "os": system}}
        )
        if self.member.role == "maintainer":
            yield from self._manage()
        jobs = {"maintainer": 1, "reviewer": 4}.get(self.member.role, 3)
        for number in count() if self.begin else range(jobs):
            project, task, job = self._job(number)
            author.ids = {"project_id": project.id, "task_id": task, "job_id": job}
            author.pause(3, 30)
            yield author.client(
                "load:job", duration=author.random.randint(400, 6000), payload={"frame_count": 120}
            )
            yield from (
                self._review(project) if self.member.role == "reviewer" else self._annotate(project, number)
            )
            if number == 1 and not self.begin:
                author.pause(1500, 3600)  # lunch
            if author.random.random() < 0.2:  # the page is loaded again, or another browser is used
                other = author.random.choice([self.member.platform, self.member.platform, LINUX])
                yield author.client(
                    "load:cvat",
                    payload={"platform": dict(zip(("name", "version", "os"), other, strict=True))},
                )

    def _job(self, number: int) -> tuple[Project, int, int]:
        """Return project, task and job of the day's job `number`: each job belongs to one person of one day."""
        colleagues = [each for each in MEMBERS if each.organization is self.member.organization]
        place, projects = colleagues.index(self.member), self.member.organization.projects
        project = projects[(place + self.day.weekday() + number) % len(projects)]
        task = _task(project, self.day, int(self.day.weekday() > 2))
        return project, task, _first_job(task) + place * 28 + self.day.weekday() * 4 + number % 4

    def _manage(self) -> Iterator[Event]:
        """Yield a maintainer's morning: on Fridays the tasks of the next week, and an export."""
        author, weekday = self.author, self.day.weekday()
        if weekday == 4:
            next_week = self.day + timedelta(days=3)
            for project in self.member.organization.projects:
                for half in (0, 1):
                    yield from new_task(author, project, next_week, half)
            yield author.server(
                "export:dataset",
                obj_name="COCO 1.0",
                duration=author.random.randint(8000, 90000),
                payload=author.request(),
            )
        author.pause(60, 300)

    def _annotate(self, project: Project, number: int) -> Iterator[Event]:
        author, pace = self.author, self.member.pace
        request = author.request()
        yield author.server(
            "update:job",
            obj_name="state",
            obj_val="in progress",
            obj_id=author.ids["job_id"],
            payload={"old_value": "new"} | request,
        )
        frame = 0
        for _ in range(author.random.randint(60, 95)):
            author.pause(pace * 0.3, pace * 1.7)
            kind = author.random.random()
            if kind < 0.3:
                slow = author.random.random() < 0.03
                yield author.client(
                    "change:frame",
                    duration=author.random.randint(4000, 15000) if slow else author.random.randint(30, 900),
                    payload={"from": frame, "to": frame + 1, "step": 1},
                )
                frame += 1
            elif kind < 0.75:
                shape = author.random.choice(project.shapes)
                self.unsaved.append(shape)
                yield author.client(
                    "draw:object", obj_name=shape, count=1, duration=author.random.randint(900, 14000)
                )
            else:
                yield author.client(author.random.choice(_TOOLS), payload={"frame": frame})
            if author.random.random() < 0.006:
                message, error, place = author.random.choice(_BROWSER_ERRORS)
                yield author.client(
                    "send:exception",
                    payload={
                        "message": message,
                        "stack": f"{error}: {message}\n    at {place}\n    at async dispatch (index.tsx:58:5)",
                        "line": 412,
                    },
                )
            if author.random.random() < 0.003:
                yield server_error(author, *author.random.choice(_SERVER_ERRORS))
            if len(self.unsaved) >= 14:
                yield from self._save()
            if author.random.random() < 0.01:
                author.pause(200, 900)  # coffee
        yield from self._save()
        if number % 3 != 2 or author.random.random() < 0.6:
            yield author.server(
                "update:job",
                obj_name="state",
                obj_val="completed",
                obj_id=author.ids["job_id"],
                payload={"old_value": "in progress"} | author.request(),
            )
            author.pause(1, 5)
            yield self._stage("validation", "annotation")

    def _stage(self, stage: str, before: str) -> Event:
        author = self.author
        return author.server(
            "update:job",
            obj_name="stage",
            obj_val=stage,
            obj_id=author.ids["job_id"],
            payload={"old_value": before} | author.request(),
        )

    def _review(self, project: Project) -> Iterator[Event]:
        author = self.author
        yield self._stage("validation", "annotation")
        for frame in range(author.random.randint(25, 50)):
            author.pause(self.member.pace * 0.2, self.member.pace * 1.6)
            yield author.client(
                "change:frame",
                duration=author.random.randint(30, 700),
                payload={"from": frame, "to": frame + 1, "step": 1},
            )
            if author.random.random() < 0.08:
                request = author.request()
                yield author.server("create:issue", obj_id=author.ids["job_id"], payload=request)
                yield author.server("create:comment", obj_id=frame, payload=request)
        self.unsaved.append(project.shapes[0])
        yield from self._save()
        rejected = author.random.random() < 0.2
        yield author.server(
            "update:job",
            obj_name="state",
            obj_val="rejected" if rejected else "completed",
            obj_id=author.ids["job_id"],
            payload={"old_value": "in progress"} | author.request(),
        )
        author.pause(1, 5)
        yield self._stage("annotation" if rejected else "acceptance", "validation")

    def _save(self) -> Iterator[Event]:
        author, shapes = self.author, self.unsaved
        if not shapes:
            return
        author.pause(0.5, 3)
        yield author.client("save:job", duration=author.random.randint(80, 2500))
        request = author.request()
        for shape in sorted(set(shapes)):
            yield author.server("create:shapes", obj_name=shape, count=shapes.count(shape), payload=request)
        if author.random.random() < 0.2:
            yield author.server("update:shapes", obj_name=shapes[0], count=1, payload=request)
        self.unsaved = []
        # browsers also say "still active" without an event: the server reports a little more than its events show
        milliseconds, author.worked = int(author.worked * 1000 * author.random.uniform(1.0, 1.08)), 0.0
        if milliseconds:
            yield author.server(
                "send:working_time", duration=milliseconds, payload={"working_time": milliseconds} | request
            )


def new_task(author: Author, project: Project, day: date, half: int) -> Iterator[Event]:
    """Yield how the task of one half of the week of `day` came about."""
    task = _task(project, day, half)
    author.ids = {"project_id": project.id, "task_id": task}
    author.pause(20, 90)
    place = project.places[task % len(project.places)]
    name, request = f"{place}, week {day.isocalendar().week}", author.request()
    yield author.server("create:task", obj_name=name, obj_id=task, payload=request)
    yield author.server("create:job", obj_id=_first_job(task), count=1, payload=request)
    if author.random.random() < 0.2:
        renamed = {"old_value": name} | author.request()
        yield author.server("update:task", obj_name="name", obj_val=f"{name} (retake)", payload=renamed)
    if author.random.random() < 0.4:
        duration = author.random.randint(9000, 40000)
        yield author.server("call:function", obj_name="YOLO v8", duration=duration, payload=author.request())


def _task(project: Project, day: date, half: int) -> int:
    """Return the id of a project's task of one half of a week."""
    return (day.toordinal() // 7 - _FIRST_WEEK) * 10 + PROJECTS.index(project) * 2 + half


def _first_job(task: int) -> int:
    """Return the first of the 200 ids that a task's jobs may have: seven people, seven days, four jobs a day."""
    return task * 200

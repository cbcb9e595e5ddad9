"""Events from clients: what CVAT's own server does with them before they go to Vector.

They are checked, their times are corrected by the difference between the client's clock and this one, the sender's
identity is put in, and the working time that they make is added as events of the server's.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from cvat_analytics.api import problems
from cvat_analytics.api.callers import Caller, Organization
from cvat_analytics.api.filters import EPOCH, FIRST_MS, LAST_MS, Id, aware
from cvat_analytics.api.problems import Problem, bad_request
from cvat_analytics.api.working_time import Action, Amount, Ids, amounts

MAXIMUM_BODY = 8 * 2**20
"""Bytes of a request; Vector takes more, and no CVAT client comes near it."""
LARGE_BODY = 2**20
"""From here on a body may become hundreds of megabytes of objects: one person sends one at a time, and one is read at a time."""
MAXIMUM_EVENTS = 10_000
"""Events of a request. The bytes alone do not keep it small: 16 MiB of `{}` become gigabytes of objects and complaints."""
MAXIMUM_EVENT_TEXT = 4 * 2**20
"""Bytes of a payload or another text of one event; the pipeline takes 8 MiB for a whole event."""

CLIENT_SCOPES = frozenset(
    [
        "load:cvat",
        "load:job",
        "save:job",
        "send:exception",
        "draw:object",
        "paste:object",
        "copy:object",
        "propagate:object",
        "drag:object",
        "resize:object",
        "delete:object",
        "merge:objects",
        "split:objects",
        "group:objects",
        "slice:object",
        "join:objects",
        "change:frame",
        "zoom:image",
        "fit:image",
        "rotate:image",
        "action:undo",
        "action:redo",
        "run:annotations_action",
        "click:element",
        "debug:info",
        "restore:job",
        "upload:annotations",
        "send:task_info",
        "lock:object",
        "change:attribute",
        "change:label",
        "load:workspace",
    ]
)
"""What clients of CVAT send, older and newer ones. A server's scope from a client would be a forgery."""

_MICROSECOND = timedelta(microseconds=1)

Text = Annotated[str, Field(max_length=MAXIMUM_EVENT_TEXT)]


class ClientEvent(BaseModel):
    """One event as a client sends it. What the server knows better (source, user, organization) is not taken from it."""

    # as CVAT's serializer does: a number is a text where one is wanted
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    scope: Annotated[str, Field(min_length=1, max_length=200)]
    timestamp: datetime
    obj_name: Text | None = None
    obj_id: Id | None = None
    obj_val: Text | None = None
    source: Text | None = Field(None, description="Taken for `client` whatever it says.")
    count: Annotated[int, Field(ge=0, le=65535)] | None = None
    duration: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(0, description="Milliseconds.")
    project_id: Id | None = None
    task_id: Id | None = None
    job_id: Id | None = None
    user_id: int | None = None
    user_name: Text | None = None
    user_email: Text | None = None
    org_id: int | None = None
    org_slug: Text | None = None
    payload: Text | None = Field(None, description="JSON as text.")


class ClientEvents(BaseModel):
    """The body of `POST /api/events`."""

    model_config = ConfigDict(extra="ignore")

    events: Annotated[list[ClientEvent], Field(max_length=MAXIMUM_EVENTS)] = Field(
        [], description="What has happened, in any order."
    )
    previous_event: ClientEvent | None = Field(
        None, description="The last event of the request before; working time goes on from there."
    )
    timestamp: datetime = Field(description="The client's time at which it sends this.")


def read(body: bytes, extra_scopes: tuple[str, ...] = ()) -> ClientEvents:
    """Return the events in a request body. Raises Problem (400) naming each thing that is wrong with it."""
    try:
        found = ClientEvents.model_validate_json(body)
    except ValidationError as error:
        raise problems.not_valid(
            error.errors(include_url=False, include_context=False, include_input=False)
        ) from None
    for number, event in enumerate(found.events):
        if event.scope not in CLIENT_SCOPES and event.scope not in extra_scopes:
            raise bad_request(f"events.{number}.scope", f"clients may not send {event.scope!r}")
    return found


def stored(
    given: ClientEvents, caller: Caller, organization: Organization | None, request_id: str, now: datetime
) -> list[dict[str, Any]]:
    """Return the events in the form that they are stored in (their payload as text, their time as datetime).

    Raises Problem (400) for a payload that is not JSON, or a time that no clock can have meant.
    """
    correction = now - aware(given.timestamp)
    who = {
        "user_id": caller.id,
        "user_name": caller.name,
        "user_email": caller.email or None,
        "org_id": organization.id if organization else None,
        "org_slug": organization.slug if organization else None,
    }
    return [
        {
            **event.model_dump(include=_OWN),
            "source": "client",
            "timestamp": _corrected(event, correction, f"events.{number}.timestamp"),
            **who,
            "payload": _with_request(event.payload, request_id, f"events.{number}.payload"),
        }
        for number, event in enumerate(given.events)
    ]


_OWN = {"scope", "obj_name", "obj_id", "obj_val", "count", "duration", "project_id", "task_id", "job_id"}


def working_time(
    events: list[dict[str, Any]], given: ClientEvents, now: datetime, request_id: str
) -> list[dict[str, Any]]:
    """Return one `send:working_time` for each job, task and project that the stored `events` add time to.

    Such an event is the server's. Its time is the end of the work that it reports.
    """
    previous = None
    if given.previous_event:
        correction = now - aware(given.timestamp)
        before = given.previous_event
        moment = _corrected(before, correction, "previous_event.timestamp")
        previous = Action(
            _ms(moment), before.scope, before.duration, Ids(before.job_id, before.task_id, before.project_id)
        )
    actions = [
        Action(
            _ms(each["timestamp"]),
            each["scope"],
            each["duration"],
            Ids(each["job_id"], each["task_id"], each["project_id"]),
        )
        for each in events
    ]
    return [_report(ids, amount, events[0], request_id) for ids, amount in amounts(actions, previous).items()]


def _report(ids: Ids, amount: Amount, model: dict[str, Any], request_id: str) -> dict[str, Any]:
    payload = {"working_time": amount.milliseconds, "request": {"id": request_id}}
    return {
        **dict.fromkeys(("obj_name", "obj_id", "obj_val", "count")),
        **ids._asdict(),
        **{name: model[name] for name in ("user_id", "user_name", "user_email", "org_id", "org_slug")},
        "scope": "send:working_time",
        "source": "server",
        "timestamp": EPOCH + timedelta(milliseconds=min(amount.until_ms, LAST_MS)),
        "duration": min(amount.milliseconds, 2**32 - 1),
        "payload": json.dumps(payload),
    }


def wire(event: dict[str, Any]) -> dict[str, Any]:
    """Return a stored event as CVAT's server sends it to Vector: its time as text, unix seconds with a fraction."""
    microseconds = (event["timestamp"] - EPOCH) // _MICROSECOND
    return {**event, "timestamp": f"{microseconds // 10**6}.{microseconds % 10**6:06d}"}


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _corrected(event: ClientEvent, correction: timedelta, field: str) -> datetime:
    try:
        moment = (aware(event.timestamp) + correction).astimezone(timezone.utc)
        if FIRST_MS <= _ms(moment) <= LAST_MS:
            return moment
    except OverflowError:
        pass
    raise bad_request(
        field, "is not between 1970 and 2105, once the client's clock is corrected by `timestamp`"
    )


def _with_request(payload: str | None, request_id: str, field: str) -> str:
    """Return the payload with the id of this request in it, where the server's own events have it too."""
    try:
        value = from_json(payload, allow_inf_nan=False) if payload else {}
    except ValueError as error:
        raise bad_request(field, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        value = {"payload": value}
    about = value.get("request")
    if isinstance(about, dict):
        value["request"] = {**about, "id": request_id}
    else:
        value["request"] = {"id": request_id} if about is None else {"id": request_id, "payload": about}
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise bad_request(field, f"cannot be stored: {error}") from None


def organization_of(caller: Caller, *, slug: str, id: int | None) -> Organization | None:
    """Return the organization in which a request is made. Raises Problem (403) for one that is not the caller's."""
    if not slug and id is None:
        return None
    found = caller.organization(id=id, slug=slug)
    if found is None:
        raise Problem(403, f"organization {slug or id}: you are not in it")
    return found

"""Events from clients: what CVAT's own server does with them before they go to Vector.

They are checked, their times are corrected by the difference between the client's clock and this one, the sender's
identity is put in, and the working time that they make is added as events of the server's.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from cvat_analytics.api import problems
from cvat_analytics.api.filters import EPOCH, FIRST_MS, LAST_MS, Id, aware
from cvat_analytics.api.idempotency import IdempotencyStore, RequestStamp
from cvat_analytics.api.principals import Organization, Principal
from cvat_analytics.api.problems import Problem, bad_request
from cvat_analytics.api.working_time import Action, Amount, Ids, amounts, covered
from cvat_analytics.base.codes import Code
from cvat_analytics.store.event_scopes import CLIENT_SCOPES

MAXIMUM_BODY = 8 * 2**20
"""Bytes of a request; Vector takes more, and no CVAT client comes near it."""
LARGE_BODY = 2**20
"""From here on a body may become hundreds of megabytes of objects: one person sends one at a time, and one is read at a time."""
MAXIMUM_EVENTS = 10_000
"""Events of a request. The bytes alone do not keep it small: 16 MiB of `{}` become gigabytes of objects and complaints."""
MAXIMUM_EVENT_TEXT = 4 * 2**20
"""Bytes of a payload or another text of one event; the pipeline takes more (limits.EVENT)."""

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
    count: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
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
        body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()[-40:]
        raise bad_request(
            "body",
            f"is not UTF-8: the byte {body[error.start]:02x} at position {error.start + 1}, after {before}",
        ) from None
    try:
        client_events = ClientEvents.model_validate_json(body)
    except ValidationError as error:
        raise problems.not_valid(
            error.errors(include_url=False, include_context=False, include_input=False)
        ) from None
    for number, event in enumerate(client_events.events):
        if event.scope not in CLIENT_SCOPES and event.scope not in extra_scopes:
            raise bad_request(f"events.{number}.scope", f"clients may not send {event.scope!r}")
    return client_events


class Prepared(NamedTuple):
    """A request's events, ready to be sent."""

    events: list[dict[str, Any]]
    """In the form that they are stored in: their payload as text, their time as datetime."""
    reports: list[dict[str, Any]]
    """`send:working_time`, one for each job, task and project."""
    stamps: dict[bytes, RequestStamp]
    """By event, as it came, what it was sent with first."""


def prepare(
    client_events: ClientEvents,
    principal: Principal,
    organization: Organization | None,
    request_id: str,
    now: datetime,
    idempotency: IdempotencyStore,
) -> Prepared:
    """Return what is to be sent to Vector, remembered in `idempotency`; a repeated event is what it was the first time.

    Raises Problem (400) for a payload that is not JSON, or a time that no clock can have meant.
    """
    who = {
        "user_id": principal.id,
        "user_name": principal.name,
        "user_email": principal.email or None,
        "org_id": organization.id if organization else None,
        "org_slug": organization.slug if organization else None,
    }
    mine = RequestStamp(request_id, now - aware(client_events.timestamp), who)
    events = [_stored(event, mine, f"events.{number}") for number, event in enumerate(client_events.events)]
    before = []
    if client_events.previous_event:
        at = _corrected(client_events.previous_event, mine, "previous_event")
        before = [_action({**client_events.previous_event.model_dump(), "timestamp": at})]
    sender = json.dumps([principal.key, organization.id if organization else None]).encode()
    keys = [_key(sender, event) for event in client_events.events]
    with idempotency.lock:
        first = idempotency.find(keys)
        new = [_action(event) for event, stamp in zip(events, first, strict=True) if stamp is None]
        if new:
            # the latest of those that reach as far
            before += [stamp.covered for stamp in first if stamp and stamp.covered]
            previous = max(reversed(before), key=lambda each: each.end_ms, default=None)
            mine.amounts, mine.covered = amounts(new, previous), covered(new, previous)
        stamps = {key: stamp or mine for key, stamp in zip(keys, first, strict=True)}
        idempotency.begin(stamps)
    for number, stamp in enumerate(first):
        if stamp:
            events[number] = _stored(client_events.events[number], stamp, f"events.{number}")
    # each once, in the order of the events
    every = dict.fromkeys(stamps.values())
    reports = [_report(ids, amount, each) for each in every for ids, amount in each.amounts.items()]
    return Prepared(events, reports, stamps)


_OWN = {"scope", "obj_name", "obj_id", "obj_val", "count", "duration", "project_id", "task_id", "job_id"}
"""What is taken from the client as it comes."""


def _key(sender: bytes, event: ClientEvent) -> bytes:
    """Return what stands for an event of that sender, without keeping it."""
    content = event.model_dump_json(include=_OWN | {"timestamp", "payload"}).encode()
    return hashlib.blake2b(sender + content, digest_size=16).digest()


def _stored(event: ClientEvent, stamp: RequestStamp, field: str) -> dict[str, Any]:
    """Return an event as it is stored."""
    return {
        **event.model_dump(include=_OWN),
        "source": "client",
        "timestamp": _corrected(event, stamp, field),
        **stamp.who,
        "payload": _with_request(event.payload, stamp.request_id, f"{field}.payload"),
    }


def _action(event: dict[str, Any]) -> Action:
    ids = Ids(event["job_id"], event["task_id"], event["project_id"])
    return Action(_ms(event["timestamp"]), event["scope"], event["duration"], ids)


def _report(ids: Ids, amount: Amount, stamp: RequestStamp) -> dict[str, Any]:
    """Return a `send:working_time`. It is the server's event; its time is the end of the work that it reports."""
    payload = {"working_time": amount.milliseconds, "request": {"id": stamp.request_id}}
    return {
        **dict.fromkeys(("obj_name", "obj_id", "obj_val", "count")),
        **ids._asdict(),
        **stamp.who,
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


def _corrected(event: ClientEvent, stamp: RequestStamp, field: str) -> datetime:
    try:
        moment = (aware(event.timestamp) + stamp.correction).astimezone(timezone.utc)
        if FIRST_MS <= _ms(moment) <= LAST_MS:
            return moment
    except OverflowError:
        pass
    raise bad_request(
        f"{field}.timestamp",
        "is not between 1970 and 2105, once the client's clock is corrected by `timestamp`",
    )


def _with_request(payload: str | None, request_id: str, field: str) -> str:
    """Return the payload with the id of this request in it, where the server's own events have it too.

    Without `working_time`, in which the server has once reported it: clients have nothing to say of that.
    """
    try:
        value = from_json(payload, allow_inf_nan=False) if payload else {}
    except ValueError as error:
        raise bad_request(field, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        value = {"payload": value}
    value.pop("working_time", None)
    about = value.get("request")
    if isinstance(about, dict):
        value["request"] = {**about, "id": request_id}
    else:
        value["request"] = {"id": request_id} if about is None else {"id": request_id, "payload": about}
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise bad_request(field, f"cannot be stored: {error}") from None


def organization_of(principal: Principal, *, slug: str, id: int | None) -> Organization | None:
    """Return the organization in which a request is made. Raises Problem (403) for one that is not the caller's."""
    if not slug and id is None:
        return None
    organization = principal.organization(id=id, slug=slug)
    if organization is None:
        raise Problem(403, f"organization {slug or id}: you are not in it", code=Code.API_NOT_ALLOWED)
    return organization

"""Which events are wanted: the parameters of a request, checked, as conditions with the values beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from cvat_analytics.api.principals import Principal
from cvat_analytics.api.problems import Problem, bad_request
from cvat_analytics.base.codes import Code

DEFAULT_RANGE = timedelta(days=30)
OBJECTS = ("project_id", "task_id", "job_id")

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
CVATS_OWN = "e.source IN ('server', 'client') AND e.scope != 'send:exception'"
"""What the export of CVAT 2.42 leaves of all events."""
# 1970 to 2105: what the event table can hold
FIRST_MS, LAST_MS = 0, 4_291_747_199_999

Id = Annotated[int, Field(ge=0, le=2**63 - 1)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _written(value: Any) -> Any:
    """Return a time as it was meant: with the plus that an URL made a space of, and with its dashes.

    Raises PydanticCustomError for a number, which would be taken for seconds since 1970: `2026` would find everything.
    """
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d{8}", value):
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    if re.fullmatch(r"\s*[+-]?[\d._]+\s*", value):
        raise PydanticCustomError("time_is_number", "is a number. Write a time as 2026-01-31T12:00:00Z")
    return re.sub(r"^(\d[\d.:-]*[T ][\d.:]+) (\d\d:?\d\d)$", r"\1+\2", value)


Moment = Annotated[datetime, BeforeValidator(_written)]


class Filters(BaseModel):
    """The filters that every way of getting events has."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    org_id: Id | None = Field(None, description="Only events of this organization.")
    org: Text | None = Field(
        None,
        description="The same by the organization's slug, which may also be in the header `X-Organization`.",
    )
    project_id: Id | None = Field(None, description="Only events of this project.")
    task_id: Id | None = Field(None, description="Only events of this task.")
    job_id: Id | None = Field(None, description="Only events of this job.")
    user_id: Id | None = Field(None, description="Only events of this user.")
    from_: Moment | None = Field(
        None,
        alias="from",
        description="Not before this time (ISO 8601; UTC where it names no zone). Without it: from the beginning where `to`, "
        "a project, a task, a job or a request is named, else the last 30 days.",
    )
    to: Moment | None = Field(None, description="Not after this time. Without it: until now.")
    scope: list[Text] = Field(
        [],
        max_length=100,
        description="Only events of these scopes, such as `save:job`. May be given more than once.",
    )
    request_id: Text | None = Field(
        None, description="Only events that this API request caused (the `X-Request-Id` of its answer)."
    )
    include: Literal["all"] | None = Field(
        None,
        description="`all`: exceptions (`send:exception`) too, and events of whatever source. Without it they are left out as in CVAT's own "
        "export, unless scopes or a request are asked for by name.",
    )

    @model_validator(mode="before")
    @classmethod
    def _forgive(cls, values: Any) -> Any:
        """Take an empty value for none."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value not in ("", [""])}


SomeFilters = TypeVar("SomeFilters", bound=Filters)


@dataclass(frozen=True)
class Selection:
    """Conditions on the event table `e`, and the values that they name. Can be written as JSON."""

    conditions: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Return the text behind WHERE."""
        return " AND ".join(self.conditions) or "1"

    def and_(self, condition: str, **parameters: Any) -> Selection:
        """Return a selection with one more condition."""
        return replace(
            self, conditions=(*self.conditions, condition), parameters={**self.parameters, **parameters}
        )


def aware(moment: datetime) -> datetime:
    """Return a time with its zone: UTC where it names none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def milliseconds(moment: datetime) -> int:
    """Return a time as milliseconds since 1970, kept within what the table can hold."""
    value = (aware(moment) - EPOCH) // timedelta(milliseconds=1)
    return min(max(value, FIRST_MS), LAST_MS)


def time_range(filters: Filters, now: datetime) -> tuple[int, int]:
    """Return first and last millisecond of what is wanted. Raises Problem (400) where the first is after the last."""
    last = milliseconds(filters.to or now)
    if filters.from_ is not None:
        first = milliseconds(filters.from_)
    elif any(getattr(filters, name) is not None for name in ("to", *OBJECTS, "request_id")):
        first = FIRST_MS
    else:
        first = max(FIRST_MS, last - DEFAULT_RANGE // timedelta(milliseconds=1))
    if first > last:
        raise bad_request("from", "must not be after `to`")
    return first, last


def within(filters: SomeFilters, principal: Principal, slug: str) -> SomeFilters:
    """Return `filters` for a request that is made in the organization `slug` (empty: in none), as CVAT's clients make it.

    Raises Problem: 403 for an organization that is not the caller's, 400 where the filters name another one.
    """
    if not slug:
        return filters
    organization = principal.organization(slug=slug)
    if organization is None:
        if not principal.admin:
            raise Problem(403, f"organization {slug}: you are not in it", code=Code.API_NOT_ALLOWED)
        # an administrator need not be in it, and so nobody has told its id
        return filters.model_copy(update={"org": slug})
    if filters.org_id not in (None, organization.id):
        raise bad_request("org_id", f"is another organization than {slug}, in which the request is made")
    return filters.model_copy(update={"org_id": organization.id, "org": None})


def select(filters: Filters, principal: Principal, first_ms: int, last_ms: int) -> Selection:
    """Return the conditions for what `principal` wants. Raises Problem (403) for what they may not see."""
    selection = rights(filters, principal)
    for name in ("org_id", *OBJECTS, "user_id"):
        if (value := getattr(filters, name)) is not None:
            selection = selection.and_(f"e.{name} = {{{name}:UInt64}}", **{name: value})
    if filters.org:
        selection = selection.and_("e.org_slug = {org:String}", org=filters.org)
    if filters.scope:
        selection = selection.and_("e.scope IN {scopes:Array(String)}", scopes=filters.scope)
    if filters.request_id:
        selection = selection.and_("e.request_id = {request_id:String}", request_id=filters.request_id)
    if filters.include is None and not filters.scope and not filters.request_id:
        selection = selection.and_(CVATS_OWN)
    return selection.and_(
        "e.timestamp BETWEEN fromUnixTimestamp64Milli({first_ms:Int64}, 'Etc/UTC') "
        "AND fromUnixTimestamp64Milli({last_ms:Int64}, 'Etc/UTC')",
        first_ms=first_ms,
        last_ms=last_ms,
    )


def rights(filters: Filters, principal: Principal) -> Selection:
    """Return the conditions that keep `principal` to what they may see.

    An administrator sees everything, an organization's owner or maintainer the organization, everybody their own events.
    Raises Problem (403) when a filter asks for what is outside.
    """
    if principal.admin:
        return Selection()
    is_self = filters.user_id is not None and filters.user_id == principal.id
    if filters.org_id is not None:
        organization = principal.organization(id=filters.org_id)
        if organization is None:
            raise Problem(
                403, f"org_id: you are not in the organization {filters.org_id}", code=Code.API_NOT_ALLOWED
            )
        if organization.manages:
            return Selection()
        if filters.user_id is not None and not is_self:
            raise Problem(
                403,
                f"user_id: in the organization {filters.org_id} you may see your own events only",
                code=Code.API_NOT_ALLOWED,
            )
        return _own(principal)
    if filters.user_id is not None and not is_self:
        if not principal.managed:
            raise Problem(403, "user_id: you may see your own events only", code=Code.API_NOT_ALLOWED)
        return _managed(principal)
    if is_self or not principal.managed:
        return _own(principal)
    own, managed = _own(principal), _managed(principal)
    return Selection((f"({own.where} OR {managed.where})",), {**own.parameters, **managed.parameters})


def still_seen(principal: Principal, asked: dict[str, Any], found: Selection) -> bool:
    """Return whether `principal` may see now all that `found` finds, which they could when they `asked` for it."""
    if principal.admin:
        return True
    first_ms, last_ms = found.parameters["first_ms"], found.parameters["last_ms"]
    try:
        filters = Filters.model_validate(asked)
        now = select(within(filters, principal, filters.org or ""), principal, first_ms, last_ms)
    except Problem:
        return False
    own = _own(principal)
    if set(own.conditions) <= set(found.conditions) and own.parameters.items() <= found.parameters.items():
        return True
    return set(now.conditions) <= set(found.conditions) and all(
        set(found.parameters[name]) <= set(value) if name == "managed" else found.parameters[name] == value
        for name, value in now.parameters.items()
    )


def _own(principal: Principal) -> Selection:
    if principal.id is not None:
        return Selection().and_("e.user_id = {principal_id:UInt64}", principal_id=principal.id)
    return Selection().and_("e.user_name = {principal_name:String}", principal_name=principal.name)


def _managed(principal: Principal) -> Selection:
    return Selection().and_("e.org_id IN {managed:Array(UInt64)}", managed=list(principal.managed))


def objects_to_check(filters: Filters, principal: Principal) -> dict[str, Selection]:
    """Return for each object that is asked for what finds one event of it that `principal` may see.

    An object of which they see no event is refused whether it exists or not, so that nobody learns which do.
    """
    if principal.admin:
        return {}
    allowed = rights(filters, principal)
    if filters.org_id is not None:
        allowed = allowed.and_("e.org_id = {org_id:UInt64}", org_id=filters.org_id)
    return {
        name: allowed.and_(f"e.{name} = {{{name}:UInt64}}", **{name: getattr(filters, name)})
        for name in OBJECTS
        if getattr(filters, name) is not None
    }

"""What every way of getting events does first: check the filters against what the caller may see, and ask in a thread."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import anyio.to_thread
from fastapi import Request

from cvat_analytics.api import filters as filtering
from cvat_analytics.api import queries
from cvat_analytics.api.filters import Filters, SomeFilters
from cvat_analytics.api.principals import Principal
from cvat_analytics.api.problems import bad_request
from cvat_analytics.api.service import Service, store_problem
from cvat_analytics.base.errors import CvatAnalyticsError


def in_organization(request: Request, principal: Principal, query: SomeFilters) -> SomeFilters:
    """Return `query` for the organization that `request` is made in: `org`, or the header that CVAT's clients send.

    Raises Problem: 403 for one that is not the caller's, 400 where two are named.
    """
    header = request.headers.get("x-organization", "")
    if query.org and header and query.org != header:
        raise bad_request("org", "is another organization than the header X-Organization names")
    return filtering.within(query, principal, query.org or header)


def refuse_repeated(request: Request) -> None:
    """Raise Problem (400) for a parameter with two values, of which one would count. Only `scope` may have several."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name != "scope" and values.setdefault(name, value) != value:
            raise bad_request(name, "is given more than once. Ask for each value by itself")


async def filtered(
    principal: Principal, service: Service, query: Filters
) -> tuple[filtering.Selection, int, int]:
    """Return what `principal` asks for, with first and last millisecond. Raises Problem where they may not."""
    first, last = filtering.time_range(query, datetime.now(timezone.utc))
    selection = filtering.select(query, principal, first, last)
    await seen(principal, service, query)
    return selection, first, last


async def seen(principal: Principal, service: Service, query: Filters) -> None:
    """Raise Problem (403) for an object of which `principal` may see no event."""
    if checks := filtering.objects_to_check(query, principal):
        await asked(principal, service, queries.refuse_unseen, service.clickhouse, checks, query)


async def asked(principal: Principal, service: Service, function: Any, *arguments: Any) -> Any:
    """Return what a function that asks ClickHouse something short returns, when it is the caller's turn. Raises as `in_thread`."""
    async with service.questions.turn(principal.key):
        return await in_thread(function, *arguments)


async def in_thread(function: Any, *arguments: Any) -> Any:
    """Return what a function that asks ClickHouse returns. Raises Problem for what it raises."""
    try:
        return await anyio.to_thread.run_sync(lambda: function(*arguments))
    except CvatAnalyticsError as error:
        raise store_problem(error) from None


def stamp() -> str:
    """Return the time as it goes into the name of a file."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d_%H-%M-%S}"

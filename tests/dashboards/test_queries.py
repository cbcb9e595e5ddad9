"""Every panel's, variable's and annotation's SQL runs on the real engine, whatever is chosen, over data and over nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvat_analytics.dashboards import ALL, Dashboard, Query, Values, expand, load
from tests.clickhouse import Store
from tests.dashboards.conftest import NOTHING, Answers
from tests.dashboards.events import MESSAGES, RANGE, REQUESTS, SCOPES, Event
from tests.dashboards.flow import Flow


def every_query_of(dashboard: Dashboard) -> list[Query]:
    """Return the queries of variables, panels and annotations."""
    annotations = dashboard.model["annotations"]["list"]
    return [
        *dashboard.queries,
        *(
            Query(f"dashboard {dashboard.title!r}, annotation {each['name']!r}", each["target"]["rawSql"])
            for each in annotations
        ),
    ]


QUERIES = [(dashboard, query) for dashboard in load() for query in every_query_of(dashboard)]
every_query = pytest.mark.parametrize(
    ("dashboard", "query"),
    QUERIES,
    ids=lambda value: getattr(value, "where", value.uid if isinstance(value, Dashboard) else None),
)

ONE: dict[str, Sequence[str]] = {
    "scopes": [SCOPES[-1]],
    "sources": ["client"],
    "users": ["4"],
    "projects": ["1"],
    "tasks": ["1"],
    "jobs": ["2"],
    "organizations": ["1"],
    "errors": [MESSAGES[1]],
    "request_id": REQUESTS[1],
    "event": "1773241198717_0123456789ABCDEF",
    "working_time": "reported",
}
SEVERAL: dict[str, Sequence[str]] = {
    "scopes": [*SCOPES, "send:exception", "load:cvat", "no:such"],
    "sources": ["client", "server"],
    "users": ["1", "2", "3", "999"],
    "projects": ["1", "2"],
    "tasks": ["1", "2", "3"],
    "jobs": ["1", "2", "3", "4"],
    "organizations": ["1", "2"],
    "errors": MESSAGES[:4],
    "request_id": "",
    "event": "",
    "working_time": "computed",
}


ALL_OF_ALL: dict[str, Sequence[str]] = {
    **dict.fromkeys(ONE, ALL),
    "request_id": "",
    "event": "",
    "working_time": "computed",
}


def _choices() -> list[Values]:
    """Return nothing, one and several values of each filter alone, and all filters at once."""
    alone = [{name: chosen[name]} for chosen, name in product((ONE, SEVERAL), ONE)]
    return [{}, *alone, ONE, SEVERAL, ALL_OF_ALL, {**SEVERAL, "users": [ALL], "scopes": ""}]


def _chosen(dashboard: Dashboard, values: Values) -> Values:
    return {name: value for name, value in values.items() if name in dashboard.variables}


NOTHING_WRONG = ("Refused by ClickHouse", "Background work that fails", "Implausible dates")
"""Panels that are empty where all is well; what they show is held against tests/store/test_refusals.py, test_background_failures.py there,
and the alerts' tests."""


@every_query
def test_runs_for_every_choice(
    store: Store, answers: Answers, flow: Flow, dashboard: Dashboard, query: Query
) -> None:
    counts = {}
    for values in _choices():
        chosen = _chosen(dashboard, values)
        if chosen or not values:
            time_range = flow.range if dashboard.title == "Pipeline" or "deployments" in query.sql else RANGE
            sql = expand(query, dashboard, time_range, values=chosen)
            if sql not in answers:  # most choices are no part of a query
                answers[sql] = store.rows(sql)
            counts[str(values)] = len(answers[sql])
    assert (counts["{}"] > 0) == (not any(f"'{title}'" in query.where for title in NOTHING_WRONG))
    assert counts.get(str(ALL_OF_ALL), counts["{}"]) == counts["{}"]


@every_query
def test_runs_over_nothing(store: Store, dashboard: Dashboard, query: Query) -> None:
    for sql in {
        expand(query, dashboard, RANGE, values=_chosen(dashboard, values)) for values in ({}, ONE, SEVERAL)
    }:
        store.post(sql, database=NOTHING)


def test_panels_over_nothing_show_zero_or_no_data(store: Store, dashboards: dict[str, Dashboard]) -> None:
    (active,) = dashboards["Monitoring"].panels[0].queries
    assert "[\n\t\t[0]\n\t]" in store.post(expand(active, dashboards["Monitoring"], RANGE), database=NOTHING)
    (users,) = dashboards["Management"].panels[0].queries
    assert '"rows": 0' in store.post(expand(users, dashboards["Management"], RANGE), database=NOTHING)


_text = st.text() | st.sampled_from(
    [*SCOPES, *MESSAGES, *REQUESTS, "\\", "'", "\\'", "' OR 1=1 --", "$__fromTime", "${users}", "*/", "1"]
)
_choice = st.dictionaries(
    st.sampled_from(sorted(SEVERAL.keys() - {"request_id", "event", "working_time"})),
    st.lists(_text, max_size=3),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _choice,
    st.fixed_dictionaries({}, optional={"request_id": _text, "event": _text, "working_time": _text}),
    st.sampled_from(range(len(QUERIES))),
)
def test_no_value_can_break_a_query(
    store: Store, values: dict[str, list[str]], texts: dict[str, str], place: int
) -> None:
    dashboard, query = QUERIES[place]
    store.rows(expand(query, dashboard, RANGE, values=_chosen(dashboard, {**values, **texts})))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1) | st.sampled_from(SCOPES), min_size=1, max_size=4))
def test_a_text_filter_finds_exactly_its_values(
    store: Store, events: list[Event], dashboards: dict[str, Dashboard], scopes: list[str]
) -> None:
    monitoring = dashboards["Monitoring"]
    (query,) = next(panel for panel in monitoring.panels if panel.title == "Number of events").queries
    scopes_shown = {
        row["scope"] for row in store.rows(expand(query, monitoring, RANGE, values={"scopes": scopes}))
    }
    assert scopes_shown == {event["scope"] for event in events} & set(scopes)

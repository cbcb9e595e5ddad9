"""The SQL that comes out of macros and variables, against the plugin's and Grafana's documented results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards import ALL, Dashboard, Query, TimeRange, Variable, expand, load

# the documentation's own example range
RANGE = TimeRange(
    datetime(2014, 11, 12, 11, 45, 26, 123000, tzinfo=UTC),
    datetime(2015, 11, 12, 11, 45, 26, 456000, tzinfo=UTC),
)
FROM, TO = "toDateTime(1415792726)", "toDateTime(1447328726)"
FROM_MS, TO_MS = "fromUnixTimestamp64Milli(1415792726123)", "fromUnixTimestamp64Milli(1447328726456)"


def _variable(name: str, default: str | tuple[str, ...] = (ALL,), all_value: str | None = None) -> Variable:
    return Variable(name, name, "query", None, True, True, all_value, default, "")


BOARD = Dashboard(
    "uid",
    "Board",
    Path("board.json"),
    (),
    {v.name: v for v in [_variable("users"), _variable("x", ("1",)), _variable("any", all_value="-1")]},
    {},
)


def sql(text: str, *, seconds: float = 60, **values: Any) -> str:
    """Return the expansion of `text` on a small dashboard."""
    return expand(
        Query("dashboard 'Board', panel 'P'", text),
        BOARD,
        RANGE,
        interval=timedelta(seconds=seconds),
        values=values,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WHERE $__timeFilter(t)", f"WHERE t >= {FROM} AND t <= {TO}"),
        (
            "WHERE $__timeFilter(cast(sth as timestamp) )",
            f"WHERE cast(sth as timestamp) >= {FROM} AND cast(sth as timestamp) <= {TO}",
        ),
        ("WHERE $__timeFilter_ms(t)", f"WHERE t >= {FROM_MS} AND t <= {TO_MS}"),
        ("WHERE $__dateFilter(d)", "WHERE d >= toDate('2014-11-12') AND d <= toDate('2015-11-12')"),
        (
            "WHERE $__dateTimeFilter(d, t)",
            f"WHERE (d >= toDate('2014-11-12') AND d <= toDate('2015-11-12')) AND (t >= {FROM} AND t <= {TO})",
        ),
        ("WHERE $__timeFrom(t)", f"WHERE t >= {FROM}"),
        ("WHERE $__timeTo(t)", f"WHERE t <= {TO}"),
        ("($__fromTime, $__toTime)", f"({FROM}, {TO})"),
        ("( a >= $__fromTime_ms ) and ( a <= $__toTime_ms )", f"( a >= {FROM_MS} ) and ( a <= {TO_MS} )"),
        ("$__timeInterval(t)", "toStartOfInterval(toDateTime(t), INTERVAL 60 second)"),
        ("$__timeInterval_ms(t)", "toStartOfInterval(toDateTime64(t, 3), INTERVAL 60000 millisecond)"),
        ("$__timeGroup(ts, '5m')", "toStartOfInterval(toDateTime(ts), INTERVAL 300 second)"),
        ("$__timeGroup(ts, 1h30m)", "toStartOfInterval(toDateTime(ts), INTERVAL 5400 second)"),
        ("$__interval_s $__interval_ms $__interval", "60 60000 1m"),
        ("$__timeInterval($__fromTime)", f"toStartOfInterval(toDateTime({FROM}), INTERVAL 60 second)"),
        ("$__timeFrom(coalesce(c, $__toTime))", f"coalesce(c, {TO}) >= {FROM}"),
        ("$__timeFrom(if(a = ')', b, \"c)\"))", f"if(a = ')', b, \"c)\") >= {FROM}"),
        (r"msg = 'it\'s -- fine' AND $__timeFrom(t)", rf"msg = 'it\'s -- fine' AND t >= {FROM}"),
        ("msg = 'it''s' AND $__fromTime", f"msg = 'it''s' AND {FROM}"),
        (
            "SELECT '$__nothing', `$__here` -- $__fromTime\n/* $__norHere é */, 1",
            f"SELECT '$__nothing', `$__here` {' ' * 14}\n{' ' * 19}, 1",
        ),
        (
            "${__from} ${__to} ${__from:date:seconds} ${__to:date}",
            "1415792726123 1447328726456 1415792726 2015-11-12T11:45:26.456Z",
        ),
        # wherever a known one stands: that is the plugin's way
        ("SELECT '$__fromTime' AS `$__interval_s`", f"SELECT '{FROM}' AS `60`"),
        ("$__fromTime() $__interval_s(1, 2)", f"{FROM} 60"),
        ("$__timeFrom(a[1] + {b}) $__timeFrom( t\n)", f"a[1] + {{b}} >= {FROM} t >= {FROM}"),
        (
            '$__timeGroup(ts, "1.5h") $__timeGroup(ts, 500ms)',
            "toStartOfInterval(toDateTime(ts), INTERVAL 5400 second) toStartOfInterval(toDateTime(ts), INTERVAL 1 second)",
        ),
        ("match(a, '^b$') AND c = $1", "match(a, '^b$') AND c = $1"),
    ],
)
def test_macros(text: str, expected: str) -> None:
    assert sql(text) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.02, "20ms"), (1, "1s"), (90, "90s"), (3600, "1h"), (86400, "1d"), (7200, "2h")],
)
def test_interval_is_written_in_its_largest_unit(seconds: float, expected: str) -> None:
    assert sql("$__interval", seconds=seconds) == expected


@pytest.mark.parametrize(
    ("days", "points", "expected"),
    [(7, 200, timedelta(hours=1)), (7, 1000, timedelta(minutes=10)), (90, 200, timedelta(hours=12)), (1 / 24, 200, timedelta(seconds=20)),
     (4000, 3, timedelta(days=365)), (1 / 86400, 1000, timedelta(seconds=1))],
)  # fmt: skip
def test_interval_of_a_range(days: float, points: int, expected: timedelta) -> None:
    assert TimeRange(RANGE.start, RANGE.start + timedelta(days=days)).interval(points) == expected


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("$users", {"users": ["1"]}, "'1'"),
        ("$users", {"users": "1"}, "1"),
        ("${users} [[users]]", {"users": ["a", "b"]}, "'a','b' 'a','b'"),
        ("${users:csv} ${users:raw}", {"users": ["a", "b"]}, "a,b a,b"),
        ("${users:sqlstring} [[users:sqlstring]]", {"users": ["o'b", '"']}, "'o''b','\\\"' 'o''b','\\\"'"),
        ("${users:singlequote}", {"users": ["o'b", "c"]}, "'o\\'b','c'"),
        ("${users:doublequote}", {"users": ['a"b']}, '"a\\"b"'),
        ("${users:json}", {"users": ['a"b', "é"]}, '["a\\"b","é"]'),
        ("${users:json}", {"users": "a"}, "a"),
        ("${users:percentencode}", {"users": "a'b c"}, "a%27b%20c"),
        ("${users:percentencode}", {"users": ["a", "b"]}, "%7Ba%2Cb%7D"),
        ("${users:customqueryparam:v}", {"users": ["a&b=c", "~_-.ü"]}, "v=a%26b%3Dc&v=~_-.%C3%BC"),
        ("${users:customqueryparam} ${users:customqueryparam:p:x-}", {"users": "1"}, "users=1 p=x-1"),
        ("$any ${any:sqlstring}", {"any": ALL}, "-1 -1"),
        ("a${x}b", {}, "a'1'b"),
    ],
)
def test_variables(text: str, values: dict[str, Any], expected: str) -> None:
    assert sql(text, **values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "a AND 1=1 AND c"),
        ({"users": ALL}, "a AND 1=1 AND c"),
        ({"users": [ALL]}, "a AND 1=1 AND c"),
        ({"users": ""}, "a AND 1=1 AND c"),
        ({"users": ["1", "2"]}, "a AND f(u, g('x')) IN ('1','2') AND c"),
    ],
)
def test_conditional_all(values: dict[str, Any], expected: str) -> None:
    assert (
        sql("a AND $__conditionalAll(f(u, g('x')) IN (${users:sqlstring}), $users) AND c", **values)
        == expected
    )
    assert sql("a AND $__conditionalAll(f(u, g('x')) IN ($users), ${users} ) AND c", **values) == expected


def test_conditional_all_inside_another() -> None:
    text = "$__conditionalAll(a = 1 AND $__conditionalAll(b = 2, $x), $users)"
    assert sql(text, users=["1"], x=ALL) == "a = 1 AND 1=1"
    assert sql(text, users=["1"], x=["2"]) == "a = 1 AND b = 2"
    assert sql(text, users=ALL, x=["2"]) == "1=1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$__timeFiler(t)", "unknown macro $__timeFiler"),
        ("$__columns(t, k, v) FROM x", "unknown macro $__columns"),
        ("$__timeFilter(t, u)", "$__timeFilter takes 1 argument(s), not 2"),
        ("$__timeFilter", "$__timeFilter takes 1 argument(s), not 0"),
        ("$__timeFilter (t)", "$__timeFilter takes 1 argument(s), not 0"),
        ("$__timeFilter(t", "the bracket of $__timeFilter is never closed"),
        ("$__timeFilter([a, b])", "$__timeFilter takes 1 argument(s), not 2"),
        ("$__timeFilter( )", "$__timeFilter takes 1 argument(s), not 0"),
        (r"$__timeFrom(if(a = 'it\'s', b, c))", "the bracket of $__timeFrom is never closed"),
        ("$__timeGroup(t, 400ms)", "400ms is not as long as half a second"),
        ("SELECT 1 FROM $__table", "$__table and $__column are for the query builder only"),
        ("$__timeGroup(t, soon)", "soon is not a duration such as 5m or 1h30m"),
        ("$nobody", "unknown variable $nobody"),
        ("'${nobody:csv}'", "unknown variable ${nobody:csv}"),
        ("[[nobody]]", "unknown variable [[nobody]]"),
        ("${x:sqlstrin}", "unknown format in ${x:sqlstrin}: sqlstrin"),
        ("u IN ($users)", "$users is used outside $__conditionalAll but has no value for All"),
        ("$__conditionalAll(a = 1, $nobody)", "unknown variable $nobody"),
        (
            "$__conditionalAll(a = 1)",
            "$__conditionalAll needs two arguments, a condition and a variable, and has 1",
        ),
        ("$__conditionalAll", "$__conditionalAll needs a condition and a variable in brackets"),
        (
            "$__conditionalAll(a = 1, ${x:csv})",
            "the second argument of $__conditionalAll must be a plain variable such as $users, not ${x:csv}",
        ),
        ("$__conditionalAll(a = ')', $x)", "the plugin would misread"),
        ("$__conditionalAll(a = '$', $x)", "the plugin would misread"),
    ],
)
def test_what_grafana_would_pass_on_silently_is_an_error(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        sql(text)
    assert str(error.value).startswith("dashboard 'Board', panel 'P': " + message)


def test_a_file_that_is_no_dashboard_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('{"title": "Odd", "panels": []}')
    with pytest.raises(
        InputError, match=r"odd\.json: is not a dashboard in Grafana's classic JSON \(KeyError: 'uid'\)"
    ):
        load(tmp_path)


@given(st.lists(st.text(), min_size=1))
def test_encoded_values_survive_and_bring_nothing_that_sql_could_read(values: list[str]) -> None:
    text = sql("'${users:customqueryparam:v}'", users=values)[1:-1]
    if values in ([""], [ALL]):
        return
    assert all(character.isascii() and (character.isalnum() or character in "-_.~%&=") for character in text)
    assert [unquote(part.removeprefix("v=")) for part in text.split("&")] == values

"""Turn a dashboard's SQL into the text that ClickHouse gets, in the steps in which Grafana and its plugin do it.

In the browser: `$__conditionalAll`, then the variables. In the plugin's backend: the other macros (`macro_grammar`). What Grafana would
silently pass on (an unknown macro or variable) is an error here: ClickHouse would only say "syntax error".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards.interpolation import ALL, REFERENCE, Value, Values, formatted, is_all
from cvat_analytics.dashboards.macro_grammar import NEWEST, Call, interpolate, pieces, without_comments
from cvat_analytics.dashboards.macros import MACROS, ONLY_NEWEST, TimeRange, Times, browser_interval, table
from cvat_analytics.dashboards.model import Dashboard, Query

_CONDITIONAL = "$__conditionalAll"
_QUOTED = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`(?:[^`\\]|\\.)*`|--[^\n]*|/\*.*?\*/", re.DOTALL
)
"""A string, a quoted name or a comment: no bracket, comma or macro in it counts."""
_MACRO = re.compile(r"\$(__\w+)")
_KNOWN_LATER = dict.fromkeys(
    (f"__{name}" for name in ONLY_NEWEST), ", which only plugins after 4.20.0 know: write out what it becomes"
)


def expand(
    query: Query,
    dashboard: Dashboard,
    time_range: TimeRange,
    *,
    interval: timedelta | None = None,
    values: Values | None = None,
) -> str:
    """Return the SQL that runs for the chosen `values`; variables that are not among them keep their default.

    Raises InputError that names dashboard and panel for an unknown macro or variable, for wrong arguments, and for
    what the plugin would read differently from how it looks.
    """
    chosen = {name: variable.default for name, variable in dashboard.variables.items()} | dict(values or {})
    times = Times(time_range, interval or time_range.interval(1000))
    try:
        return _macros(_in_the_browser(query.sql, dashboard, chosen, times), times)
    except ValueError as error:
        raise InputError(Code.DASHBOARD_QUERY, f"{query.where}: {error}") from None


def sent_by_the_browser(
    query: Query, dashboard: Dashboard, time_range: TimeRange, values: Values | None = None
) -> str:
    """Return the text that Grafana's backend gets: without variables, with its macros. Raises InputError as `expand` does."""
    chosen = {name: variable.default for name, variable in dashboard.variables.items()} | dict(values or {})
    try:
        return _in_the_browser(query.sql, dashboard, chosen, Times(time_range, time_range.interval(1000)))
    except ValueError as error:
        raise InputError(Code.DASHBOARD_QUERY, f"{query.where}: {error}") from None


def _in_the_browser(sql: str, dashboard: Dashboard, values: Values, times: Times) -> str:
    return _variables(_conditions(sql, values), dashboard, values, times)


def _outside_quotes(sql: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """Yield position and character of all that is not inside a string, a quoted name or a comment."""
    position = start
    while position < len(sql):
        quoted = _QUOTED.match(sql, position)
        if quoted:
            position = quoted.end()
        else:
            yield position, sql[position]
            position += 1


def _arguments(sql: str, start: int, name: str) -> tuple[list[str], int]:
    """Return the arguments of the call whose opening bracket is at `start`, and the position after its end."""
    depth, begin, arguments = 0, start + 1, []
    for position, character in _outside_quotes(sql, start):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if character == "," and depth == 1:
            arguments.append(sql[begin:position])
            begin = position + 1
        if depth == 0:
            return [*arguments, sql[begin:position]], position + 1
    raise ValueError(f"the bracket of {name} is never closed")


def _conditions(sql: str, values: Values) -> str:
    """Keep the conditions whose variable has a choice, and replace the others by 1=1, innermost first."""
    while (start := sql.rfind(_CONDITIONAL)) != -1:
        bracket = start + len(_CONDITIONAL)
        if sql[bracket : bracket + 1] != "(":
            raise ValueError(f"{_CONDITIONAL} needs a condition and a variable in brackets")
        arguments, end = _arguments(sql, bracket, _CONDITIONAL)
        if len(arguments) != 2:
            raise ValueError(
                f"{_CONDITIONAL} needs two arguments, a condition and a variable, and has {len(arguments)}"
            )
        condition, reference = arguments
        # The plugin counts brackets and commas without regard to quotes, and `$'` and the like are special to JavaScript's replace()
        if _plain_arguments(sql, bracket) != arguments or re.search(r"\$[$&`']", condition):
            raise ValueError(
                f"the plugin would misread {_CONDITIONAL}({condition},{reference}): keep brackets and commas out of its quotes"
            )
        variable = re.fullmatch(r"\$(\w+)|\$\{(\w+)\}", reference.strip())
        if not variable:
            raise ValueError(
                f"the second argument of {_CONDITIONAL} must be a plain variable such as $users, not {reference.strip()}"
            )
        name = variable[1] or variable[2]
        if name not in values:
            raise ValueError(f"unknown variable ${name}")
        sql = sql[:start] + ("1=1" if is_all(values[name]) else condition) + sql[end:]
    return sql


def _plain_arguments(sql: str, start: int) -> list[str]:
    """Return the arguments as the plugin's browser part finds them: by round brackets alone."""
    depth, begin, arguments = 0, start + 1, []
    for position in range(start, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[position], 0)
        if (sql[position] == "," and depth == 1) or depth == 0:
            arguments.append(sql[begin:position])
            begin = position + 1
        if depth == 0:
            return arguments
    return []


def _variables(sql: str, dashboard: Dashboard, values: Values, times: Times) -> str:
    built_in: dict[str, Value] = {
        "__from": str(round(times.range.start.timestamp() * 1000)),
        "__to": str(round(times.range.end.timestamp() * 1000)),
        "__interval": browser_interval(times),
        "__interval_ms": MACROS["__interval_ms"].expand(times),
    }

    def replacement(match: re.Match[str]) -> str:
        name = match["braced"] or match["square"] or match["plain"]
        format_ = match["format"] or match["square_format"]
        if name in built_in:
            return formatted(name, built_in[name], format_)
        if name.startswith("__") and match["plain"]:
            return match[0]  # a macro: the backend's turn
        if name.isdigit():
            return match[0]
        if name not in values:
            raise ValueError(f"unknown variable {match[0]}")
        if is_all(values[name]) and ALL in values[name]:
            all_value = dashboard.variables[name].all_value if name in dashboard.variables else None
            if all_value is None:
                raise ValueError(f"{match[0]} is used outside {_CONDITIONAL} but has no value for All")
            return all_value
        try:
            return formatted(name, values[name], format_)
        except LookupError as error:
            raise ValueError(f"unknown format in {match[0]}: {error.args[0]}") from None

    return REFERENCE.sub(replacement, sql)


def _macros(sql: str, times: Times) -> str:
    known = table(times)
    for piece in pieces(without_comments(sql), known):
        if isinstance(piece, Call) and not piece.closed:
            raise ValueError(f"the bracket of $__{piece.name} is never closed")
    for position, character in _outside_quotes(sql):
        macro = _MACRO.match(sql, position) if character == "$" else None
        if macro and macro[1] not in MACROS:
            raise ValueError(f"unknown macro ${macro[1]}{_KNOWN_LATER.get(macro[1], '')}")
    return interpolate(sql, known, NEWEST)

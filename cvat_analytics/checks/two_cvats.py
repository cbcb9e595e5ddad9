"""Whether two CVATs send into this stack. Each counts its ids from 1, so that an id means two things, and every number mixes them.

In one CVAT an id may change its meaning, but it does so once: a user is renamed, a task is moved, a backup is restored. With
two CVATs the two meanings come by turns, for as long as both send. So what is counted is how often an id returns to what
it meant before. Whence requests come says nothing: one CVAT's server and workers have several addresses, and a proxy makes
one of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

DAYS = 2
"""How far back is looked: a moment's work of ClickHouse's, whatever is stored."""
RETURNS = 4
"""Somebody renamed and renamed back returns three times at most, where both are at an hour's edge: what was under way still has
the old name."""
_FIRM = {"user", "organization", "job"}
"""What no CVAT changes to and fro: a login, an organization's short name, a job's task. E-mails may come from two directories by
turns, and a script may move tasks to and fro, so that they tell only beside one of these."""
_SHOWN = 3
_LONGEST = 40

_MEANINGS = {
    "user": ("user_id", "nullIf(user_name, '')"),
    "email": ("user_id", "nullIf(user_email, '')"),
    "organization": ("org_id", "nullIf(org_slug, '')"),
    "job": ("job_id", "task_id"),
    "task": ("task_id", "project_id"),
}
"""Of each kind the column of its ids, and what tells one from another of the same id."""
# The server's own: what browsers, and the reports of their working time, say of ids is what a tab was opened with.
_FROM = f"""
FROM events
WHERE timestamp > now() - INTERVAL {DAYS} DAY AND timestamp <= now() + INTERVAL 1 HOUR
  AND source = 'server' AND NOT startsWith(scope, 'send:')"""
# what is not read in time can only hide a second CVAT, never make one up
_SETTINGS = "SETTINGS final = 0, max_execution_time = 4, timeout_overflow_mode = 'break'"
_SUSPECTS = 100
"""How many ids of a kind are looked at: the lowest, which every CVAT has."""


@dataclass(frozen=True)
class TwoCvats:
    """Ids that mean two things by turns."""

    ids: int
    examples: Sequence[str]
    last: datetime
    """The hour in which one of them did so last."""


@dataclass(frozen=True)
class _Turns:
    """How often an id has returned to what it meant before: the last time, and between what."""

    returns: int
    last: datetime
    meanings: tuple[str, str]


def look(rows: Callable[[str], Sequence[Sequence[Any]]]) -> TwoCvats | None:
    """Return what tells that two CVATs send, None where nothing does; `rows` asks ClickHouse."""
    suspects: dict[str, list[int]] = {}
    for kind, id in rows(_all(map(_several, _MEANINGS))):
        suspects.setdefault(str(kind), []).append(int(id))
    if sum(map(len, suspects.values())) < 2:
        return None
    recent = datetime.now(UTC) - timedelta(days=1)
    found = {
        (str(kind), int(id)): turns
        for kind, id, hours in rows(_all(_hours(*each) for each in suspects.items()))
        if (turns := _turns(hours)).returns >= RETURNS and turns.last > recent
    }
    # where the login has two meanings, two e-mails are the same finding
    found = {
        (kind, id): turns
        for (kind, id), turns in found.items()
        if kind != "email" or ("user", id) not in found
    }
    if len(found) < 2 or not any(kind in _FIRM for kind, _ in found):
        return None
    examples = [_example(kind, id, turns) for (kind, id), turns in sorted(found.items())]
    return TwoCvats(len(found), examples[:_SHOWN], max(turns.last for turns in found.values()))


def _all(queries: Iterable[str]) -> str:
    return f"SELECT * FROM ({' UNION ALL '.join(queries)}) {_SETTINGS}"


def _several(kind: str) -> str:
    """Return the query for the ids of a kind that mean more than one thing."""
    id, meaning = _MEANINGS[kind]
    return (
        f"SELECT '{kind}' AS kind, assumeNotNull({id}) AS id {_FROM} AND {id} IS NOT NULL "
        f"GROUP BY {id} HAVING min({meaning}) != max({meaning}) ORDER BY id LIMIT {_SUSPECTS}"
    )


def _hours(kind: str, ids: Sequence[int]) -> str:
    """Return the query for what these ids mean, hour by hour."""
    id, meaning = _MEANINGS[kind]
    return (
        f"SELECT '{kind}' AS kind, id, groupArray((hour, meanings)) FROM (SELECT assumeNotNull({id}) AS id, toStartOfHour(timestamp) AS hour, "
        f"groupUniqArray(10)(lowerUTF8(toString({meaning}))) AS meanings {_FROM} AND {id} IN ({', '.join(map(str, ids))}) AND {meaning} IS NOT NULL "
        "GROUP BY id, hour) GROUP BY id"
    )


def _turns(hours: Iterable[tuple[datetime, Sequence[str]]]) -> _Turns:
    """Return how often one of the meanings came back, by hours: within one it is not told which came first."""
    before, now, last = set[str](), "", datetime.fromtimestamp(0, UTC)
    returns, meanings = 0, ("", "")
    for hour, several in sorted(hours):
        others = sorted(set(several) - {now}, key=lambda meaning: (meaning not in before, meaning))
        if not now:
            now = others[0]
        elif others:
            before.add(now)
            if others[0] in before:
                returns, last, meanings = returns + 1, hour.astimezone(UTC), (now, others[0])
            now = others[0]
    return _Turns(returns, last, meanings)


def _example(kind: str, id: int, turns: _Turns) -> str:
    one, other = sorted(each[:_LONGEST] for each in turns.meanings)
    of = {"job": "is of task", "task": "is of project", "email": "has the e-mail"}.get(kind, "is")
    return f"{'user' if kind == 'email' else kind} {id} {of} {one} and {other}"

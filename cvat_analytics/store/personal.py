"""Every column of every table in which something of a person stands, and how long it does (docs/privacy.md).

A test holds this to the running stack's tables: a new table, or a new column, has to say here whether it is about somebody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cvat_analytics.store import people
from cvat_analytics.store.event_columns import COLUMNS

PERSON = "{id:UInt64}"
"""The person's id, as a parameter of a query; `{emails:Array(String)}` and `{names:Array(String)}` are what they were ever called."""
_OWN = f"user_id = {PERSON}"
_WORKED = ("org_id", "project_id", "task_id", "job_id")
_ABOUT_EVENT = (
    "scope", "obj_name", "obj_id", "obj_val", "source", "timestamp", "count", "duration", *_WORKED, "user_id", "user_name",
    "user_email", "payload", "access_token_id", "received_at", "request_id",
)  # fmt: skip
_TEXT = "concat(ifNull(obj_name, ''), ' ', ifNull(obj_val, ''), ' ', ifNull(payload, ''))"
_SPEAKS = f"(position(ifNull(payload, ''), '\"username\"') > 0 OR {people.IS_ACCOUNT} OR {people.IS_GIVEN}) AND has({people.MENTIONED}, {PERSON})"
_THEIR_COMMENT = (
    "scope = 'delete:comment' AND obj_id IN "
    f"(SELECT obj_id FROM {{database}}.events WHERE scope = 'create:comment' AND user_id = {PERSON} AND obj_id IS NOT NULL)"
)
OF_OTHERS = (
    f"NOT (ifNull(user_id, 0) = {PERSON}) AND (({_SPEAKS}) OR ({_THEIR_COMMENT}) "
    f"OR arrayExists(mail -> positionCaseInsensitiveUTF8({_TEXT}, mail) > 0, {{emails:Array(String)}}))"
)
"""True of another's event that says something of the person: given or taken a job, invited, registered, named as owner; a comment of
theirs that another has deleted, with its text; their e-mail address in any text."""
_LETTER = "concat(original, '\\n', corrected, '\\n', message)"
_ANY_ID = r"user_id\\*['\x22]\s*:\s*\\*\x22?\d+"
LETTERS = (
    f"match({_LETTER}, concat({people.quoted(_ANY_ID.replace('\\d+', ''))}, toString({PERSON}), '\\\\b')) "
    f"OR arrayExists(mail -> positionCaseInsensitiveUTF8({_LETTER}, mail) > 0, {{emails:Array(String)}}) "
    f"OR NOT match({_LETTER}, {people.quoted(_ANY_ID)}) AND arrayExists("
    f"name -> match({_LETTER}, concat('user_?name\\\\\\\\*\\x22\\\\s*:\\\\s*\\\\\\\\*\\x22', regexpQuoteMeta(name), '\\\\\\\\*\\x22')), {{names:Array(String)}})"
)
"""True of a dead letter with the person's id or e-mail address, or their name and no id."""

_COUNTED = f"{_OWN} AND events > 0 AND (toDate(hour), counted_at) IN (SELECT day, max(event_days.counted_at) FROM {{database}}.event_days GROUP BY day)"
"""True of a row of the last count of its day, which is what `event_counts` shows. Of former counts there are rows too that FINAL does not
take away: those of before browsers were counted have another key."""


@dataclass(frozen=True)
class Place:
    """A table with something of people in it. Every column is in one of two lists."""

    table: str
    says: str
    """What its rows say of somebody, in plain words."""
    why: str
    about: Sequence[str]
    """The columns that say something of a person: who it is, what was done, when, on what."""
    rest: Sequence[str] = ()
    kept: str = ""
    """The setting that says how long; empty: for good."""
    moment: str = "timestamp"
    """The time of a row, as SQL."""
    condition: str = _OWN
    """Which rows are the person's, as SQL."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """What is read in the place of a column, as SQL."""
    by_command: bool = False
    """Whether a command makes the table, so that it may not be there."""
    final: str = " FINAL"
    """What leaves out of the table's rows those that newer ones replace; empty: the condition does, or there are none."""

    def select(self) -> str:
        """Return what is read of a row to be given out."""
        return ", ".join(
            f"{self.instead[name]} AS {name}" if name in self.instead else name for name in self.about
        )


PLACES = (
    Place(
        "events", "what they did in CVAT, event by event, with name and e-mail address", "reports of activity, quality and working time",
        _ABOUT_EVENT, ("org_slug",), "events_retention",
    ),
    Place(
        "events_dead_letter", "events that could not be stored, as they were sent", "nothing is lost that CVAT has sent",
        ("received_at", "sender", "reason", "message", "original", "corrected"), ("original_size", "original_sha256", "original_file"),
        "dead_letters_retention", "received_at", LETTERS,
    ),
    Place(
        "known_names", "their latest name and e-mail address", "dashboards show names, not ids",
        ("kind", "id", "name", "told_at"), (), "names_retention", "told_at", f"kind IN ('user', 'email') AND id = {PERSON}",
        {"name": "finalizeAggregation(name)"},
    ),
    Place(
        "working_time_by_day", "their working time per day and job, in quarters of an hour", "reports of working time",
        ("day", "user_id", "source_day", "local_day", *_WORKED, "computed_ms", "reported_ms", "events", "slots"),
        ("source_rows", "computed_at"), "", "day",
    ),
    Place(
        "working_time_results", "the same per day, as it was computed", "the table above is made of it",
        ("user_id", "day", "by_day", "by_slot"), ("computed_at",), "", "day",
    ),
    Place(
        "working_time_days", "per day, when their last event in CVAT's editor was and in which job", "working time goes on over midnight",
        ("user_id", "day", "furthest_ms", "last_event", "client_events"), ("touched_at",), "", "day",
        instead={"last_event": "finalizeAggregation(last_event)"},
    ),
    Place(
        "event_counts_settled", "how many events of which kind per hour and job, how long they took, and with which browser CVAT was opened", "reports over long times",
        ("hour", "scope", "source", "user_id", *_WORKED, "events", "duration_ms", "durations", "quarters", "browser", "system"),
        ("day_rows", "counted_at"), "events_retention", "hour", _COUNTED, final="",
    ),
    Place(
        "job_changes", "which jobs they completed, or moved to another stage, and when", "completed jobs by stage",
        ("timestamp", "job_id", "change", "value", "before", "request_id", "user_id", "org_id", "project_id", "task_id"),
    ),
    Place(
        "erasures", "that they were erased, and when", "what comes late leaves them out", ("user_id", "before"), moment="before",
    ),
    Place(
        "events_stock", "the events of a former CVAT installation, as CVAT kept them", "kept by `stock convert` until it is dropped by hand",
        tuple(name for name in COLUMNS if name != "org_slug"), ("org_slug",), by_command=True, final="",
    ),
)  # fmt: skip
"""The tables of the stack's database; what others' events say of a person stands in `events`, too (OF_OTHERS)."""

WITHOUT_PEOPLE = {
    "backups": ("name", "target", "started", "finished", "state", "bytes", "verified", "message", "noted"),
    "deployments": ("at", "version", "revision", "host", "changes"),
    "erasure_runs": ("id", "begun_at", "ended_at", "operator", "keep_sums", "counts"),
    "event_days": ("day", "inserted", "touched_at", "counted_at", "received_at"),
    "pipeline_metrics": ("time", "host", "name", "component", "tags", "value"),
    "schema_migrations": ("name", "kind", "checksum", "applied_at"),
    "working_time_settings": (
        "threshold_ms", "duration_scopes", "retention_seconds", "settle_seconds", "time_zone", "changed_at",
    ),
    "replay_progress": ("replay", "file", "lines", "at"),
    "imported_days": ("source", "day", "rows", "at"),
}  # fmt: skip
"""The tables that say nothing of anybody, with their columns; the last two are made by commands."""


def unlisted(tables: Mapping[str, Sequence[str]]) -> list[str]:
    """Return which of these tables (with their columns), and which of their columns, no entry here speaks of."""
    listed = {each.table: {*each.about, *each.rest} for each in PLACES}
    listed |= {table: set(columns) for table, columns in WITHOUT_PEOPLE.items()}
    return [
        *(table for table in sorted(tables) if table not in listed),
        *(f"{table}.{column}" for table in sorted(tables) if table in listed for column in tables[table] if column not in listed[table]),
    ]  # fmt: skip


def tables_query(database: str) -> str:
    """Return the query for what holds rows in the database: a row for each column, table first."""
    return (
        f"SELECT table, name FROM system.columns WHERE database = '{database}' AND table IN "
        f"(SELECT name FROM system.tables WHERE database = '{database}' AND engine NOT IN ('View', 'MaterializedView', 'Null')) ORDER BY table, position"
    )

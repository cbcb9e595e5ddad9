"""What of the pipeline is wrong, in words: `status` says it among what it shows, `doctor` among all that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cvat_analytics.base.codes import Code
from cvat_analytics.checks.cvat_refusals import CvatRefusal
from cvat_analytics.checks.finding import Finding
from cvat_analytics.checks.flow import Flow, Refusal, Sources
from cvat_analytics.checks.two_cvats import TwoCvats
from cvat_analytics.connect.volumes import RECIPE


def future(flow: Flow) -> list[Finding]:
    """Return whether events come from the future."""
    if not flow.from_future:
        return []
    return [
        Finding(
            "soon",
            "future",
            f"{flow.from_future:,} events of the last day were dated later than they arrived, by up to {length(flow.future_seconds)}: "
            "a clock is wrong",
            "docs/how-to/set-clocks-right.md",
        )
    ]


def sources(found: Sources) -> list[Finding]:
    """Return which sources ought to be heard and are not."""
    if found.client_silent:
        since = f"since {found.last['client']:%Y-%m-%d %H:%M} UTC" if "client" in found.last else "at all"
        return [
            Finding(
                "now",
                "sources",
                f"NO CLIENT EVENTS {since}, although people annotate: their working time is not counted",
                "docs/how-to/no-client-events.md",
            )
        ]
    if found.people_without:
        return [
            Finding(
                "know",
                "sources",
                f"of {found.people:,} people who annotated in the last day, the browsers of {found.people_without:,} sent nothing: "
                "their working time is not counted",
                "docs/how-to/no-client-events.md",
                own=Code.CLIENT_SILENT,
            )
        ]
    return []


def two_cvats(found: TwoCvats | None) -> list[Finding]:
    """Return what tells that two CVATs send into the stack."""
    if found is None:
        return []
    examples = "; ".join(one_line(each) for each in found.examples)
    return [
        Finding(
            "now",
            "two-cvats",
            f"seem to send into this stack: {found.ids:,} ids mean two things by turns, last at {found.last:%Y-%m-%d %H:%M} UTC ({examples})",
            "docs/how-to/two-cvats.md",
        )
    ]


def implausible(flow: Flow) -> list[Finding]:
    """Return how many dead letters are events whose date cannot be."""
    if not flow.implausible:
        return []
    return [
        Finding(
            "soon",
            "implausible-dates",
            f"{flow.implausible:,} are events whose date cannot be, before 2018 or more than a day ahead: a clock is wrong at whoever sends them",
            "docs/how-to/implausible-dates.md",
        )
    ]


def refusal(found: Refusal) -> Finding:
    """Return which sink is refused, and what to do about it."""
    words = (
        one_line(found.words)
        or "its words are in its log, /var/log/clickhouse-server/clickhouse-server.err.log"
    )
    where = f" of {found.host}" if found.host else ""
    since = f"{found.since:%Y-%m-%d %H:%M:%S} UTC"
    if found.sink == "everything":
        return Finding(
            "now",
            "refused",
            f"everything that Vector inserts, since {since} or soon after: {words}",
            "it waits on disk; a deploy puts passwords, rights and tables right",
        )
    if "free space" in words:
        # ClickHouse's own when it has less than `disk_reserve`
        return Finding(
            "now",
            "refused",
            f"{found.sink}{where}: by ClickHouse since {since}, for want of room on its disk",
            f"everything waits on Vector's disk, then at CVAT, and goes in by itself when there is room ({RECIPE})",
        )
    return Finding(
        "now",
        "refused",
        f"{found.sink}{where}: by ClickHouse since {since}, {found.times:,} times (HTTP {found.statuses}): {words}",
        "everything behind it waits on disk. Where a deploy does not mend it:",
        ("buffer", "set-aside", found.sink),
    )


def cvat_refusal(found: CvatRefusal) -> Finding:
    """Return what CVAT's own user was refused, and what to do about it."""
    when = f"last at {found.last:%Y-%m-%d %H:%M:%S} UTC"
    if not found.columns:
        times = "once" if found.times == 1 else f"{found.times:,} times"
        return Finding(
            "soon",
            "cvat-refused",
            f"was refused what its ClickHouse user has no right to, {times}, {when}: {one_line(found.right)}",
            "a newer CVAT than this version knows, or somebody else with its password. See docs/how-to/cvat-wants-a-column.md",
        )
    names = ", ".join(f'"{name}"' for name in found.columns)
    return Finding(
        "now",
        "cvat-refused",
        f"could not start, {when}: it wants to add a column to the event table that this version does not know ({', '.join(found.columns)})",
        "events come in all the same. Install a version that knows it, or write this into the settings and deploy, then start CVAT:\n"
        f"cvat_columns = ({names},)",
    )


def other_users(names: Sequence[str]) -> list[Finding]:
    """Return who reads ClickHouse beside the users that a deploy knows."""
    if not names:
        return []
    return [
        Finding(
            "know",
            "users",
            f"of ClickHouse were made by SQL, and keep their rights whatever is deployed: {one_line(', '.join(names))}",
            "docs/how-to/a-user-of-your-own.md",
            own=Code.FOREIGN_USERS,
        )
    ]


def silent(flow: Flow) -> list[str]:
    """Return whose Vector says nothing of itself any more."""
    unknown = "what it takes and what waits there is not known."
    lines = [
        f"Vector of {one_line(host)} has not said anything of itself for {length(age(moment))}: {unknown}"
        for host, moment in flow.silent.items()
    ]
    if not flow.buffers and not flow.silent:
        when = f"for {length(age(flow.measured_at))}" if flow.measured_at else "yet"
        lines.append(f"Vector has not said anything of itself {when}: {unknown}")
    return lines


def one_line(text: str) -> str:
    """Return a text from outside as a part of a line."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def age(moment: datetime) -> float:
    """Return how many seconds ago a moment was."""
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def length(seconds: float) -> str:
    """Return a span of time as people say it."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{int(seconds)} s"

"""What `status` knows as metrics in Prometheus' text form, for a monitoring that is there already.

What is not known has no sample, and is never 0: a rule over it does not fire, one that asks whether it is there does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from cvat_analytics.checks.health import State

if TYPE_CHECKING:
    from cvat_analytics.checks.flow import Flow
    from cvat_analytics.checks.status import Report

_PREFIX = "cvat_analytics_"
_Samples = Iterable[tuple[Sequence[object], float | datetime | None]]


def text(report: Report) -> str:
    """Return a report as Prometheus reads it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Report(report))
    return generate_latest(registry).decode()


class _Report:
    """What the library's registry asks for metrics."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Yield each metric that has something to say."""
        return (metric for metric in _all(self._report) if metric.samples)


def _gauge(name: str, help_: str, labels: Sequence[str] = (), samples: _Samples = ()) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, help_, labels=labels)
    for values, number in samples:
        if number is not None:
            moment = number.timestamp() if isinstance(number, datetime) else float(number)
            family.add_metric([_text(value) for value in values], moment)
    return family


def _text(value: object) -> str:
    """Return a label's value: what drives a terminal, in which somebody may look at the metrics, is neither kept nor an escape that Prometheus knows."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(value))


def _one(name: str, help_: str, number: float | datetime | None) -> Metric:
    return _gauge(name, help_, (), [((), number)])


def _all(report: Report) -> Iterator[Metric]:
    parts = report.parts
    asked = [part for part in parts if part.state != "not asked"]
    yield _one(
        "status_timestamp_seconds",
        "When this was found out: older than your interval, it is found out no more.",
        time.time(),
    )
    yield _one(
        "fine",
        "Whether every part does its work, and ClickHouse refuses nothing (exit code 0 of status).",
        report.fine and not report.not_asked,
    )
    hosts = dict.fromkeys(part.host for part in parts)
    yield _gauge(
        "host_reached",
        "Whether a host could be asked, and has said all.",
        ["host"],
        [((host,), host not in report.not_asked) for host in hosts],
    )
    yield _gauge(
        "part_up", "Whether a part does its work (or has just been started).", ["part", "host"],
        [((part.name, part.host), part.state in ("running", "starting")) for part in asked],
    )  # fmt: skip
    yield _gauge(
        "part_state", "The state of a part: 1 for the one in which it is.", ["part", "host", "state"],
        [((part.name, part.host, state), part.state == state) for part in parts for state in get_args(State)],
    )  # fmt: skip
    yield _gauge(
        "part_info", "The version of a part.", ["part", "host", "version"],
        [((part.name, part.host, part.version), 1) for part in asked if part.version],
    )  # fmt: skip
    disks = [((each.host, each.directory), each) for each in report.volumes]
    at = ["host", "directory"]
    yield _gauge(
        "disk_free_bytes",
        "What is free where a part has its data.",
        at,
        [(key, each.free) for key, each in disks],
    )
    yield _gauge("disk_size_bytes", "How large that disk is.", at, [(key, each.size) for key, each in disks])
    yield _gauge(
        "disk_reserve_bytes",
        "The setting disk_reserve, below which ClickHouse takes nothing.",
        at,
        [(key, each.reserve) for key, each in disks],
    )
    yield _gauge(
        "clock_ahead_seconds",
        "By how much a host's clock is surely ahead of the asking machine's; negative: behind.",
        ["host"],
        [((each.host,), each.ahead) for each in report.clocks],
    )
    yield _gauge(
        "clock_synchronised",
        "Whether a host's clock is synchronised.",
        ["host"],
        [((each.host,), each.synchronised) for each in report.clocks],
    )
    yield _one(
        "not_deployed",
        "How many settings and groups the inventory has otherwise than they are deployed.",
        # of a host that was not asked nobody knows
        None if report.not_asked else len(report.not_deployed),
    )
    if report.backups and report.backups.known:
        backups = report.backups
        yield _one("backup_last_timestamp_seconds", "When the newest good backup began.", backups.started)
        yield _one(
            "backup_too_old",
            "Whether that is older than the setting backup_too_old, or there is none.",
            backups.too_old,
        )
        yield _one("backup_failed", "Whether the newest of all backups failed.", bool(backups.failed))
        yield _one("backup_proven", "Whether one was ever proven by restoring it.", bool(backups.proven))
    yield _one(
        "pipeline_known", "Whether ClickHouse could be asked for what follows.", report.flow is not None
    )
    if report.flow:
        yield from _of_flow(report.flow)


def _of_flow(flow: Flow) -> Iterator[Metric]:
    yield _one("events_recent", "Events of the last 15 minutes.", flow.recent_events)
    yield _one("last_event_timestamp_seconds", "When the last event arrived.", flow.last_event)
    yield _gauge(
        "source_last_event_timestamp_seconds",
        "When the last event of a source arrived.",
        ["source"],
        [((name,), last) for name, last in flow.sources.last.items()],
    )
    if flow.delay_seconds:
        yield _gauge(
            "delay_seconds", "From CVAT's server to ClickHouse, of live events of the last 15 minutes.", ["quantile"],
            list(zip((("0.5",), ("0.95",)), flow.delay_seconds, strict=True)),
        )  # fmt: skip
    yield _one(
        "events_from_future",
        "Events of the last day that are dated later than they arrived.",
        flow.from_future,
    )
    yield _one(
        "client_silent",
        "Whether people annotate and nothing of any browser arrives.",
        flow.sources.client_silent,
    )
    yield _one(
        "people_without_client_events",
        "People who annotated in the last day, and whose browsers sent nothing.",
        flow.sources.people_without,
    )
    yield _one("dead_letters", "Dead letters of the last day.", flow.dead_letters)
    yield _one("implausible_dates", "How many of these have a date that cannot be.", flow.implausible)
    ports = [((each.port,), each) for each in flow.ports]
    yield _gauge(
        "port_requests_recent",
        "Requests at a port in the last 15 minutes.",
        ["port"],
        [(key, each.recent_requests) for key, each in ports],
    )
    yield _gauge(
        "port_last_request_timestamp_seconds",
        "When the last request came to a port.",
        ["port"],
        [(key, each.last) for key, each in ports],
    )
    buffers = [((each.name, each.host), each) for each in flow.buffers]
    at = ["buffer", "host"]
    yield _gauge(
        "buffer_events",
        "Events that wait on Vector's disk.",
        at,
        [(key, each.events) for key, each in buffers],
    )
    yield _gauge("buffer_bytes", "What they take.", at, [(key, each.size) for key, each in buffers])
    yield _gauge(
        "buffer_capacity_bytes",
        "What there is for them: beyond, CVAT is refused.",
        at,
        [(key, each.capacity) for key, each in buffers],
    )
    yield _one("journal_bytes", "What the journals take.", flow.journal_bytes)
    yield _one("refused_sinks", "Sinks whose batch ClickHouse refuses again and again.", len(flow.refusals))
    yield _gauge(
        "vector_silent_since_timestamp_seconds",
        "When a Vector that is silent now last said anything of itself.",
        ["host"],
        [((host,), last) for host, last in flow.silent.items()],
    )
    yield _one(
        "two_cvats",
        "Ids that mean two things by turns: two CVATs send into this stack.",
        flow.two_cvats.ids if flow.two_cvats else 0,
    )
    yield _one(
        "cvat_refused",
        "What ClickHouse has refused CVAT's own user in two days.",
        sum(each.times for each in flow.cvat_refusals),
    )
    yield _one("users_made_by_sql", "Users of ClickHouse that no deploy knows.", len(flow.other_users))

"""What `status` knows as metrics: read by Prometheus' own parser; and the example rules, which fire when they should and not otherwise."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import exposition
from cvat_analytics.checks.backups import Backups
from cvat_analytics.checks.flow import Buffer, Port, Refusal, Sources
from cvat_analytics.checks.status import Part, Report
from cvat_analytics.checks.two_cvats import TwoCvats
from cvat_analytics.config.deployed import Difference
from cvat_analytics.connect.clocks import Clock
from cvat_analytics.connect.volumes import Volume
from cvat_analytics.credentials import secrets
from scripts.cli import main
from tests.checks.test_doctor import flow

NOW = datetime.now(UTC)
GIB = 2**30
RULES = ROOT / "docs" / "reference" / "prometheus-rules.yml"
WELL = Report(
    [
        Part("clickhouse", "one", "running", "26.8.19.9", ""),
        Part("vector", 'a "host"\\', "starting", "0.58.0-1", ""),
    ],
    flow(delay_seconds=(1.5, 3.0), silent={}),
    clocks=[Clock("one", -0.1, 0.1, True)],
    volumes=[Volume("one", ("clickhouse",), "/var/lib/clickhouse", 50 * GIB, 100 * GIB, GIB, GIB)],
    backups=Backups("/mnt/backup", last="a", started=NOW, proven="a"),
)

Series = Mapping[frozenset[tuple[str, str]], float]


def read(report: Report) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return the samples of a report by name and labels, as Prometheus understands them."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(exposition.text(report)):
        for sample in family.samples:
            found.setdefault(sample.name.removeprefix("cvat_analytics_"), {})[
                frozenset(sample.labels.items())
            ] = sample.value
    return found


def one(samples: Mapping[str, Series], name: str, **labels: str) -> float | None:
    return samples.get(name, {}).get(frozenset(labels.items()))


def test_what_is_known_is_there_and_what_is_not_known_is_not_0() -> None:
    samples = read(WELL)
    assert one(samples, "fine") == 1
    assert one(samples, "part_up", part="clickhouse", host="one") == 1
    assert one(samples, "part_state", part="vector", host='a "host"\\', state="starting") == 1
    assert one(samples, "part_info", part="clickhouse", host="one", version="26.8.19.9") == 1
    assert one(samples, "delay_seconds", quantile="0.95") == 3
    assert one(samples, "backup_last_timestamp_seconds") == pytest.approx(NOW.timestamp(), abs=1)
    assert one(samples, "status_timestamp_seconds") == pytest.approx(datetime.now(UTC).timestamp(), abs=600)
    unknown = replace(
        WELL, clocks=[Clock("one", -0.1, 0.1, None)], backups=replace(WELL.backups or Backups(""), known=False),
        flow=flow(buffers=[Buffer("events", "one", None, None, GIB)], journal_bytes=None, ports=[Port(8282, False, None, None)], last_event=None),
    )  # fmt: skip
    names = read(unknown)
    assert not {
        "clock_synchronised",
        "backup_too_old",
        "buffer_events",
        "buffer_bytes",
        "journal_bytes",
        "port_requests_recent",
        "last_event_timestamp_seconds",
    } & set(names)
    away = read(
        replace(
            WELL, flow=None, not_asked={"one": "away"}, parts=[Part("clickhouse", "one", "not asked", "", "")]
        )
    )
    assert (one(away, "host_reached", host="one"), one(away, "pipeline_known"), one(away, "fine")) == (
        0,
        0,
        0,
    )
    assert not {"part_up", "events_recent", "not_deployed"} & set(away)
    assert one(samples, "not_deployed") == 0


def test_nobody_is_named() -> None:
    found = flow(
        two_cvats=TwoCvats(2, ["user 1 is wquackenbush and ann"], NOW), other_users=["wquackenbush (local)"]
    )
    assert "wquackenbush" not in exposition.text(
        replace(WELL, flow=found, not_deployed=[Difference("a", ("one",), "wquackenbush", "")])
    )


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def selectors(node: Any) -> Iterator[str]:
    """Yield the names of the metrics in an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield str(node.name)
    for child in ("lhs", "rhs", "expr"):
        if hasattr(node, child):
            yield from selectors(getattr(node, child))
    for argument in getattr(node, "args", ()):
        yield from selectors(argument)


_OPERATORS = {"==": operator.eq, ">": operator.gt, "<": operator.lt}
_ARITHMETIC = {"-": operator.sub, "*": operator.mul, "/": operator.truediv}


def value(node: Any, samples: Mapping[str, Series]) -> Any:
    """Return what an expression is worth, as far as the example rules go: a number, or samples by their labels."""
    if isinstance(node, promql_parser.NumberLiteral):
        return node.val
    if isinstance(node, promql_parser.VectorSelector):
        return dict(samples.get(str(node.name).removeprefix("cvat_analytics_"), {}))
    if isinstance(node, promql_parser.UnaryExpr):
        return -value(node.expr, samples)
    if isinstance(node, promql_parser.Call):
        if node.func.name == "time":
            return datetime.now(UTC).timestamp()
        assert node.func.name == "absent"
        return {} if value(node.args[0], samples) else {frozenset(): 1.0}
    assert isinstance(node, promql_parser.BinaryExpr)
    left, right, sign = value(node.lhs, samples), value(node.rhs, samples), str(node.op)
    if sign == "or":
        return right | left
    keys = left if isinstance(left, dict) else right if isinstance(right, dict) else None

    def at(side: Any, key: Any) -> Any:
        return side.get(key) if isinstance(side, dict) else side

    if keys is None:
        return _ARITHMETIC[sign](left, right)
    pairs = {
        key: (at(left, key), at(right, key))
        for key in keys
        if at(left, key) is not None and at(right, key) is not None
    }
    if sign in _OPERATORS:
        return {key: pair[0] for key, pair in pairs.items() if _OPERATORS[sign](*pair)}
    return {key: _ARITHMETIC[sign](*pair) for key, pair in pairs.items()}


def firing(samples: Mapping[str, Series]) -> list[str]:
    return [
        rule["alert"].removeprefix("CvatAnalytics")
        for rule in rules()
        if value(promql_parser.parse(rule["expr"]), samples)
    ]


def test_example_rules_are_rules() -> None:
    every = read(replace(WELL, flow=flow(silent={"one": NOW})))
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "runbook"}
        assert (ROOT / rule["annotations"]["runbook"]).is_file()
        names = set(selectors(promql_parser.parse(rule["expr"])))
        assert names
        assert {name.removeprefix("cvat_analytics_") for name in names} <= set(every), (
            "there are such metrics"
        )


@pytest.mark.parametrize(
    ("report", "alert"),
    [
        (replace(WELL, not_asked={"one": "away"}), "HostAway"),
        (replace(WELL, parts=[Part("vector", "one", "failing", "", "")]), "PartDown"),
        (replace(WELL, flow=None), "PipelineUnknown"),
        (
            replace(WELL, flow=flow(refusals=[Refusal("events", "one", NOW, 1, 0, "500", "", None)])),
            "Refused",
        ),
        (replace(WELL, flow=flow(buffers=[Buffer("events", "one", 5, 60, 100)])), "BufferFills"),
        (replace(WELL, flow=flow(silent={"one": NOW})), "VectorSilent"),
        (
            replace(WELL, volumes=[Volume("one", ("clickhouse",), "/x", GIB, 100 * GIB, GIB, GIB)]),
            "DiskFills",
        ),
        (replace(WELL, flow=flow(sources=Sources({}, True, 3, 3))), "NoClientEvents"),
        (replace(WELL, flow=flow(two_cvats=TwoCvats(2, [], NOW))), "TwoCvats"),
        (replace(WELL, flow=flow(dead_letters=101)), "DeadLetters"),
        (replace(WELL, clocks=[Clock("one", -9, -8, True)]), "Clock"),
        (replace(WELL, clocks=[Clock("one", 0, 0, False)]), "Clock"),
        (replace(WELL, backups=Backups("/mnt/backup", too_old=True)), "Backup"),
        (replace(WELL, backups=replace(WELL.backups or Backups(""), failed="b")), "BackupFailed"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_example_rule_fires_for_what_it_is_there(report: Report, alert: str) -> None:
    assert firing(read(WELL)) == []
    assert firing(read(report)) == [alert]


def test_that_nobody_looks_any_more_is_a_rule_too() -> None:
    old = read(WELL)
    old["status_timestamp_seconds"] = {frozenset(): (NOW - timedelta(hours=1)).timestamp()}
    assert firing(old) == ["Unknown"]
    assert firing({}) == ["Unknown"]


def test_each_metric_is_documented() -> None:
    full = replace(WELL, flow=flow(delay_seconds=(1, 2), silent={"one": NOW}))
    page = (ROOT / "docs" / "how-to" / "watch-with-prometheus.md").read_text()
    assert [name for name in read(full) if f"`{name}`" not in page] == []


def test_written_into_a_file_in_one_step_for_a_collector(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    secrets.init(tmp_path / "secrets.json")
    file = tmp_path / "collector" / "cvat.prom"
    file.parent.mkdir()
    result = CliRunner().invoke(main, ["status", "--dir", str(tmp_path), "--prometheus", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert file.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in file.parent.iterdir()] == ["cvat.prom"]
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    assert (samples["cvat_analytics_fine"], samples["cvat_analytics_pipeline_known"]) == (0, 0)
    printed = CliRunner().invoke(main, ["status", "--dir", str(tmp_path), "--prometheus", "-"])
    assert printed.exit_code == 1
    assert "\ncvat_analytics_fine 0.0\n" in printed.stdout
    missing = tmp_path / "colector" / "cvat.prom"
    refused = CliRunner().invoke(
        main, ["status", "--dir", str(tmp_path / "nowhere"), "--prometheus", str(missing)]
    )
    assert (refused.exit_code, missing.parent.exists()) == (2, False)
    assert f"{missing}: there is no directory {missing.parent}" in refused.output, "before anything is asked"
    both = CliRunner().invoke(main, ["status", "--dir", str(tmp_path), "--prometheus", "-", "--json"])
    assert both.exit_code == 2

"""People and machines are told the same codes of a stack, and none where nothing is wrong."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from cvat_analytics.checks.backups import Backups
from cvat_analytics.checks.cvat_refusals import CvatRefusal
from cvat_analytics.checks.flow import Buffer, Port, Refusal, Sources
from cvat_analytics.checks.status import Part, Report
from cvat_analytics.checks.two_cvats import TwoCvats
from cvat_analytics.config.deployed import Difference
from cvat_analytics.connect.clocks import Clock
from cvat_analytics.connect.volumes import Volume
from cvat_analytics.embedded import status as embedded
from scripts.cli import main
from tests.checks.test_doctor import flow

NOW = datetime.now(UTC)
MIB = 2**20
UNKNOWN = "what it did is not known: ClickHouse was not asked"
WORTH_KNOWING = Report(
    [
        Part("clickhouse", "one", "starting", "26.8", "", "has just been started: it does not answer yet"),
        Part("vector", "one", "running", "0.58", "", UNKNOWN),
        Part("grafana", "one", "running", "13.2.3", "", "another note"),
    ],
    flow(ports=[Port(9999, True, 0, None)], buffers=[Buffer("events", "one", 9, 40, 100)]),
    backups=Backups("/mnt/backup", last="a", started=NOW),
)
WRONG = Report(
    [
        Part("clickhouse", "one", "running", "26.8", "", "its certificate ends on 2026-12-01 (in 1 days): the next deploy renews one"),
        Part("vector", "one", "failing", "0.58", "", "nothing of it has come yet: see `journalctl -u vector`\nClickHouse refuses it, and all events wait"),
        Part("grafana", "one", "stopped", "13.2.3", ""),
        Part("gateway", "two", "not asked", "", ""),
    ],
    flow(
        refusals=[Refusal("events", "one", NOW, 7, 0, "500", "Constraint", None)], two_cvats=TwoCvats(3, ["user 5 is a and b"], NOW),
        buffers=[Buffer("events", "one", 9, 99, 100)], from_future=3, future_seconds=60, implausible=2, other_users=["ann (local)"],
        silent={"three": NOW - timedelta(hours=1)}, cvat_refusals=[CvatRefusal("SELECT", (), NOW, 3)],
        sources=Sources({"server": NOW}, False, 5, 2),
    ),
    not_asked={"two": "host two: refuses the login [CVA3002]"},
    clocks=[Clock("one", 5, 6, None)],
    not_deployed=[Difference("setting 'vector_port'", ("one",), "8299", "8282")],
    left={"three": "host three: is in the inventory no more: see there"},
    volumes=[Volume("one", ("clickhouse",), "/var/lib/clickhouse", 10, 1000 * MIB, 64 * MIB, 32 * MIB)],
    backups=Backups("/mnt/backup", failed="a", why="it is full", problems=["its timer is off"]),
)  # fmt: skip
STORE_AWAY = Report(
    [Part("clickhouse", "store", "not asked", "", "")],
    None,
    ["the pipeline cannot be looked at: host store has ClickHouse"],
    {"store": "host store: its sudo wants a password [CVA3007]"},
)
STORE_DOWN = Report(
    [Part("clickhouse", "one", "not answering", "", "")], None, ["the pipeline cannot be looked at"]
)


@pytest.mark.parametrize(
    ("report", "codes"),
    [
        (WORTH_KNOWING, 0),
        (WRONG, 19),
        (STORE_AWAY, 1),
        (STORE_DOWN, 2),
        (Report([], flow(), backups=Backups("")), 0),
    ],
    ids=["worth knowing", "wrong", "store away", "store down", "no backups"],
)
def test_as_in_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report, codes: int) -> None:
    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    monkeypatch.setattr(embedded, "report", lambda running: report)
    lines = CliRunner().invoke(main, ["status", "--dir", str(tmp_path)]).output
    found = json.loads(CliRunner().invoke(main, ["status", "--dir", str(tmp_path), "--json"]).stdout)
    assert found["codes"] == sorted(set(re.findall(r"\[(CVA\d{4})\]", lines))), lines
    assert len(found["codes"]) == codes, lines

"""`status` says what runs, what arrives where, what waits and what was refused; machines read the same as JSON."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableHostError
from cvat_analytics.checks import flow, status
from cvat_analytics.config import inventory, topology
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.remote import ReachedHost
from cvat_analytics.connect.shell import Shell
from cvat_analytics.credentials import secrets
from cvat_analytics.embedded import stack
from scripts.cli import main
from scripts.status import _delay, _port, _refusal, _sources
from scripts.target import Target
from tests.clickhouse import Store, way_to
from tests.waiting import until


def measured(
    access: Access, name: str, component: str, *values: float, since: timedelta, host: str = "test"
) -> None:
    """Store readings of a metric, a minute apart, the last one `since` ago."""
    last = datetime.now(UTC) - since
    rows = [
        (f"{last - timedelta(minutes=len(values) - 1 - index):%Y-%m-%d %H:%M:%S}", value)
        for index, value in enumerate(values)
    ]
    text = ", ".join(f"('{time}', '{host}', '{name}', '{component}', {value})" for time, value in rows)
    access.client().command(
        f"INSERT INTO cvat.pipeline_metrics (time, host, name, component, value) VALUES {text}"
    )


def reached(access: Access, answer: str) -> ReachedHost:
    """Return a host whose shell gives this answer, and to whose parts `access` is the way."""
    return ReachedHost(cast(Shell, SimpleNamespace(run=lambda command, patience=None: answer)), access)


def with_settings(access: Access, **values: Any) -> Access:
    settings = access.vector.settings.model_copy(update=values)
    return replace(access, vector=replace(access.vector, settings=settings))


def known_ports(access: Access) -> Sequence[flow.Port]:
    """Return the ports once it is known what came there: it is not before Vector's first word, and while it is silent."""
    return until(
        lambda: flow.of(access).ports,
        "Vector says what has come",
        lambda ports: ports[0].recent_requests is not None,
    )


def age(port: flow.Port) -> timedelta:
    assert port.last
    return datetime.now(UTC) - port.last


def test_the_old_port_still_receives_or_does_not(access: Access) -> None:
    measured(
        access,
        "component_received_events_total",
        "cvat_9001",
        100,
        102,
        105,
        3,
        7,
        since=timedelta(minutes=1),
    )
    measured(access, "component_received_events_total", "cvat_9002", 0, 5, 5, since=timedelta(hours=3))
    moved = with_settings(access, vector_extra_ports=(9001, 9002, 9003))
    ports = {port.port: port for port in known_ports(moved)}
    assert [(port.port, port.extra) for port in ports.values()][1:] == [
        (9001, True),
        (9002, True),
        (9003, True),
    ]
    assert ports[9001].recent_requests == 112, "105, then after a restart of Vector 7 more"
    assert age(ports[9001]) < timedelta(minutes=5)
    assert (ports[9002].recent_requests, ports[9003].recent_requests, ports[9003].last) == (0, 0, None)
    assert timedelta(hours=3) < age(ports[9002]) < timedelta(hours=3, minutes=5)


def test_after_a_move_each_port_has_its_own_requests(access: Access) -> None:
    measured(
        access,
        "component_received_events_total",
        "cvat_9182",
        0,
        41,
        since=timedelta(minutes=1),
        host="moved",
    )
    before = with_settings(access, vector_port=9182)
    after = with_settings(access, vector_port=9183, vector_extra_ports=(9182,))
    (was,) = known_ports(before)
    new, old = known_ports(after)
    assert (was.port, was.recent_requests) == (9182, 41)
    assert (new.port, new.extra, new.recent_requests, new.last) == (9183, False, 0, None)
    assert (old.port, old.extra, old.recent_requests) == (9182, True, 41)
    assert age(old) < timedelta(minutes=10)


def test_what_an_earlier_version_counted_under_one_name_for_all_belongs_to_no_port(access: Access) -> None:
    measured(
        access, "component_received_events_total", "cvat", 0, 7, since=timedelta(hours=2), host="upgraded"
    )
    (port,) = known_ports(with_settings(access, vector_port=9184))
    assert (port.recent_requests, port.last) == (0, None)
    assert port.counted_since
    assert timedelta(hours=2) <= datetime.now(UTC) - port.counted_since < timedelta(hours=2, minutes=5)
    assert f"none since {port.counted_since:%Y-%m-%d %H:%M} UTC, when counting by port began" in _port(port)


def test_what_waits_and_what_was_refused(access: Access) -> None:
    for name, value in (
        ("buffer_max_size_bytes", 1000),
        ("buffer_size_bytes", 250),
        ("buffer_size_events", 7),
    ):
        measured(access, name, "events", 1, value, since=timedelta(seconds=5), host="elsewhere")
    measured(access, "journal_size_bytes", "journal", 4096, since=timedelta(seconds=5), host="elsewhere")
    access.client().command(
        "INSERT INTO cvat.events_dead_letter (received_at, reason, message, original) SELECT now64(3) - 60, 'not JSON', '', toString(generateUUIDv4())"
    )
    found = until(
        lambda: flow.of(access), "no Vector is silent", lambda found: found.journal_bytes is not None
    )
    assert flow.Buffer("events", "elsewhere", 7, 250, 1000) in found.buffers
    assert found.dead_letters >= 1
    assert found.journal_bytes is not None
    assert found.journal_bytes >= 4096


def test_people_and_machines_are_told(running: stack.Stack, access: Access) -> None:
    access.client().command(
        "INSERT INTO cvat.events (scope, source, timestamp, user_id) SELECT 'save:job', 'client', now64(3) - 3, 990001"
    )
    result = CliRunner().invoke(main, ["status", "--dir", str(running.directory), "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {found[part] for part in stack.PARTS} <= {"running", "starting"}
    assert {part["name"]: part["log"] for part in found["parts"]} == {
        name: str(running.processes.log(name)) for name in stack.PARTS
    }
    assert found["fine"] is True
    assert found["pipeline"]["recent_events"] >= 1
    assert found["pipeline"]["ports"][0]["port"] == access.vector.settings.vector_port
    text = CliRunner().invoke(main, ["status", "--dir", str(running.directory)]).stdout
    assert f"http://127.0.0.1:{access.vector.settings.vector_port}" in text
    assert "in the last 15 minutes, the last one " in text


def test_an_events_api_that_runs_and_does_not_answer_is_told(
    running: stack.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "_PATIENCE", 2.0)
    pid = running.processes.pid("events_api")
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        result = CliRunner().invoke(main, ["status", "--dir", str(running.directory)])
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("events_api")]
    assert "not answering" in line
    assert line.endswith("events_api.log) [CVA9002]")


def test_a_part_that_is_slow_runs(running: stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has much else to do; starting one waits for shorter answers, and asks again."""
    monkeypatch.setattr(stack, "_PATIENCE", 120.0)
    pid = running.processes.pid("events_api")
    assert pid
    os.kill(pid, signal.SIGSTOP)
    later = threading.Timer(2.5, os.kill, (pid, signal.SIGCONT))
    later.start()
    try:
        assert stack.status(running.directory)["events_api"] == "running"
    finally:
        later.join()


def test_what_is_wrong_with_a_part_stands_below_it(
    running: stack.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "lets nobody in: CVAT at http://10.0.0.9 does not answer"
    part = status.Part("gateway", "front", "failing", "1.22.1", "https://10.0.0.3:443", why)
    monkeypatch.setattr("cvat_analytics.embedded.status.report", lambda running: status.Report([part], None))
    result = CliRunner().invoke(main, ["status", "--dir", str(running.directory)])
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.split()[:2] == ["gateway", "failing"]
    assert second.strip() == f"{why} [CVA7306]"


def test_a_stack_that_an_older_checkout_has_started_can_be_looked_at(running: stack.Stack) -> None:
    file = running.directory / "secrets.json"
    values = json.loads(file.read_text())
    secrets.replace(file, {}, {"vector_ingest"})
    assert CliRunner().invoke(main, ["status", "--dir", str(running.directory)]).exit_code == 0
    made = json.loads(file.read_text())
    assert made | {"vector_ingest": ""} == values | {"vector_ingest": ""}
    assert len(made["vector_ingest"]) == len(values["vector_ingest"])


def test_only_events_that_came_live_tell_of_the_delay(shared_engine: Store) -> None:
    with shared_engine.another() as store:
        access = way_to(store.context)
        client = access.client()
        insert = f"INSERT INTO {store.database}.events (scope, source, timestamp, user_id) SELECT 'create:task', '{{}}', {{}}, number + 880000 FROM numbers(5000)"
        # an import, a client whose clock is in the future, a browser that waits: none of it says how long the pipeline takes
        client.command(insert.format("server", "now64(3) - 6891"))
        client.command(insert.format("server", "now64(3) + 144633599"))
        client.command(insert.format("client", "now64(3) - 80"))
        client.command(insert.format("server", "now64(3) - 2").replace("5000", "50"))
        found = flow.of(access)
        assert found.delay_seconds
        assert found.delay_seconds[0] < 10
        assert (found.not_live, found.recent_events) == (10_000, 15_050)
        assert "10,000 of other times" in _delay(found)


def test_what_nobody_has_counted_yet_is_not_0() -> None:
    port = flow.Port(8282, False, None, None)
    assert "not known" in _port(port)
    assert "0 requests" not in _port(port)


def test_whose_browsers_are_not_heard_is_said() -> None:
    now = datetime.now(UTC)
    last = {"server": now - timedelta(seconds=3)}
    assert _sources(flow.Sources(last, False, 5, 0)) == [
        "sources     client nothing in 30 days, server 3 s ago"
    ]
    _, silent = _sources(flow.Sources(last, True, 5, 5))
    assert "NO CLIENT EVENTS at all" in silent
    _, silent = _sources(flow.Sources(last | {"client": datetime(2026, 11, 1, 8, tzinfo=UTC)}, True, 5, 5))
    assert "NO CLIENT EVENTS since 2026-11-01 08:00 UTC" in silent
    _, some = _sources(flow.Sources(last, False, 5, 2))
    assert "of 5 people who annotated in the last day, the browsers of 2 sent nothing" in some


def test_a_refused_sink_is_said_with_the_command_that_helps() -> None:
    since = datetime(2026, 11, 1, 8, tzinfo=UTC)
    refusal = flow.Refusal("events", "one", since, 1234, 0, "500", "No space", None)
    first, *_, last = _refusal(refusal, Target(inventory=Path("hosts.py")))
    assert (
        "events of one: by ClickHouse since 2026-11-01 08:00:00 UTC, 1,234 times (HTTP 500): No space"
        in first
    )
    assert last.strip() == "cvat-analytics buffer set-aside events --inventory hosts.py"
    everything = _refusal(replace(refusal, sink="everything", host=""), Target())
    assert "everything that Vector inserts" in everything[0]


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (flow.Port(8282, True, 3, datetime.now(UTC)), "the old port still receives"),
        (flow.Port(8282, True, 0, None), "none in 30 days: take it out of 'vector_extra_ports'"),
        (flow.Port(8282, False, 0, datetime.now(UTC) - timedelta(hours=5)), "0 requests in the last 15 minutes, the last one 5 h ago"),
    ],
)  # fmt: skip
def test_a_port_in_words(port: flow.Port, words: str) -> None:
    assert words in _port(port)


def test_the_gateway_is_shown_where_people_open_it(access: Access, tmp_path: Path) -> None:
    link = "https://analytics.example.org/analytics/"
    hosts = dict.fromkeys(("clickhouse", "vector", "grafana", "events_api", "gateway"), ("one",))
    values = {"one": {"grafana_root_url": link, "gateway_listen_address": "0.0.0.0"}}
    described = inventory.Stack(topology.build(hosts, values, where="test"), tmp_path / "secrets.json", [])
    host = reached(access, "gateway inactive 1.22.1\n")
    shown = {part.name: part.address for part in status.of_hosts(described, access, {"one": host}).parts}
    assert shown["gateway"] == link


def test_a_deployed_stack_is_asked_on_its_hosts(
    access: Access, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hosts = {"clickhouse": ("store",), "vector": ("in1", "in2"), "grafana": ("store",)}
    values = {
        "store": {"address": "10.0.0.5"},
        "in1": {"address": "10.0.0.6"},
        "in2": {"address": "10.0.0.7"},
    }
    described = inventory.Stack(topology.build(hosts, values, where="test"), tmp_path / "secrets.json", [])
    answers = {
        "store": "clickhouse active 26.8.19.9\ngrafana inactive 13.2.3\n",
        "in1": "vector active 0.58.0-1\n",
        "in2": "vector failed 0.58.0-1\n",
    }
    found = {host: reached(access, answer) for host, answer in answers.items()}
    known_ports(access)  # before it has spoken, Vector is starting
    report = status.of_hosts(described, access, found)
    assert report.states == {"clickhouse": "running", "vector": "stopped", "grafana": "stopped"}
    assert not report.fine
    assert status.Part("vector", "in1", "running", "0.58.0-1", "http://127.0.0.1:8282") in report.parts
    (grafana,) = [part for part in report.parts if part.name == "grafana"]
    assert grafana.problem == "see `journalctl -u grafana-server`; a deploy starts it"
    values["in1"]["vector_tls_certificate"] = values["in1"]["vector_tls_key"] = __file__
    tls = replace(described, topology=topology.build(hosts, values, where="test"))
    addresses = {part.host: part.address for part in status.of_hosts(tls, access, found).parts}
    assert (addresses["in1"], addresses["in2"]) == ("https://127.0.0.1:8282", "http://127.0.0.1:8282")
    away = replace(access, clickhouse=replace(access.clickhouse, port=1))
    report = status.of_hosts(described, away, found | {"store": reached(away, answers["store"])})
    assert report.states["clickhouse"] == "not answering"
    assert "see `journalctl -u clickhouse-server`" in report.parts[0].problem
    assert report.flow is None
    assert (
        "the pipeline cannot be looked at: ClickHouse at 127.0.0.1:1 cannot be reached" in report.problems[0]
    )


def test_each_host_of_a_part_is_asked(access: Access, tmp_path: Path) -> None:
    hosts = {"clickhouse": ("store",), "vector": ("in1", "in2", "in3"), "grafana": ("store",)}
    values = {
        name: {"address": f"10.0.0.{last}"} for last, name in enumerate(("store", "in1", "in2", "in3"), 5)
    }
    described = inventory.Stack(topology.build(hosts, values, where="test"), tmp_path / "secrets.json", [])
    deaf = replace(access, vector=replace(access.vector, port=1))
    vector = "vector active 0.58.0-1\n"
    found = {
        "store": reached(access, "clickhouse active 26.8.19.9\n"),
        "in1": reached(access, vector),
        "in2": reached(deaf, vector),
        "in3": reached(access, "vector failed 0.58.0-1\n"),
    }
    report = status.of_hosts(described, access, found)
    states = {part.host: part.state for part in report.parts if part.name == "vector"}
    assert states == {"in1": "running", "in2": "not answering", "in3": "stopped"}
    assert report.states["vector"] == "stopped", "the worst"
    assert [part.host for part in report.parts] == ["store", "store", "in1", "in2", "in3"]
    assert "see `journalctl -u vector`" in report.parts[3].problem


def test_a_connection_that_is_lost_is_no_state_of_a_part(access: Access, tmp_path: Path) -> None:
    def lost() -> None:
        raise UnreachableHostError(Code.CONNECTION_LOST, "host one: the SSH connection was lost")

    hosts = dict.fromkeys(("clickhouse", "vector", "grafana"), ("one",))
    described = inventory.Stack(topology.build(hosts, {}, where="test"), tmp_path / "secrets.json", [])
    away = replace(access, vector=replace(access.vector, port=1))
    host = replace(reached(away, "vector active 0.58.0-1\nclickhouse active 1\n"), ensure_connected=lost)
    report = status.of_hosts(described, away, {"one": host})
    assert set(report.states.values()) == {"not asked"}
    assert report.not_asked == {"one": "host one: the SSH connection was lost [CVA3004]"}

"""What the doctor says of a host and of a store: each fault once, with what to do, and nothing of what is well."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from cvat_analytics.base.project import ROOT
from cvat_analytics.checks.backups import Backups
from cvat_analytics.checks.doctor import examination, known_faults, machine, of_machine, of_status, of_store
from cvat_analytics.checks.doctor.machine import Listener, Machine, Route, State, Timer, UnitFile
from cvat_analytics.checks.finding import Finding, by_weight
from cvat_analytics.checks.flow import Buffer, Flow, Port, Refusal, Sources
from cvat_analytics.checks.status import Part, Report
from cvat_analytics.config import topology
from cvat_analytics.config.settings import Settings
from cvat_analytics.connect.clocks import Clock
from cvat_analytics.connect.volumes import Volume
from cvat_analytics.credentials.certificates import Authority
from tests.clickhouse import Store, way_to

NOW = 1_796_000_000.0
GIB = 2**30
PARTS = ("clickhouse", "vector", "grafana")
WELL = Machine(
    now=NOW,
    memory=8 * GIB,
    listeners=[
        Listener("127.0.0.1", 8123, "clickhouse-serv"),
        Listener("[::ffff:127.0.0.1]", 3000, "grafana"),
        Listener("0.0.0.0", 8282, "vector"),
        Listener("[::1]", 9000, "clickhouse-serv"),
        Listener("0.0.0.0", 22, "sshd"),
        Listener("*", 443, "nginx"),
    ],
    timers=[Timer("cvat-analytics-journal.timer", "active", "enabled", NOW - 60, 0, "success")],
    packages={
        **dict.fromkeys(("clickhouse-server", "clickhouse-client", "clickhouse-common-static"), Settings().clickhouse_version),
        "vector": Settings().vector_version,
        "grafana": Settings().grafana_version,
    },
    plugin=Settings().grafana_plugin_version,
    units={"vector.service": UnitFile("enabled", False, ["/etc/systemd/system/vector.service.d/cvat-analytics.conf"], False)},
    files=[State("/etc/vector/vector.toml", "a 644 root root", "a 644 root root")],
    routes=[Route("ClickHouse", "10.0.0.5", 8123, "ok")],
)  # fmt: skip


def said(found: Machine, **settings: Any) -> list[str]:
    """Return what is said of a host: weight, check, why, what to do."""
    outside = {"vector": ("0.0.0.0",)}
    findings = by_weight(of_machine.findings("one", found, PARTS, Settings(**settings), outside))
    assert all(each.next or each.command for each in findings)
    assert {each.host for each in findings} <= {"one"}
    return [f"{each.weight} {each.check}: {each.why}" for each in findings]


def test_of_a_host_that_is_well_nothing_is_said() -> None:
    assert said(WELL) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"listeners": [Listener("0.0.0.0", 8123, "clickhouse-serv")]}, "now open-port: port 8123 (clickhouse_http_port) takes connections on 0.0.0.0, and the settings have it on 127.0.0.1"),
        ({"listeners": [Listener("*", 9004, "clickhouse-serv")]}, "now open-port: port 9004 (clickhouse-serv) takes connections on *, and no setting asks for it"),
        ({"listeners": [Listener("0.0.0.0", 9598, "vector")]}, "now open-port: port 9598 (vector) takes"),
        ({"timers": [Timer("cvat-analytics-other.timer", "inactive", "disabled", 0, 0, "success")]}, "now timer: cvat-analytics-other.timer is inactive, disabled"),
        ({"timers": [Timer("cvat-analytics-other.timer", "active", "enabled", 0, NOW - 7200, "success")]}, "soon timer: cvat-analytics-other.timer was due at "),
        ({"timers": [Timer("cvat-analytics-journal.timer", "active", "enabled", NOW - 90000, 0, "success")]}, "soon timer: cvat-analytics-journal.timer has not run since "),
        ({"failed": ["cvat-analytics-other.service"]}, "now unit: cvat-analytics-other.service has failed"),
        ({"packages": {**WELL.packages, "vector": "0.57.0-1"}}, "soon package: package vector has version 0.57.0-1, and 0.58.0-1 is what was deployed"),
        ({"packages": {**WELL.packages, "grafana": ""}}, "soon package: package grafana is not installed"),
        ({"plugin": "4.19.0"}, "soon package: Grafana's ClickHouse plugin has version 4.19.0"),
        ({"files": [State("/a", "x 644 root root", "y 644 root root")]}, "soon file: /a was changed by hand"),
        ({"files": [State("/a", "x 600 root root", "x 644 root root")]}, "soon file: /a has mode and owner 644 root root, was left with 600 root root"),
        ({"files": [State("/a", "x 644 root root", "")]}, "soon file: /a is gone"),
        ({"files": None}, "know file: what a deploy has written here is not noted yet"),
        ({"units": {"vector.service": UnitFile("disabled", False, [], False)}}, "soon unit: vector is disabled: it will not start with the host"),
        ({"units": {"vector.service": UnitFile("enabled", True, [], False)}}, "soon unit: vector's unit was changed on disk"),
        ({"units": {"vector.service": UnitFile("enabled", False, ["/etc/systemd/system/vector.service.d/override.conf"], False)}}, "know unit: vector has settings of its own in "),
        ({"units": {"vector.service": UnitFile("enabled", False, [], True)}}, "now memory: the kernel has killed vector"),
        ({"swap": GIB}, "know memory: the host has 1.0 GiB of swap"),
        ({"routes": [Route("ClickHouse", "store.example.org", 8123, "no name")]}, "now route: the way from one to ClickHouse is closed: no address is known for the name store.example.org"),
        ({"routes": [Route("CVAT", "10.0.0.9", 443, "silent")]}, "now route: the way from one to CVAT is closed: 10.0.0.9 does not answer at port 443"),
        ({"routes": [Route("CVAT", "10.0.0.9", 443, "refused")]}, "10.0.0.9 refuses connections to port 443"),
        ({"certificates": {"/etc/cvat-analytics/ca.pem": "no PEM"}}, "soon certificate: /etc/cvat-analytics/ca.pem holds no certificate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_fault_of_a_host_is_said_once(change: dict[str, Any], words: str) -> None:
    (line,) = said(replace(WELL, **change))
    assert words in line


def test_limits_that_the_memory_cannot_keep() -> None:
    assert said(WELL, clickhouse_memory_limit="6GiB") == [
        "soon memory: ClickHouse may take 6.0 GiB, Vector 2.0 GiB, and the host has 8.0 GiB: the kernel will kill one of them"
    ]
    assert said(replace(WELL, memory=4 * GIB)) == [], "the smallest host that docs name"
    assert said(replace(WELL, memory=2 * GIB)) != []


def test_a_certificate_that_ends(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("vector-one", ["10.0.0.5"])
    shown = replace(WELL, timers=[], certificates={"/a.pem": pair.certificate})
    assert said(replace(shown, now=pair.expires.timestamp() - 61 * 86400)) == []
    (line,) = said(replace(shown, now=pair.expires.timestamp() - 10 * 86400))
    assert line == f"soon certificate: the certificate /a.pem ends on {pair.expires:%Y-%m-%d} (in 10 days)"
    (line,) = said(replace(shown, now=pair.expires.timestamp() + 86400))
    assert line.startswith("now certificate: the certificate /a.pem has ended on ")


def test_what_systemd_dpkg_and_ss_print_is_understood() -> None:
    found = machine.parsed(
        "now 1796000000\nMemTotal: 8589934592\nSwapTotal: 0\n"
        'listener 127.0.0.1:8123 users:(("clickhouse-serv",pid=1,fd=3))\nlistener [::]:22\nlistener 10.0.0.5%eth0:53 users:(("x",pid=2,fd=1))\n'
        "timer cvat-analytics-journal.timer active enabled 1795999990 0 success\nfailed cvat-analytics-other.service\n"
        "package vector 0.58.0-1 installed\npackage grafana 13.2.3 config-files\nplugin 4.22.0\n"
        "unit vector.service enabled yes killed\ndropins vector.service /a.conf /b.conf\nunit grafana-server.service missing no \n"
    )
    assert found.listeners == [
        Listener("127.0.0.1", 8123, "clickhouse-serv"),
        Listener("[::]", 22, ""),
        Listener("10.0.0.5%eth0", 53, "x"),
    ]
    assert [each.is_outside for each in found.listeners] == [False, True, True]
    assert found.timers == [
        Timer("cvat-analytics-journal.timer", "active", "enabled", 1795999990, 0, "success")
    ]
    assert (found.failed, found.packages, found.plugin) == (
        ["cvat-analytics-other.service"],
        {"vector": "0.58.0-1"},
        "4.22.0",
    )
    assert found.units == {
        "vector.service": UnitFile("enabled", True, ["/a.conf", "/b.conf"], True),
        "grafana-server.service": UnitFile("missing", False, (), False),
    }
    assert found.files is None


def test_ways_of_several_hosts() -> None:
    hosts = {"clickhouse": ["store"], "vector": ["in"], "grafana": ["view"], "events_api": ["view"]}
    values: dict[str, dict[str, Any]] = {
        name: {"address": f"10.0.0.{number}", "cvat_server_url": "https://cvat.example.org", "alerts": True, "smtp_host": "mail.example.org:25",
               "alert_emails": ["ops@example.org"]}
        for number, name in enumerate(("store", "in", "view"), 5)
    }  # fmt: skip
    described = topology.build(hosts, values, where="test")
    ways = {
        host: [(each.address, each.port) for each in of_machine.routes(described, host, settings)]
        for host, settings in described.settings.items()
    }
    assert ways == {
        "store": [],
        "in": [("10.0.0.5", 8123)],
        "view": [
            ("10.0.0.5", 8123),
            ("10.0.0.5", 9000),
            ("mail.example.org", 25),
            ("cvat.example.org", 443),
            ("10.0.0.6", 8282),
        ],
    }


def flow(**change: Any) -> Flow:
    """Return a pipeline in which all is well, but for what is changed."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "recent_events": 5, "last_event": now, "delay_seconds": None, "not_live": 0, "from_future": 0, "future_seconds": 0,
        "sources": Sources({"client": now, "server": now}, False, 1, 0), "ports": [Port(8282, False, 3, now)],
        "buffers": [Buffer("events", "one", 0, 0, GIB)], "refusals": [], "measured_at": now, "silent": {}, "dead_letters": 0, "implausible": 0,
        "journal_bytes": 0, "two_cvats": None, "cvat_refusals": [], "other_users": [],
    }  # fmt: skip
    return Flow(**values | change)


def test_what_status_knows_is_said_with_a_next_step() -> None:
    full = Volume("one", ("clickhouse",), "/var/lib/clickhouse", 10, 1000 * 2**20, 64 * 2**20, 32 * 2**20)
    report = Report(
        [
            Part("clickhouse", "one", "running", "26.8", "", "its certificate ends on 2026-12-01 (in 1 days): the next deploy renews one"),
            Part("vector", "one", "failing", "0.58", "", "nothing of it has come into ClickHouse yet: see `journalctl -u vector`\na second thing is broken"),
            Part("grafana", "two", "not asked", "", ""),
        ],
        flow(
            refusals=[Refusal("events", "one", datetime(2026, 11, 1, tzinfo=UTC), 7, 0, "500", "Constraint", None)],
            buffers=[Buffer("events", "one", 9, 99, 100)],
            from_future=3, future_seconds=60, other_users=["ann (local)"], silent={"three": datetime.now(UTC) - timedelta(hours=1)},
            ports=[Port(9999, True, 0, None)],
        ),
        not_asked={"two": "host two: cannot be reached: it refuses connections. See whether its sshd runs"},
        clocks=[Clock("one", 5, 6, None)],
        volumes=[full],
    )  # fmt: skip
    found = by_weight(of_status.findings(report))
    lines = [f"{each.weight} {each.check}: {each.why} -> {each.next}{each.command or ''}" for each in found]
    assert [line.partition(": ")[0] for line in lines] == [
        "now buffer", "now disk", "now host", "now part", "now part", "now refused", "soon certificate", "soon clock", "soon future",
        "soon vector", "know port", "know users",
    ]  # fmt: skip
    assert (
        "now host: host two: cannot be reached: it refuses connections -> See whether its sshd runs" in lines
    )
    assert (
        "now part: vector failing: nothing of it has come into ClickHouse yet -> see `journalctl -u vector`"
        in lines
    )
    assert (
        "now part: vector failing: a second thing is broken -> docs/how-to/a-part-does-not-do-its-work.md"
        in lines
    )
    assert (
        "soon certificate: clickhouse: its certificate ends on 2026-12-01 (in 1 days) -> docs/how-to/certificates.md"
        in lines
    )
    assert any(line.endswith("('buffer', 'set-aside', 'events')") for line in lines)
    assert all(each.next or each.command for each in found)
    (lacks,) = of_status.findings(
        Report([Part("grafana", "one", "failing", "", "", "it lacks a right: deploy again")], None)
    )
    assert (lacks.why, lacks.next, lacks.command) == ("grafana failing: it lacks a right", "", ("deploy",))
    assert list(of_status.findings(Report([Part("vector", "one", "running", "0.58", "")], flow()))) == []


def test_a_host_that_is_away_hides_nothing_of_another() -> None:
    parts = [Part("clickhouse", "store", "running", "26.8", ""), Part("grafana", "view", "not asked", "", "")]
    report = Report(
        parts, None, ["the pipeline cannot be looked at: Code: 62"], {"view": "host view: cannot be reached"}
    )
    said = [(each.check, each.why) for each in of_status.findings(report)]
    assert ("pipeline", "the pipeline cannot be looked at: Code: 62") in said
    # ClickHouse's own host: one cause, one line
    away = replace(report, not_asked={"store": "host store: cannot be reached"})
    assert [each.check for each in of_status.findings(away)] == ["host"]


def test_the_heaviest_comes_first_and_each_once() -> None:
    one, two, three = Finding("know", "a", "x"), Finding("now", "z", "x"), Finding("soon", "a", "x")
    assert by_weight([one, two, three, one]) == [two, three, one]


def test_of_each_known_fault_stands_where_it_is_known_from_and_what_to_do() -> None:
    for fault in known_faults.known():
        assert SpecifierSet(fault["versions"])
        assert fault["part"] in ("clickhouse", "vector", "grafana", "plugin", "cvat")
        assert fault["weight"] in ("now", "soon", "know")
        assert all(fault[key] for key in ("fault", "next", "source"))


@pytest.mark.parametrize(
    ("part", "version", "weights"),
    [
        ("clickhouse", "26.8.19.9", []), ("clickhouse", "25.1.5.4", ["now", "soon"]), ("clickhouse", "24.8.14.27", ["soon"]),
        # the first and the last version of each range of CVE-2025-1385, and what is beside it
        ("clickhouse", "24.3.18.5", ["now", "soon"]), ("clickhouse", "24.3.18.6", ["soon"]), ("clickhouse", "24.3.99.1", ["soon"]),
        ("clickhouse", "24.4.1.1", ["now", "soon"]), ("clickhouse", "24.8.14.26", ["now", "soon"]), ("clickhouse", "24.8.99.1", ["soon"]),
        ("clickhouse", "24.9.1.1", ["now", "soon"]), ("clickhouse", "24.11.5.33", ["now", "soon"]), ("clickhouse", "24.11.5.34", ["soon"]),
        ("clickhouse", "24.12.1.1", ["now", "soon"]), ("clickhouse", "24.12.5.64", ["now", "soon"]), ("clickhouse", "24.12.5.65", ["soon"]),
        ("clickhouse", "25.1.0.1", ["now", "soon"]), ("clickhouse", "25.1.5.5", ["soon"]), ("clickhouse", "25.7.9.9", ["soon"]), ("clickhouse", "25.8.1.1", []),
        ("vector", "0.57.9-1", ["soon"]), ("plugin", "4.18.9", []), ("plugin", "4.19.0", ["now"]), ("plugin", "4.20.0", []),
        ("grafana", "10.3.9", ["now", "soon"]), ("grafana", "10.4.0", ["soon"]), ("grafana", "12.2.10", ["soon"]), ("grafana", "12.3.0", []),
        ("cvat", "2.25.9", ["soon"]), ("cvat", "2.26.0", []), ("clickhouse", "19.17.1.1", ["now", "now", "soon"]), ("clickhouse", "20.1.1.1", ["now", "soon"]),
        ("clickhouse", "18.16.1+ds-7.3", ["now", "now", "soon"]), ("vector", "0.57.0-1", ["soon"]), ("vector", "0.58.0-1", ["know"]),
        ("vector", "0.59.0-1", []), ("grafana", "13.2.3", []), ("grafana", "9.4.0", ["now", "soon"]), ("plugin", "4.19.1", ["now"]),
        ("plugin", "4.22.0", []), ("cvat", "2.25.0", ["soon"]), ("cvat", "2.42.0", []), ("grafana", "no version", []),
    ],
)  # fmt: skip
def test_a_version_with_known_faults(part: str, version: str, weights: list[str]) -> None:
    found = by_weight(known_faults.findings([("one", part, version)]))
    assert [each.weight for each in found] == weights
    assert all("(source: " in each.why and each.next for each in found)


def rows_of(store: Store) -> Any:
    return examination._asking(way_to(store.context))


def insert(store: Store, table: str, columns: str, *rows: Sequence[str]) -> None:
    store.post(f"INSERT INTO {table} ({columns}) VALUES {', '.join(f'({", ".join(row)})' for row in rows)}")


def test_disks_are_forecast_from_their_own_history(shared_engine: Store) -> None:
    with shared_engine.another() as store:
        rows = rows_of(store)
        reading = "time, host, name, component, tags, value"

        def free(host: str, hours_ago: int, value: float) -> tuple[str, ...]:
            return (
                f"now() - {hours_ago * 3600}",
                f"'{host}'",
                "'filesystem_free_bytes'",
                "''",
                "map('mountpoint', '/')",
                str(value),
            )

        fills = [free("fills", 24 * day, (10 + day) * GIB) for day in range(6)]
        young = [free("young", hour, (10 + hour) * GIB) for hour in range(6)]
        steady = [free("steady", 24 * day, 10 * GIB) for day in range(6)]
        others = [(*row[:4], "map('mountpoint', '/opt/other')", row[5]) for row in steady]
        insert(store, "pipeline_metrics", reading, *fills, *young, *steady, *others)
        # a GiB a day, ten are left
        found = {each.host: each for each in of_store.forecasts(rows, "store")}
        assert found["fills"].days == pytest.approx(10, rel=0.05)
        assert str(found["fills"]) == "the disk / of fills: full in 10 days as things go"
        assert (found["young"].days, found["young"].is_known) == (None, False)
        assert "too little history for a forecast (0.2 days, 3 are needed)" in str(found["young"])
        assert str(found["steady"]) == "the disk / of steady: does not fill up as things go"
        assert "too little history" in str(found["store"])
        (finding,) = of_store.disks(list(found.values()))
        assert (finding.weight, finding.check, finding.host) == ("soon", "disk-forecast", "fills")
        now, later = (next(of_store.disks([replace(found["fills"], days=days)])).weight for days in (2, 80))
        assert (now, later) == ("now", "know")
        assert list(of_store.disks([replace(found["fills"], days=400)])) == []


def test_more_dead_letters_than_before(shared_engine: Store) -> None:
    with shared_engine.another() as store:
        rows = rows_of(store)
        assert list(of_store.dead_letters(rows)) == []
        letters = "received_at, reason, message, original"
        insert(
            store,
            "events_dead_letter",
            letters,
            *(
                (f"now64(3) - {86400 * (number % 6 + 1) + 60}", "'old'", "'m'", f"'{number}'")
                for number in range(21)
            ),
        )
        assert list(of_store.dead_letters(rows)) == []
        insert(
            store,
            "events_dead_letter",
            letters,
            *(("now64(3) - 60", "'no_timestamp'", "'m'", f"'new {number}'") for number in range(5)),
        )
        (few,) = of_store.dead_letters(rows)
        assert (few.weight, few.why) == ("know", "5 dead letters in the last day")
        insert(
            store,
            "events_dead_letter",
            letters,
            *(("now64(3) - 60", "'no_timestamp'", "'m'", f"'more {number}'") for number in range(25)),
        )
        (many,) = of_store.dead_letters(rows)
        assert (many.weight, many.why) == (
            "soon",
            "30 dead letters in the last day, 3 a day in the week before; most for: no_timestamp",
        )
        assert many.command == ("dead-letters", "list")


def test_silence_at_an_hour_that_was_never_silent(shared_engine: Store) -> None:
    with shared_engine.another() as store:
        rows = rows_of(store)
        (new,) = of_store.silence(rows, None)
        assert (new.weight, new.why) == ("know", "no event has come yet")
        last = datetime.now(UTC) - timedelta(hours=3)
        hour = datetime.now(UTC).replace(minute=30) - timedelta(hours=1)
        for week in (1, 2, 3):
            moment = f"{hour - timedelta(weeks=week):%Y-%m-%d %H:%M:%S}"
            store.insert(
                [
                    {
                        "scope": "create:task",
                        "source": "server",
                        "timestamp": moment,
                        "duration": 0,
                        "user_id": 1,
                    }
                ]
            )
        assert list(of_store.silence(rows, last)) == []
        store.insert(
            [
                {
                    "scope": "create:task",
                    "source": "server",
                    "timestamp": f"{hour - timedelta(weeks=4):%Y-%m-%d %H:%M:%S}",
                    "duration": 0,
                    "user_id": 1,
                }
            ]
        )
        (silent,) = of_store.silence(rows, last)
        assert (silent.weight, silent.check) == ("soon", "silence")
        assert silent.why.startswith("no event for 3 h, and at this hour of the week")
        assert list(of_store.silence(rows, datetime.now(UTC))) == []
        (month,) = of_store.silence(rows, None)
        assert (month.weight, month.why) == ("soon", "no event has come in 30 days")


def test_a_limit_that_was_chosen_for_another_machine(shared_engine: Store) -> None:
    rows = rows_of(shared_engine)
    context = shared_engine.context
    assert list(of_store.memory_in_use(rows, context.settings, context.memory_bytes, "one")) == []
    (finding,) = of_store.memory_in_use(rows, context.settings, 4 * context.memory_bytes, "one")
    assert finding.why.startswith(
        "ClickHouse runs with a limit of 2.0 GiB, and for the 16.0 GiB that the host has now it would be "
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": ""}, ["know: this stack makes no backups (setting 'backup_target')"]),
        ({"too_old": True}, ["now: there is no good backup yet"]),
        ({"known": False, "why": "away"}, ["know: how it is with backups is not known: away"]),
        ({"last": "a", "proven": "a", "started": datetime.now(UTC)}, []),
        ({"last": "a", "started": datetime.now(UTC) - timedelta(days=5), "too_old": True},
         ["now: the last good backup is 5 d old", "know: no backup was ever proven by restoring it"]),
        ({"last": "a", "proven": "a", "failed": "b", "why": "no room"}, ["soon: b failed: no room"]),
        ({"last": "a", "proven": "a", "problems": ["x.timer is inactive: `systemctl enable x`"]}, ["now: x.timer is inactive"]),
    ],
    ids=["none", "no good one", "not known", "well", "too old", "failed", "timer"],
)  # fmt: skip
def test_what_status_knows_of_backups(change: dict[str, Any], said: list[str]) -> None:
    found = by_weight(
        of_status.findings(Report([], flow(), backups=Backups(**{"target": "/mnt/backup"} | change)))
    )
    assert [f"{each.weight}: {each.why}" for each in found] == said
    assert {each.check for each in found} <= {"backup"}


def test_each_check_is_documented() -> None:
    calls = [
        call
        for file in (ROOT / "cvat_analytics" / "checks").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding"
    ]
    names = {call.args[1].value for call in calls if isinstance(call.args[1], ast.Constant)}
    assert len(names) > 15
    page = (ROOT / "docs" / "reference" / "doctor.md").read_text()
    assert [name for name in sorted(map(str, names)) if f"`{name}`" not in page] == []

"""What a bundle has of a deployed stack: nothing of anybody, wherever it was planted, and what somebody who helps must know."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.checks.backups import Backups
from cvat_analytics.checks.bundle import contents, placeholders
from cvat_analytics.checks.bundle.keeping import Kept
from cvat_analytics.checks.cvat_refusals import CvatRefusal
from cvat_analytics.checks.doctor import of_status
from cvat_analytics.checks.doctor.examination import Diagnosis, Place
from cvat_analytics.checks.doctor.machine import Listener, Machine, Route, State, Timer, UnitFile
from cvat_analytics.checks.finding import Finding
from cvat_analytics.checks.flow import Buffer, Refusal
from cvat_analytics.checks.status import Part, Report
from cvat_analytics.checks.two_cvats import TwoCvats
from cvat_analytics.config import topology
from cvat_analytics.config.deployed import Difference
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.topology import Topology
from tests.checks.test_doctor import flow

NAME, LOGIN, MAIL = "Wilhelmina Quackenbush", "wquackenbush", "wilhelmina.q@planted-mail.example"
TOKEN, PASSWORD, ADDRESS = "tok_9f8a7b6c5d4e3f2a1b0c", "Zx9-planted-Pw_31415", "203.0.113.77"
TEXT = "malignant tumour near vertebra"
NUMBER, PHONE, BIRTHDAY, BORN, CARD = (
    "80451237",
    "0049 170 7654321",
    "1985-04-12",
    "1985-04-12 06:30:00",
    "4111 1111 1111 1111",
)
PLANTED = (NAME, LOGIN, MAIL, TOKEN, PASSWORD, ADDRESS, TEXT, NUMBER, PHONE, BIRTHDAY, BORN, CARD)
ALL = " ".join(PLANTED)


def traces(planted: Iterable[str]) -> Iterator[str]:
    """Yield each text in every form in which it could stand in a file, and each of its words that no other text has."""
    for text in planted:
        yield text
        yield urllib.parse.quote(text)
        yield json.dumps(text)[1:-1]
        yield base64.b64encode(text.encode()).decode().rstrip("=")
        yield text.encode().hex()
        yield from (
            word for word in text.replace("@", " ").split() if len(word) > 5 and word not in ("vertebra",)
        )


def found_in(files: dict[str, str], planted: Iterable[str]) -> list[tuple[str, str]]:
    """Return in which file which trace is."""
    searched = {name: f"{name}\n{text}".lower() for name, text in files.items()}
    return [
        (name, trace) for trace in traces(planted) for name, text in searched.items() if trace.lower() in text
    ]


def stack(tmp_path: Path) -> Topology:
    """Return a stack of two hosts that are called after people, with something of somebody's in its settings."""
    hosts = [f"{LOGIN}-store", f"{LOGIN}-view"]
    values: dict[str, Any] = {
        "clickhouse_allowed_addresses": [ADDRESS], "clickhouse_listen_addresses": [ADDRESS], "vector_listen_address": ADDRESS,
        "vector_allowed_addresses": [ADDRESS], "grafana_root_url": f"https://{LOGIN}.example.org/", "cvat_url": f"https://{LOGIN}.example.org",
        "cvat_server_url": f"http://{ADDRESS}:8080", "alerts": True, "alert_emails": [MAIL], "alert_webhook_url": f"https://hook.example.org/{TOKEN}",
        "smtp_host": f"{LOGIN}.example.org:25", "smtp_user": LOGIN, "smtp_from": MAIL, "vector_username": LOGIN, "vector_tls": True,
        "firewall": True, "clickhouse_tls": True, "events_api_names": [f"{LOGIN}.example.org"], "grafana_language": "ja", "events_retention": "90d",
        "secrets_file": str(tmp_path / LOGIN), "backup_target": f"sftp:{LOGIN}@{ADDRESS}:/srv/backup",
    }  # fmt: skip
    groups = {
        "clickhouse": hosts[:1],
        "vector": hosts[:1],
        "grafana": hosts[1:],
        "events_api": hosts[1:],
        "gateway": hosts[1:],
    }
    own = {host: values | {"address": f"203.0.113.{number}"} for number, host in enumerate(hosts, 77)}
    return topology.build(groups, own, where="test")


def bundle(described: Topology) -> dict[str, str]:
    """Return the bundle of a stack in which everything that is anybody's words has something planted."""
    store, view = described.settings
    now = datetime.now(UTC)
    report = Report(
        [Part("clickhouse", store, "failing", "26.8.19.9", f"https://{ADDRESS}", f"ClickHouse's user {LOGIN} lacks what it needs ({ALL}): deploy again"),
         Part("vector", store, "running", f"0.58 {TOKEN}", "", f"ClickHouse's user {NUMBER} lacks what it needs: deploy again"),
         Part("grafana", view, "failing", NUMBER, "", f"takes nothing: its disk ({PHONE}) for {BIRTHDAY}")],
        flow(
            refusals=[Refusal("events", store, now, 7, 0, "500", f"Cannot parse input: {ALL}", None),
                      Refusal("everything", store, now, 7, 0, NUMBER, f"{NUMBER} Authentication failed {BIRTHDAY}", None)],
            two_cvats=TwoCvats(3, [f"user 52 is {NAME} and {MAIL}", f"user 53 is {NUMBER} and {PHONE}"], now), other_users=[f"{LOGIN} (local_directory)", NUMBER],
            cvat_refusals=[CvatRefusal(ALL, (LOGIN,), now, 3)], silent={LOGIN: now}, buffers=[Buffer(LOGIN, store, 4, 5, 10)],
        ),
        problems=[f"the pipeline cannot be looked at: {ALL}"], not_asked={view: f"host {view}: cannot be reached: {ALL}"},
        backups=Backups(f"sftp:{LOGIN}@{ADDRESS}:/srv", failed=LOGIN, why=ALL, problems=[ALL], too_old=True),
        not_deployed=[Difference("setting 'alert_emails'", (store,), MAIL, TOKEN)],
    )  # fmt: skip
    machine = Machine(
        now=1, memory=8 * 2**30, listeners=[Listener(ADDRESS, 8123, LOGIN)], timers=[Timer(f"cvat-analytics-{LOGIN}.timer", "active", "enabled", 0, 0, TOKEN)],
        failed=[f"cvat-analytics-{LOGIN}.service"], packages={"vector": f"0.58.0-1 {TOKEN}"}, plugin=TOKEN,
        units={"vector.service": UnitFile("enabled", False, [f"/etc/{LOGIN}"], True), f"{LOGIN}.service": UnitFile(TOKEN, False, [], False)},
        files=[State("/etc/vector/vector.toml", "a", "b")], certificates={"/a.pem": ALL}, routes=[Route("CVAT", f"{LOGIN}.example.org", 443, "no name")],
    )  # fmt: skip
    findings = [
        Finding(
            "now",
            "route",
            f"no address is known for the name {LOGIN}.example.org",
            f"`getent ahosts {ADDRESS}`",
            host=store,
        )
    ]
    findings.append(Finding("know", "not-deployed", LOGIN, command=("deploy",)))
    findings += of_status.findings(report)
    diagnosis = Diagnosis(
        findings, [], [f"CVAT's side: {ALL}"], [("", "cvat", f"2.42 {TOKEN}"), (store, "vector", "0.58.0-1")]
    )
    places = {
        host: Place(described.components(host), settings, 8 * 2**30, machine)
        for host, settings in described.settings.items()
    }
    asked = {"tables": [{"table": LOGIN, "rows": 5, "bytes": 6, "parts": 1}, {"table": "events", "rows": 7, "bytes": 8, "parts": 1}],
             "letters": [{"reason": TEXT, "count": 3}, {"reason": "not JSON", "count": 2}], "problem": ALL, "error_names": ["SYNTAX_ERROR"]}  # fmt: skip
    return dict(
        contents.of(
            report,
            diagnosis,
            described,
            places,
            asked,
            {(store, "clickhouse"): LINES, (view, "gateway"): LINES},
        )
    )


LINES = [
    f"2026.11.30 09:00:00.123456 [ 77 ] {{{TOKEN}}} <Error> executeQuery: Code: 62. DB::Exception: Syntax error: failed at position 8 ('{TEXT}'): {ALL}. (SYNTAX_ERROR) (version 26.8) (from {ADDRESS}:4711) (in query: SELECT '{ALL}')",
    f"2026-11-30T09:00:01+0000 vector[12]: ERROR sink{{component_id=events}}: vector::{LOGIN}: HTTP error. error=error trying to connect: tcp connect error: Connection refused (os error 111) {ALL}",
    f"{ALL}",
    f"2026-11-30T09:00:02Z {ADDRESS} - {LOGIN} \"GET /api/events?user={urllib.parse.quote(MAIL)} HTTP/1.1\" 401",
    f"2026.11.30 09:00:03.5 [ 1 ] {{}} <Error> {LOGIN}: {NAME.split()[0]}",
    f"Authorization: Basic {base64.b64encode(f'{LOGIN}:{PASSWORD}'.encode()).decode()}",
    f"{{\"user_email\":\"{MAIL}\",\"payload\":{json.dumps(json.dumps({'text': TEXT}))}}}",
    f"takes nothing: its disk ({LOGIN}) has 1 MiB of 2 MiB free",
    "\x00\x1b[2J" + TOKEN,
    f"2026.11.30 09:00:04.5 [ 1 ] {{}} <Error> executeQuery: Authentication failed {NUMBER} {BORN} Cannot parse input {PHONE}",
    f"{BORN} was there before the query went on",
]  # fmt: skip


def test_nothing_that_was_planted_is_in_any_file(tmp_path: Path) -> None:
    described = stack(tmp_path)
    files = bundle(described)
    assert found_in({"": str(described) + str(LINES)}, PLANTED), "it is looked for in a way that finds it"
    assert found_in(files, PLANTED) == []


def test_what_somebody_who_helps_must_know_is_there(tmp_path: Path) -> None:
    files = bundle(stack(tmp_path))
    log = files["logs/host-1/clickhouse.log"].splitlines()
    assert log[0].startswith("2026.11.30 09:00:00.123456 1 x ")
    assert "<Error> executeQuery Code: 62 DB::Exception Syntax error failed … SYNTAX_ERROR" in log[0]
    assert "Connection refused os error 111" in log[1]
    assert any("takes nothing: its disk (" in line and "1 MiB" in line for line in log)
    status = json.loads(files["status.json"])
    assert status["parts"][0]["state"] == "failing"
    assert status["parts"][0]["problem"].startswith("ClickHouse's user … lacks what it needs (")
    assert (status["pipeline"]["two_cvats"], status["pipeline"]["other_users"]) == ({"ids": 3}, 2)
    assert [each["statuses"] for each in status["pipeline"]["refusals"]] == [[500], []]
    finding, mended, *_ = found = json.loads(files["doctor.json"])["findings"]
    assert any("by ClickHouse since" in each["why"] and "Cannot parse input" in each["why"] for each in found)
    assert mended["next"] == "deploy"
    assert (finding["host"], finding["why"]) == ("host-1", "no address is known for the name …")
    settings = json.loads(files["settings/host-1.json"])
    assert (settings["events_retention"], settings["grafana_language"], settings["alert_emails"]) == (
        '"90d"',
        '"ja"',
        "(1 set)",
    )
    assert settings["clickhouse_version"] == '"26.8.19.9"'
    machine = json.loads(files["machines/host-1.json"])
    assert machine["changed_files"] == ["/etc/vector/vector.toml"]
    assert machine["units"]["vector.service"]["killed_for_memory"]
    assert json.loads(files["store.json"])["tables"][1] == {
        "table": "events",
        "rows": 7,
        "bytes": 8,
        "parts": 1,
    }
    assert json.loads(files["store.json"])["letters"][1]["reason"] == "not JSON"
    toml = files["rendered/host-1/etc/vector/vector.toml"]
    assert 'address = "192.0.2.1:8282"' in toml
    assert "rendered/host-2/etc/cvat-analytics/gateway/nginx.conf" in files
    assert not [name for name in files if "not rendered" in files[name]]


@pytest.mark.parametrize(
    "name",
    [name for name in Settings.model_fields if not isinstance(getattr(Settings(), name), bool | int | float)],
)
def test_no_setting_of_any_kind_is_shown_as_somebody_wrote_it(name: str) -> None:
    """Also one that is made after this test: whatever is no number, no switch and no choice is not shown."""
    planted = f"PLANTED-{LOGIN}"
    for value in (planted, (planted,), Path(planted), {"amd64": planted}):
        settings = Settings().model_copy(update={name: value})
        assert planted not in str(placeholders.shown(settings))
        described = Topology(
            dict.fromkeys(("clickhouse", "vector", "grafana"), ("one",)) | {"events_api": (), "gateway": ()},
            {"one": settings},
        )
        assert planted not in str(placeholders.harmless(described))


def test_bounded_and_each_line_once() -> None:
    kept = Kept()
    lines = list(
        contents.reduced(
            [f"2026-11-30T09:00:0{number % 10}Z ERROR Connection refused {number}" for number in range(5000)],
            kept,
        )
    )
    assert lines == ["2026-11-30T09:00:09Z 5000 x ERROR Connection refused …"]
    many = list(contents.reduced((f"Code: {number} Connection refused" for number in range(5000)), kept))
    assert len(many) == 500


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("no address is known for the name a.example.org", "no address is known for the name …"),
        ("has 10 MiB of 10.5 GiB free at 203.0.113.77, 7,000 times", "… 10 MiB … 10.5 GiB …"),
        ("7,000 dead letters in the last day", "7,000 dead letters in the last day"),
        ("x.timer was due at 2026-11-30 09:00 UTC", "… was due at 2026-11-30 09:00 UTC"),
        ("80451237 1985-04-12 1985-04-12 06:30:00 4111 1111 1111 1111 of dead letters in the last day", "… dead letters in the last day"),
        ("wno address is known for the name", "… is known for the name"),
        ("events_retention of vector", "events_retention … vector"),
        ("0049-170-1234567 555-1234 12345@x", "…"),
    ],
)  # fmt: skip
def test_what_is_known_of_a_text_of_ours(text: str, known: str) -> None:
    said = Kept().of_ours(text)
    if known.startswith("… is known"):
        assert "no address" not in said
    else:
        assert said == known

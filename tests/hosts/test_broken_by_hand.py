"""On a real host, `status` says which part does not do its work although it runs and answers, and a deploy mends what somebody did by hand."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from tests.waiting import until

from .command import cvat_analytics, deploy
from .host import Host

PASSWORD = "/etc/cvat-analytics/secrets/vector/clickhouse_password"
USERS = "/etc/clickhouse-server/users.d/cvat-analytics.xml"
PLANTED = "wquackenbush@planted-mail.example"
PLUGIN = "/var/lib/grafana/plugins/grafana-clickhouse-datasource"


def rights_of_cvat(host: Host) -> str:
    client = "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml"
    return host.run(f"{client} --query 'SHOW GRANTS FOR cvat'").output


def test_what_runs_and_does_not_do_its_work_is_said_and_mended_by_a_deploy(
    deployed_host: Host, inventory: Callable[..., Path]
) -> None:
    host, path = deployed_host, inventory(deployed_host)

    def status() -> dict[str, Any]:
        result = cvat_analytics("status", "--inventory", path, "--json")
        found: dict[str, Any] = json.loads(result.output)
        parts = {part["name"]: (part["state"], part["problem"]) for part in found["parts"]}
        return {"exit": result.exit_code, "pipeline": found["pipeline"], **parts}

    def says(what: str, good: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        return until(status, what, good, patience=240)

    def nothing_waits(found: dict[str, Any]) -> bool:
        # of a Vector that has been silent for a while it is not known, although it still counts as running
        return bool(found["pipeline"]) and {each["events"] for each in found["pipeline"]["buffers"]} == {0}

    fine = says(
        "everything runs",
        lambda found: (
            {found[part][0] for part in ("clickhouse", "vector", "grafana")} == {"running"}
            and nothing_waits(found)
        ),
    )
    assert fine["exit"] == 0

    # what a deploy puts right again
    for unit in ("stop", "disable"):
        host.run(f"systemctl {unit} cvat-analytics-journal.timer 2>&1")
        (state, problem) = status()["vector"]
        assert state == "failing"
        assert "cvat-analytics-journal.timer is inactive" in problem
    host.run("systemctl stop cvat-analytics-room")
    assert "cvat-analytics-room.service is inactive" in status()["vector"][1]
    host.run(f"mv {PLUGIN} /root/plugin")
    host.run(f"sed -i 's/GRANT SELECT ON cvat[.]event_counts</GRANT SELECT ON cvat.events</' {USERS}")
    # as an earlier version gave them
    host.run(f"sed -i 's/GRANT CREATE DATABASE ON cvat/GRANT INSERT, CREATE DATABASE ON cvat/' {USERS}")
    narrowed = says("a right is gone", lambda found: "lacks what it needs" in found["grafana"][1])
    assert narrowed["exit"] == 1
    assert narrowed["grafana"][0] == "failing"
    assert "its ClickHouse plugin is not in " in narrowed["grafana"][1]
    assert (
        "ClickHouse's user grafana lacks what it needs (GRANT SELECT ON cvat.event_counts)"
        in narrowed["grafana"][1]
    )
    assert "INSERT" in rights_of_cvat(host)

    # the doctor names the files, and what else stands open or is not as it was left
    host.run(
        "mkdir -p /etc/systemd/system/grafana-server.service.d && echo '[Service]' > /etc/systemd/system/grafana-server.service.d/own.conf; systemctl daemon-reload"
    )
    examined = cvat_analytics("doctor", "--inventory", path)
    print(examined.output)
    assert examined.exit_code == 1
    assert f"{USERS} was changed by hand: the next deploy puts it back" in examined.output
    assert "cvat-analytics-room.service" in examined.output
    assert "/etc/systemd/system/grafana-server.service.d/own.conf" in examined.output
    assert "open-port" not in examined.output
    host.run("rm /etc/systemd/system/grafana-server.service.d/own.conf; systemctl daemon-reload")

    # what one sends to whoever helps, from real logs: a word of it, and nothing of anybody
    password = json.loads((path.parent / "secrets.json").read_text())["clickhouse_admin"]
    log = "/var/log/clickhouse-server/clickhouse-server.err.log"
    line = f"2026.11.30 09:00:00.1 [ 1 ] {{}} <Error> executeQuery: Code: 241. DB::Exception: Memory limit (total) exceeded: {PLANTED} {password}"
    host.run(f"mkdir -p {PurePosixPath(log).parent} && echo '{line}' >> {log}")
    bundle = path.parent / "help.zip"
    assert cvat_analytics("doctor", "--inventory", path, "--bundle", bundle).exit_code == 0
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert "Code: 241 DB::Exception Memory limit (total) exceeded" in files["logs/host-1/clickhouse.log"]
    assert len(files["logs/host-1/vector.log"].splitlines()) > 1
    assert json.loads(files["machines/host-1.json"])["changed_files"] == [USERS]
    assert [
        name for name, text in files.items() for planted in (password, PLANTED, host.name) if planted in text
    ] == []

    # Vector with a wrong password: nothing of it arrives, and nobody knows what waits
    host.run(f"printf wrong > {PASSWORD} && systemctl restart vector")
    refused = says("Vector is refused", lambda found: "Authentication failed" in found["vector"][1])
    assert (refused["exit"], refused["vector"][0]) == (1, "failing")
    unknown = says(
        "what waits is not known",
        lambda found: (
            found["pipeline"] and {each["events"] for each in found["pipeline"]["buffers"]} == {None}
        ),
    )
    assert unknown["pipeline"]["journal_bytes"] is None
    assert unknown["pipeline"]["ports"][0]["recent_requests"] is None
    shown = cvat_analytics("status", "--inventory", path)
    print(shown.output)
    assert " 0 events wait" not in shown.output
    assert "events: what waits is not known" in shown.output
    assert "ClickHouse refuses it, and all events wait: " in shown.output

    deploy(path)
    mended = says(
        "everything runs again",
        lambda found: (
            {found[part] for part in ("clickhouse", "vector", "grafana")} == {("running", "")}
            and nothing_waits(found)
        ),
    )
    assert mended["exit"] == 0
    well = json.loads(cvat_analytics("doctor", "--inventory", path, "--json").output)
    print(well)
    assert not [
        each
        for each in well["findings"]
        if each["check"] in ("file", "unit", "timer", "package", "open-port", "route", "smoke")
    ]
    until(lambda: rights_of_cvat(host), "the rights are the new ones", lambda rights: "INSERT" not in rights)

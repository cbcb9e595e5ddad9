"""Steps of versions that a deploy refuses before the first change, and that a service's older program is noticed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from cvat_analytics.config.versions import NOT_BROUGHT_BACK, Step
from cvat_analytics.rendering import programs
from deploys import previous
from deploys.report import LEAVING
from tests.deploys.conftest import DEBIAN_12, OFFERS, Deploy

PING = "GET /ping"
PLUGIN = "plugin.json"


def there(**installed: str) -> dict[str, list[str]]:
    """Return the answers of a host with these packages, on which ClickHouse and everything else can be had."""
    names = {name.replace("_", "-"): version for name, version in installed.items()}
    lines = [f"package={name} {version} installed" for name, version in names.items()]
    return {
        "os-release": [*DEBIAN_12.splitlines(), *lines],
        "apt-cache": OFFERS.splitlines(),
        "dpkg-query -W": [f"{name} {version} installed" for name, version in names.items()],
        PING: ["answers"],
        PLUGIN: ["4.22.0"],
    }


def refused(run_deploy: Deploy, answers: dict[str, Any], **settings: str) -> str:
    with pytest.raises(PyinfraError) as caught:
        run_deploy(answers=answers, settings=settings)
    return str(caught.value)


def test_a_step_that_must_not_be_taken_is_refused_before_any_command(run_deploy: Deploy) -> None:
    said = refused(run_deploy, there(clickhouse_common_static="25.3.1.1"))
    assert said.startswith(
        "host @fake/a: ClickHouse 25.3.1.1 -> 26.8.19.9: ClickHouse supports steps within a year"
    )
    assert run_deploy(answers=there(clickhouse_common_static="26.3.1.1")).failed == set()


def test_a_clickhouse_that_does_not_run_the_migrations_is_refused_on_a_new_host_too(
    run_deploy: Deploy,
) -> None:
    said = refused(run_deploy, {}, clickhouse_version="25.8.3.1")
    assert said.startswith(
        "host @fake/a: ClickHouse 25.8.3.1 does not run the SQL of this version of cvat-analytics"
    )


def test_a_step_for_which_there_is_no_room_is_refused_as_the_plan_does(run_deploy: Deploy) -> None:
    room = {"echo free=": ["free=100000", "clickhouse.size=600000"]}
    said = refused(run_deploy, room | there(clickhouse_common_static="26.3.1.1"))
    assert said.startswith(
        "host @fake/a: ClickHouse 26.3.1.1 -> 26.8.19.9: 98 MiB are free in /var/lib, and 1.1 GiB are needed"
    )
    # of a deploy that was cut off it is kept already
    opened = {
        "cat /var/lib/cvat-analytics/previous/clickhouse-server/open": ["ClickHouse 26.3.1.1 -> 26.8.19.9"]
    }
    assert run_deploy(answers=opened | room | there(clickhouse_common_static="26.3.1.1")).failed == set()


def test_a_pin_that_is_set_back_after_a_deploy_was_cut_off_is_told_of_the_way_back(
    run_deploy: Deploy,
) -> None:
    opened = {
        "cat /var/lib/cvat-analytics/previous/clickhouse-server/open": ["ClickHouse 26.3.1.1 -> 26.8.19.9"]
    }
    said = refused(
        run_deploy, opened | there(clickhouse_common_static="26.8.19.9"), clickhouse_version="26.3.1.1"
    )
    assert said == (
        "host @fake/a: ClickHouse 26.8.19.9 -> 26.3.1.1: a deploy that was cut off has brought 26.8.19.9 there (ClickHouse 26.3.1.1 -> 26.8.19.9), and "
        "what was there before is kept. Bring it back on that host with `sudo sh /var/lib/cvat-analytics/previous/clickhouse-server/back`, then deploy "
        "again (docs/how-to/upgrade.md#when-a-part-fails) [CVA8101]"
    )


def test_grafana_does_not_go_back_behind_the_move_of_its_dashboards(run_deploy: Deploy) -> None:
    said = refused(
        run_deploy,
        there(grafana="13.2.3") | {"apt-cache": [*OFFERS.splitlines(), "offers grafana 12.4.0"]},
        grafana_version="12.4.0",
    )
    assert said.startswith(
        "host @fake/a: Grafana 13.2.3 -> 12.4.0: 12.4.0 may not be able to read what 13.2.3 has written (dashboards"
    )


def test_vector_is_not_exchanged_while_what_waits_cannot_be_delivered(run_deploy: Deploy) -> None:
    answers = there(vector="0.57.0-1")
    assert run_deploy(answers=answers).failed == set()
    said = refused(run_deploy, answers | {PING: []})
    assert said == (
        "host @fake/a: Vector 0.57.0-1 -> 0.58.0-1: what waits in its buffer on disk is promised to no other version, and ClickHouse at "
        "127.0.0.1:8123 does not answer, so that it cannot be delivered before. See docs/how-to/clickhouse-is-down.md, then deploy again [CVA8103]"
    )
    # another revision of the same Vector, and the same one, have the same buffer
    for version in ("0.58.0-0", "0.58.0-1"):
        assert run_deploy(answers=there(vector=version) | {PING: []}).failed == set()


def test_the_plugin_that_is_there_is_found_by_its_metadata(run_deploy: Deploy) -> None:
    run = run_deploy(answers=there(grafana="13.2.3") | {PLUGIN: ["4.20.0"]})
    assert run.failed == set()
    assert run.matching("grafana-clickhouse-datasource/plugin.json")


@pytest.mark.parametrize(
    ("installed", "started", "older"),
    [("@1000", "@900", True), ("@900", "@1000", False), ("@1000", "@1000", False), ("@99999999999", "@900", False)],
    ids=["installed later", "started later", "at once", "a date in the future"],
)  # fmt: skip
def test_a_service_that_runs_the_program_from_before_is_noticed(
    tmp_path: Path, installed: str, started: str, older: bool
) -> None:
    listed = tmp_path / "vector.list"
    subprocess.run(["touch", "-d", installed, listed], check=True)
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\ncase "$*" in *is-active*) exit 0;; *) TZ=UTC date -d {started} "+%a %F %T UTC";; esac\n'
    )
    (tmp_path / "systemctl").chmod(0o755)
    command = programs.runs_older("vector", "vector").replace("/var/lib/dpkg/info/vector.list", str(listed))
    done = subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH; {command}"], check=False)
    assert (done.returncode == 0) == older


def test_the_next_deploy_restarts_what_runs_the_program_from_before(run_deploy: Deploy) -> None:
    state = ["ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no"]
    first = run_deploy()
    (note,) = first.matching("> /var/lib/cvat-analytics/grafana-server.applied")
    applied = note.split("echo ")[1].split()[0]
    unit = "-p NeedDaemonReload grafana-server"
    same = run_deploy(answers={unit: [*state, f"applied={applied}"]})
    assert not same.matching("systemctl restart grafana-server")
    older = run_deploy(answers={unit: [*state, f"applied={applied}", "older=yes"]})
    assert older.matching("systemctl restart grafana-server")


def running(unit: str, **answers: list[str]) -> dict[str, Any]:
    """Return the answers of a host on which `unit` runs with what a deploy has brought to its end."""
    state = ["ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no", "applied=5f0c"]
    return {f"-p NeedDaemonReload {unit}": state, **answers}


def test_what_a_part_runs_with_is_kept_before_another_version_comes(run_deploy: Deploy) -> None:
    answers = there(clickhouse_common_static="26.3.9.8", clickhouse_server="26.3.9.8") | running(
        "clickhouse-server"
    )
    run = run_deploy(answers=answers)
    packed = run.matching(
        r"dpkg-deb -Zgzip -z1 --build \S+ /var/lib/cvat-analytics/previous/clickhouse-server/"
    )
    assert [command.split("dpkg -L ")[1].split()[0] for command in packed] == [
        "clickhouse-common-static",
        "clickhouse-server",
    ]
    opened = run.position("> /var/lib/cvat-analytics/previous/clickhouse-server/open")
    assert (
        opened
        < run.position("install .*clickhouse-server=")
        < run.position("systemctl restart clickhouse-server")
    )
    assert "echo 'ClickHouse 26.3.9.8 -> 26.8.19.9'" in run.commands["@fake/a"][opened]
    # once more, after a run that was cut off: what was kept is of before that one
    kept = f"{'0' * 64} 644 root root 1793000000 /var/lib/cvat-analytics/previous/clickhouse-server/open"
    cut_off = answers | {"for file in /var/lib/cvat-analytics/previous/clickhouse-server/open": [kept]}
    assert not run_deploy(answers=cut_off).matching("dpkg-deb")
    # nor of one that does not run: it would not come back
    del answers["-p NeedDaemonReload clickhouse-server"]
    assert not run_deploy(answers=answers).matching("dpkg-deb")


def test_a_clickhouse_that_has_written_what_the_old_one_may_not_read_is_not_brought_back(
    run_deploy: Deploy,
) -> None:
    (step,) = (Step("clickhouse", "26.3.9.8", "26.8.19.9"),)
    guarded = previous.back("clickhouse", [step], "true", 20)
    assert "find /var/lib/clickhouse/store -mindepth 3 -maxdepth 3 -type d -newer stopped" in guarded
    assert NOT_BROUGHT_BACK in guarded
    assert "written=" not in previous.back(
        "clickhouse", [Step("clickhouse", "26.8.19.9", "26.8.20.1")], "true", 20
    )
    for text in (guarded, previous.back("grafana", [], "true", 20), previous.back("vector", [], "true", 20)):
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_a_part_whose_turn_has_not_come_is_left_as_it_is(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEAVING, "vector,grafana")
    run = run_deploy(answers=there(clickhouse_common_static="26.3.9.8", vector="0.57.0-1"))
    assert run.matching("systemctl restart clickhouse-server")
    assert not run.matching(r"install .*(vector|grafana)=|restart (vector|grafana)")
    # the rest follows in the last turn
    assert not run.matching("cvat-environment")

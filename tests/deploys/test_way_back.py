"""What a part has is kept when it stops for another version, and comes back: the commands of a host, in a shell with stand-ins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cvat_analytics.config.versions import PREVIOUS, Step
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering import events_api_archive
from cvat_analytics.rendering.files import UNITS
from deploys import operations, previous, vector_operations
from tests.deploys.conftest import Deploy
from tests.deploys.test_upgrades import running, there

SYSTEMCTL = """#!/bin/sh
echo "$*" >> {here}/asked
case "$*" in
    *ExecMainStartTimestamp*) cat {here}/started 2>/dev/null ;;
    is-active*) echo active ;;
    "stop "*) [ ! -e {here}/stop-fails ] ;;
esac
"""
APT = "#!/bin/sh\necho apt-get >> {here}/asked\n[ ! -e {here}/apt-fails ] || { echo broken; exit 1; }\n"
CP = '#!/bin/sh\ncase "$*" in *buffer* | *.new) [ ! -e {here}/cp-fails ] || exit 1 ;; esac\nexec /bin/cp "$@"\n'


class Machine:
    """A directory in which the paths of a host lie, and programs that only note what they are asked."""

    def __init__(self, here: Path, unit: str) -> None:
        self.here, self.place = here, here / "previous" / unit
        self.place.mkdir(parents=True)
        for name in ("vector", "grafana", "clickhouse/store", "info", "state"):
            (here / name).mkdir(parents=True)
        for name, text in (
            ("systemctl", SYSTEMCTL),
            ("journalctl", "#!/bin/sh\n"),
            ("apt-get", APT),
            ("cp", CP),
        ):
            (here / name).write_text(text.replace("{here}", str(here)))
            (here / name).chmod(0o755)
        for package in ("vector", "grafana", "clickhouse-common-static"):
            self.dated(here / "info" / f"{package}.list", 1000)
        (here / "started").write_text("Thu 1970-01-01 00:15:00 UTC\n")
        self.dated(self.place / "open", 2000)

    @staticmethod
    def dated(path: Path, seconds: int) -> None:
        path.touch()
        os.utime(path, (seconds, seconds))

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        for path, name in {
            PREVIOUS: "previous",
            "/var/lib/vector": "vector",
            "/var/lib/grafana": "grafana",
            "/var/lib/clickhouse": "clickhouse",
            "/var/lib/dpkg/info": "info",
            "/var/lib/cvat-analytics": "state",
            "/opt/cvat-analytics": "opt",
        }.items():
            script = script.replace(path, str(self.here / name))
        return subprocess.run(
            ["sh"], input=script, text=True, capture_output=True, timeout=60, check=False,
            env={"PATH": f"{self.here}:/usr/bin:/bin"},
        )  # fmt: skip

    @property
    def asked(self) -> list[str]:
        path = self.here / "asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("failure", ["cp-fails", "stop-fails"])
def test_a_vector_whose_buffer_could_not_be_kept_is_not_started_in_its_new_version(
    tmp_path: Path, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, "vector")
    for name in ("buffer", "substitute"):
        (tmp_path / "vector" / name).mkdir()
    monkeypatch.setattr(vector_operations, "PREVIOUS", str(tmp_path / "none"))
    monkeypatch.setattr(vector_operations, "CHANGE", str(tmp_path / "none"))
    script = vector_operations._script("vector", "/etc/vector/vector.toml", "true", 3)
    (tmp_path / failure).touch()
    done = machine.run(script)
    assert done.returncode == 1
    assert "vector: what it has could not be kept in" in done.stderr
    assert "restart vector" not in machine.asked
    assert not (machine.place / "stopped").exists()
    assert not (machine.place / "data").exists()

    (tmp_path / failure).unlink()
    done = machine.run(script)
    assert done.returncode == 0, done.stderr
    assert sorted(each.name for each in (machine.place / "data").iterdir()) == ["buffer", "substitute"]
    assert (machine.place / "stopped").exists()
    assert machine.asked[-1] == "restart vector"


def test_a_clickhouse_that_could_not_be_stopped_is_not_started_in_its_new_version(
    tmp_path: Path, run_deploy: Deploy
) -> None:
    answers = there(clickhouse_common_static="26.3.9.8") | running("clickhouse-server")
    (command,) = run_deploy(answers=answers).matching("systemctl restart clickhouse-server")
    machine = Machine(tmp_path, "clickhouse-server")
    (tmp_path / "stop-fails").touch()
    assert machine.run(command).returncode == 1
    assert [line for line in machine.asked if line.startswith(("restart", "reset"))] == []


def test_what_was_started_by_others_since_the_package_came_counts_as_having_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "vector")
    (tmp_path / "vector" / "buffer").mkdir()
    listed = tmp_path / "info" / "vector.list"
    command = operations.stopped("vector")

    # a crash before apt: the older program was started once more
    (tmp_path / "started").write_text("Thu 1970-01-01 00:50:00 UTC\n")
    assert machine.run(command).returncode == 0
    assert (machine.place / "stopped").stat().st_mtime > 10_000
    assert (machine.place / "data" / "buffer").is_dir()

    # and one after it, 3000 s into 1970, with the package of 2500 s
    (machine.place / "stopped").unlink()
    (machine.place / "data" / "buffer").rmdir()
    machine.dated(listed, 2500)
    assert machine.run(command).returncode == 0
    assert (machine.place / "stopped").stat().st_mtime == 2500
    assert not (machine.place / "data" / "buffer").exists()


def test_a_clickhouse_that_was_started_by_others_is_not_brought_back_onto_what_it_has_written(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, "clickhouse-server")
    script = previous.back("clickhouse", [Step("clickhouse", "26.3.9.8", "26.8.19.9")], "true", 3)
    (machine.place / "files").touch()
    part = tmp_path / "clickhouse/store/abc/abcd/all_1_1_0"
    part.mkdir(parents=True)
    os.utime(part, (2700, 2700))
    assert "brought back: clickhouse" in machine.run(script).stdout
    (tmp_path / "started").write_text("Thu 1970-01-01 00:50:00 UTC\n")
    machine.dated(tmp_path / "info/clickhouse-common-static.list", 2500)
    machine.dated(machine.place / "open", 2000)
    assert machine.run(script).stdout.startswith("not brought back: ClickHouse 26.3.9.8 -> 26.8.19.9")


def test_grafanas_databases_are_all_there_after_a_second_way_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "grafana-server")
    database = tmp_path / "grafana" / "grafana.db"
    script = previous.back("grafana", [], "true", 3)
    (machine.place / "files").touch()
    database.write_text("of before")
    assert machine.run(operations.stopped("grafana-server")).returncode == 0
    database.write_text("of the newer version")

    said = machine.run(script).stdout.splitlines()[-1]
    assert "brought back: grafana, with its data of 2" in said
    assert f"what it had since is in {tmp_path}/grafana/newer " in said
    assert database.read_text() == "of before"
    database.write_text("went on")
    assert machine.run(script).returncode == 0
    assert database.read_text() == "of before"
    kept = {path.read_text() for path in (tmp_path / "grafana").glob("newer*/grafana.db")}
    assert kept == {"of the newer version", "went on"}


def test_a_way_back_on_which_the_packages_fail_leaves_the_part_running_with_its_data_and_says_so(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, "grafana-server")
    database, settings = tmp_path / "grafana" / "grafana.db", tmp_path / "grafana.ini"
    script = previous.back("grafana", [], "true", 3)
    database.write_text("of before")
    settings.write_text("of before")
    (machine.place / "files").write_text(f"{settings}\n")
    subprocess.run(["tar", "-cpPf", machine.place / "files.tar", settings], check=True)
    machine.run(operations.stopped("grafana-server"))
    database.write_text("of the newer version")
    settings.write_text("of the newer version")

    (tmp_path / "apt-fails").touch()
    done = machine.run(script)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        f"not brought back: grafana: its packages could not be brought back, and its data is as it was ({machine.place}/back.log says why); "
        "grafana-server was started with what is there, and is active"
    )
    assert "start grafana-server" in machine.asked
    assert (database.read_text(), settings.read_text()) == ("of the newer version", "of the newer version")
    assert (machine.place / "open").exists()

    (tmp_path / "apt-fails").unlink()
    assert machine.run(script).returncode == 0
    assert (database.read_text(), settings.read_text()) == ("of before", "of before")


def test_grafanas_database_stays_where_only_the_older_version_has_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "grafana-server")
    database = tmp_path / "grafana" / "grafana.db"
    (machine.place / "files").touch()
    (machine.place / "data").mkdir()
    (machine.place / "data" / "grafana.db").write_text("of days ago")
    database.write_text("of today")
    assert machine.run(previous.back("grafana", [], "true", 3)).stdout.startswith("brought back: grafana")
    assert database.read_text() == "of today"


def test_pins_and_files_that_the_deploy_takes_away_come_back_too(run_deploy: Deploy) -> None:
    answers = there(clickhouse_common_static="26.3.9.8") | running("clickhouse-server")
    gone = ["/etc/clickhouse-server/config.d/gone.xml", "/etc/cvat-analytics/secrets/clickhouse-server/gone"]
    noted = [f"{'0' * 64} 644 root root {path}" for path in (*gone, "/etc/vector/vector.toml")]
    run = run_deploy(answers=answers | {"cat /var/lib/cvat-analytics/deployed-files": noted})
    (kept,) = run.matching(r"tar -cpPf \S+clickhouse-server/files.tar")
    assert [path for path in gone if path not in kept] == []
    assert "/etc/apt/preferences.d/cvat-analytics-clickhouse" in kept
    assert "vector" not in kept


@pytest.mark.parametrize("component", ["events_api", "gateway"])
def test_what_comes_with_this_project_is_kept_before_it_changes_and_comes_back_whole(
    run_deploy: Deploy, tmp_path: Path, component: str
) -> None:
    unit = UNITS[component]
    program, settings = tmp_path / "opt/events-api", tmp_path / "settings"
    answers = {"events-api.sha256": ["a" * 64], "nginx.conf; echo earlier": ["earlier"]} | running(unit)
    groups = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", "events_api", "gateway")}
    address = {"grafana_root_url": "https://analytics.example.org/analytics/"}
    run = run_deploy(groups=groups, settings=address, answers=answers)
    place = f"{PREVIOUS}/{unit}"
    # whoever was removed, or has got another password, stays so
    (files,) = run.matching(f"tar -cpPf {place}/files.tar")
    assert f"/etc/systemd/system/{unit}.service" in files
    assert "/secrets/" not in files
    assert "ca.pem" not in files
    kept, opened = run.position(f"tar -cpPf {place}/files.tar"), run.position(f"> {place}/open")
    assert kept < opened < run.position(f"systemctl restart {unit}")
    text = run.commands["@fake/a"][opened]
    assert (
        "the events API aaaaaaaaaaaa -> " if component == "events_api" else "the gateway earlier -> "
    ) in text
    # once it is right nothing is kept anew
    same = answers | {
        "events-api.sha256": [events_api_archive.digest("3.11", "amd64")],
        "nginx.conf; echo earlier": [gateway.digest()],
    }
    assert not run_deploy(groups=groups, settings=address, answers=same).matching(f"> {place}/open")

    machine = Machine(tmp_path, unit)
    trees = [each for each in run.matching("cp -a /opt/cvat-analytics/events-api ") if place in each]
    assert len(trees) == (component == "events_api")
    for directory, digest, text in ((program, "old", "of before"), (program, "new", "of the newer version")):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "main.py").write_text(text)
        (tmp_path / "state/events-api.sha256").write_text(digest)
        settings.write_text(text)
        if digest == "old":
            (machine.place / "files").write_text(f"{settings}\n")
            subprocess.run(["tar", "-cpPf", machine.place / "files.tar", settings], check=True)
            for command in trees:
                assert machine.run(command).returncode == 0
    back = previous.back(component, [Step(component, "old", "new")], "true", 3)
    if component == "events_api":
        (tmp_path / "cp-fails").touch()
        done = machine.run(back)
        assert "not brought back: events_api: its program could not be brought back" in done.stdout
        assert (program / "main.py").read_text() == settings.read_text() == "of the newer version"
        # so that the next deploy unpacks it anew
        assert not (tmp_path / "state/events-api.sha256").exists()
        (tmp_path / "cp-fails").unlink()
    done = machine.run(back)
    assert done.stdout.splitlines()[-1].startswith(f"brought back: {component}"), done.stdout + done.stderr
    assert settings.read_text() == "of before"
    if component == "events_api":
        assert (program / "main.py").read_text() == "of before"
        assert (tmp_path / "state/events-api.sha256").read_text() == "old"
    assert machine.asked[-1] == f"restart {unit}"
    assert "apt-get" not in machine.asked


def test_no_service_is_started_on_the_side_while_packages_are_exchanged(run_deploy: Deploy) -> None:
    installs = run_deploy().matching("noninteractive apt-get .* install ")
    assert len(installs) >= 3
    assert all("NEEDRESTART_SUSPEND=1" in each for each in installs)
    assert "NEEDRESTART_SUSPEND=1 DEBIAN" in previous.back("vector", [], "true", 3)

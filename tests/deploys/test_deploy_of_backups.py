"""Backups on a host: with a target everything that makes them is there, without one nothing of it is left, and what could not work is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from cvat_analytics.credentials import secrets
from cvat_analytics.operate.backup import keys, on_hosts, own_files
from deploys import operations, report

SECRETS = "/etc/cvat-analytics/secrets/cvat-analytics-backup"
UNITS = "/etc/systemd/system"
ONE = {"backup_target": "/mnt/backup/cvat"}
FAR = {"backup_target": "sftp:keeper@store.example.org:/srv/cvat"}
THREE = {"clickhouse": ["@fake/a"], "vector": ["@fake/b"], "grafana": ["@fake/c"], "events_api": ["@fake/d"]}
ADDRESSES = {f"@fake/{host}": {"address": f"10.0.0.{number}"} for number, host in enumerate("abcd", 1)}


@pytest.fixture
def every() -> list[tuple[str, str]]:
    """Return the files that a deploy sends to any host: path and content."""
    return []


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, every: list[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return the files that a deploy sends, by path: mode and content; of several hosts those of one."""
    found: dict[str, tuple[str, str]] = {}
    archive = operations.packed

    def noted(files: Any) -> str:
        found.update({file.path: (file.mode, file.content) for file in files})
        every.extend((file.path, file.content) for file in files)
        return archive(files)

    monkeypatch.setattr(operations, "packed", noted)
    return found


def told(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_host_gets_restic_the_agent_its_secrets_and_two_timers(
    run_deploy: Any, sent: dict[str, tuple[str, str]]
) -> None:
    run = run_deploy(settings=ONE)
    (installed,) = run.matching(r"noninteractive apt-get .* install restic python3")
    assert run.matching("mkdir /opt/cvat-analytics/backup.new")
    mode, text = sent["/etc/cvat-analytics/backup/agent.json"]
    agent = json.loads(text)
    assert (mode, agent["target"], agent["staging"]) == (
        "600",
        "/mnt/backup/cvat",
        "/var/lib/clickhouse/backups",
    )
    assert agent["grafana_database"] == "/var/lib/grafana/grafana.db"
    assert agent["journal"] == "/var/lib/vector/journal"
    derived = keys.derived_password(run.secrets[keys.RECOVERY_KEY])
    assert sent[f"{SECRETS}/repository_password"] == ("600", derived)
    assert sent[f"{SECRETS}/clickhouse_password"] == ("600", run.secrets["clickhouse_admin"])
    assert json.loads(sent["/etc/cvat-analytics/backup/checks.json"][1])["queries"]
    assert run.matching(r"install -m 600 .*/etc/cvat-analytics/backup/inventory.tar.age")
    # the key that opens everything is on no host
    assert [path for path, (_, content) in sent.items() if run.secrets[keys.RECOVERY_KEY] in content] == []
    # its unit may write there only where it is there
    assert run.position(
        "install -d -o clickhouse -g clickhouse -m 750 /var/lib/clickhouse/backups"
    ) < run.position("systemctl restart cvat-analytics-backup.timer")
    timer = sent[f"{UNITS}/cvat-analytics-backup.timer"][1]
    assert "OnCalendar=*-*-* 02:30:00\nPersistent" not in timer
    assert "OnCalendar=*-*-* 02:30:00\n" in timer
    for unit in ("cvat-analytics-backup", "cvat-analytics-backup-verify"):
        assert run.position(f"systemctl restart {unit}.timer") > run.position(
            "install -d -m 700 .*/mnt/backup/cvat"
        )
        service = sent[f"{UNITS}/{unit}.service"][1]
        assert "ReadWritePaths=/mnt/backup/cvat\n" in service
        assert "NoNewPrivileges=yes" in service
        assert "RequiresMountsFor=/mnt/backup/cvat\n" in service
    assert run.commands["@fake/a"].index(installed) < run.position(
        "systemctl restart cvat-analytics-backup.timer"
    )
    assert not run.matching("ssh-keygen")


def test_several_hosts_each_back_up_what_they_have_and_log_in_with_a_key_of_their_own(
    run_deploy: Any,
    sent: dict[str, tuple[str, str]],
    every: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (note := tmp_path / "report").touch()
    monkeypatch.setenv(report.FILE, str(note))
    public = "ssh-ed25519 AAAA cvat-analytics-backup of a host"
    run = run_deploy(THREE, FAR, ADDRESSES, answers={f"cat {SECRETS}/ssh_key.pub": [public]})
    for host in ("@fake/a", "@fake/b", "@fake/c"):
        assert run.matching(f"ssh-keygen .* -f {SECRETS}/ssh_key.new", host)
        assert run.matching(r"apt-get .* install restic python3 openssh-client", host)
    # what keeps nothing is not backed up
    assert not run.matching("restic|ssh-keygen|systemctl .*cvat-analytics-backup", "@fake/d")
    assert [bool(run.matching("restart cvat-analytics-backup-verify.timer", host)) for host in THREE_HOSTS] == [
        True, False, False,
    ]  # fmt: skip
    # the one of ClickHouse waits for the others, and it alone forgets what is too old
    (store,) = {text for path, text in every if path.endswith("backup.service") and "prune" in text}
    assert "--again 600 create --wait 2700\n" in store
    (agent,) = {
        text
        for path, text in every
        if path.endswith("agent.json") and "prune" not in text and json.loads(text)["clickhouse_url"]
    }
    assert json.loads(agent)["others"] == ["grafana of @fake/c", "journal of @fake/b"]
    assert len({text for path, text in every if path.endswith("backup.service")}) == 2
    mode, ssh = sent["/etc/ssh/ssh_config.d/cvat-analytics-backup.conf"]
    assert (mode, "Match host store.example.org localuser root\n" in ssh) == ("644", True)
    keys_told = [each for each in told(note) if each["what"] == "backup key"]
    assert {(each["host"], each["login"], each["key"], each["new"]) for each in keys_told} == {
        (host, "keeper@store.example.org", public, "yes") for host in THREE_HOSTS
    }
    assert {each["host"] for each in told(note) if each["what"] == "backup begins"} == set(THREE_HOSTS)


def test_the_operator_s_files_are_sent_again_only_when_they_have_changed(
    run_deploy: Any, tmp_path: Path
) -> None:
    (tmp_path / "users.json").write_text("{}")
    files = own_files.gathered(tmp_path / "hosts.py", tmp_path / "secrets.json")
    key = secrets.load(tmp_path / "secrets.json")[keys.RECOVERY_KEY]
    there = {
        "ls -1d -- ": ["/etc/cvat-analytics/backup/inventory.tar.age"],
        "inventory.tar.age.digest": [own_files.digest(files, key)],
    }
    assert not run_deploy(settings=ONE, answers=there).matching("install -m 600")
    (tmp_path / "users.json").write_text("{} ")
    assert run_deploy(settings=ONE, answers=there).matching("install -m 600")


THREE_HOSTS = ("@fake/a", "@fake/b", "@fake/c")


def test_without_a_target_nothing_is_there_and_nothing_is_left(run_deploy: Any) -> None:
    assert not run_deploy().matching("restic|(systemctl|install|rm) .*cvat-analytics-backup")
    there = [
        "/etc/cvat-analytics/backup",
        f"{UNITS}/cvat-analytics-backup.timer",
        SECRETS,
        "/opt/cvat-analytics/backup",
    ]
    run = run_deploy(answers={"ls -1d -- ": there})
    stop = run.position("systemctl disable --now -q cvat-analytics-backup.timer")
    (removal,) = run.matching("rm -rf /etc/cvat-analytics/backup")
    assert all(path in removal for path in there)
    assert stop < run.commands["@fake/a"].index(removal)


@pytest.mark.parametrize(
    ("settings", "answers", "message"),
    [
        ({"backup_target": "s3:https://store/bucket"}, {}, r"has no backup_s3_access_key. Give it with `cvat-analytics secrets set"),
        (
            ONE | {"backup_schedule": "2020-01-01"}, {"systemd-analyze": ["bad"]},
            r"host @fake/a: setting 'backup_schedule': '2020-01-01' is no time that comes, says its systemd",
        ),
    ],
    ids=["no key for S3", "a time that never comes"],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_the_first_change(
    run_deploy: Any, settings: dict[str, Any], answers: dict[str, Any], message: str
) -> None:
    with pytest.raises(PyinfraError, match=message):
        run_deploy(settings=settings, answers=answers)


def test_a_key_of_s3_is_in_a_file_of_root_s_and_in_no_command(
    run_deploy: Any, sent: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    secrets.give(tmp_path / "secrets.json", "backup_s3_access_key", "who-asks")
    secrets.give(tmp_path / "secrets.json", "backup_s3_secret_key", "and-may")
    run = run_deploy(settings={"backup_target": "s3:https://store/bucket"})
    assert sent[f"{SECRETS}/s3"] == ("600", "AWS_ACCESS_KEY_ID=who-asks\nAWS_SECRET_ACCESS_KEY=and-may\n")
    assert not re.search("who-asks|and-may", "\n".join(run.commands["@fake/a"]))


@pytest.mark.parametrize("has", [True, False])
def test_an_offline_bundle_brings_restic_along_or_is_refused(
    run_deploy: Any, tmp_path: Path, has: bool
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    names = [
        "clickhouse-common-static_26.8.19.9",
        "clickhouse-server_26.8.19.9",
        "clickhouse-client_26.8.19.9",
    ]
    for name in [
        *names,
        "vector_0.58.0-1",
        "grafana_13.2.3",
        *(["restic_0.14.0-1", "python3_3.11.2-1"] if has else []),
    ]:
        (bundle / f"{name}_amd64.deb").write_bytes(b"deb")
    settings = ONE | {"package_source": str(bundle)}
    if not has:
        with pytest.raises(
            PyinfraError,
            match=r"has no restic, python3 \(restic_VERSION_amd64.deb\), which host @fake/a needs",
        ):
            run_deploy(settings=settings)
        return
    run = run_deploy(settings=settings)
    assert run.matching(r"install .*/bundle/restic_0.14.0-1_amd64.deb")
    assert not run.matching("apt-get .* install restic")


def test_a_target_on_the_disk_of_the_data_is_said(
    run_deploy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (note := tmp_path / "report").touch()
    monkeypatch.setenv(report.FILE, str(note))
    run_deploy(settings=ONE, answers={"place()": ["same"]})
    (said,) = {each["text"] for each in told(note) if each["what"] == "note"}
    assert said.startswith(
        "host @fake/a: setting 'backup_target': /mnt/backup/cvat is on the disk of ClickHouse's own data"
    )


def test_the_agent_runs_from_where_it_is_installed(tmp_path: Path) -> None:
    """Nothing of this project's is on a host but what is in the archive."""
    import io
    import subprocess
    import sys
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(on_hosts.archive())) as archive:
        archive.extractall(tmp_path, filter="data")
    said = subprocess.run(
        [sys.executable, "-S", "-m", "cvat_analytics.operate.backup.agent", "--help"], cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "create" in said.stdout

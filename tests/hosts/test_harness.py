"""The test hosts themselves: they boot, let people in, and install the stand-in packages from nowhere but the mirror."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cvat_analytics.credentials import secrets
from tests.deploys.conftest import DEBIAN_12, OFFERS

from .command import PROGRAM, Outcome, cvat_analytics
from .conftest import HostFactory, give_up
from .docker_engine import HostsUnavailable, engine
from .host import SUDO_PASSWORD, Host, Result
from .lab import LABEL, Lab, remove_orphans
from .repository import Repository, RepositoryServer


def use_mirror(host: Host, mirror: Repository) -> None:
    """Make the mirror the host's package source, as a deploy does."""
    host.write("/etc/apt/keyrings/mirror.asc", mirror.key.read_text())
    host.write(
        "/etc/apt/sources.list.d/mirror.sources",
        f"Types: deb\nURIs: {mirror.url}\nSuites: ./\nSigned-By: /etc/apt/keyrings/mirror.asc\n",
    )
    host.run("apt-get -q update")


@pytest.mark.parametrize("system", ["bookworm", "trixie"])
def test_a_host_boots_and_people_log_in_over_ssh_with_sudo(host_factory: HostFactory, system: str) -> None:
    host = host_factory(system)

    assert host.run("systemctl is-system-running").output == "running\n"
    assert f"VERSION_CODENAME={system}" in host.read("/etc/os-release")
    assert host.ssh("id -un; sudo -n id -un").output == "ops\nroot\n"
    assert host.ssh("sudo -n id -un", user="ops-password").exit_code == 1
    assert host.ssh("sudo -S id -un", user="ops-password", stdin=f"{SUDO_PASSWORD}\n").output == "root\n"
    assert host.ssh("sudo -S id -un", user="ops-password", stdin="wrong\n").exit_code == 1


def test_a_reboot_keeps_files_and_address_but_no_process(host_factory: HostFactory) -> None:
    host = host_factory()
    host.write("/etc/kept", "yes")
    host.run("systemd-run --unit=gone sleep 600")
    host.reboot()

    assert host.read("/etc/kept") == "yes"
    assert host.run("systemctl is-active gone", check=False).output == "inactive\n"
    assert host.ssh("hostname").output.strip() == host.name
    assert host.ip in host.run("hostname -I").output.split()


def test_a_changed_mirror_is_refused_by_apt_and_none_is_reached_when_the_network_is_cut(
    host_factory: HostFactory, mirror: Repository, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    changed = repository_server.complete()
    index = changed.directory / "Packages.gz"
    index.write_bytes(index.read_bytes() + b"\0")
    with pytest.raises(AssertionError, match=r"Hash Sum mismatch|unexpected size"):
        use_mirror(host, changed)

    use_mirror(host, mirror)
    asked = len(repository_server.requests)
    host.cut_network()

    assert host.run(f"curl -sS -m 5 {mirror.url}Packages", check=False).exit_code != 0
    assert host.run("apt-get update -q --error-on=any", check=False).exit_code != 0
    assert host.ssh("sudo -n id -un").output == "root\n"
    host.reboot()
    assert host.run(f"curl -sS -m 5 {mirror.url}Packages", check=False).exit_code != 0
    assert repository_server.requests[asked:] == []


def test_a_host_reaches_nothing_beyond_its_networks(untouched_host: Host) -> None:
    host = untouched_host

    assert host.run("ip route show default").output == ""
    assert host.run("ip route get 192.0.2.1", check=False).exit_code != 0


def test_files_and_units_show_every_change(untouched_host: Host) -> None:
    host = untouched_host
    host.write("/etc/sample/one", "a")
    try:
        before = host.files("/etc/sample", "/etc/absent")
        units = host.units("ssh")

        assert list(before) == ["/etc/sample/one"]
        host.run("touch /etc/sample/one")
        assert host.files("/etc/sample") != before
        assert host.units("ssh") == units
        host.run("systemctl restart ssh")
        assert host.units("ssh") != units
    finally:
        host.run("rm -r /etc/sample")


def test_what_a_command_says_comes_whole_and_what_it_leaves_running_is_not_waited_for(
    untouched_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "head -c 300000 /dev/zero | tr '\\0' x; echo error >&2; pwd >&2; id -un >&2; sleep 600 & exit 3"
    results = [untouched_host.run(command, check=False)]
    # as Docker does it, where nobody may enter from beside
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    results.append(untouched_host.run(command, check=False))
    untouched_host.run("pkill sleep")
    assert results == [Result(3, "x" * 300000, "error\n/\nroot\n")] * 2


@pytest.mark.parametrize(
    ("user", "programs", "missing"),
    [
        (1000, {"dockerd"}, "only root can start one"),
        (0, set(), "the program dockerd is not installed: run tests/hosts/prepare as root"),
    ],
)
def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, programs: set[str], missing: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("shutil.which", lambda name: name if name in programs else None)

    with pytest.raises(HostsUnavailable, match=missing) as raised, engine():
        pass
    assert f"no Docker daemon answers at unix://{tmp_path}/absent.sock" in str(raised.value)


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [("true", pytest.fail.Exception), ("", pytest.skip.Exception)],
    ids=["in CI", "elsewhere"],
)
def test_missing_hosts_fail_in_ci_only(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)

    with pytest.raises(outcome, match="test hosts: no daemon"):
        give_up(HostsUnavailable("no daemon"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--version"], 0), (["deploy", "--inventory", "none.py"], 2), (["status", "--nonsense"], 2)],
    ids=["fine", "refused", "misspelt"],
)
def test_a_command_says_and_ends_as_the_program_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300, check=False)

    assert cvat_analytics(*arguments) == Outcome(done.returncode, done.stdout, done.stderr)
    assert done.returncode == code


def test_a_deploy_says_and_ends_as_the_program_s_does(tmp_path: Path) -> None:
    """Against one of pyinfra's fake hosts, as far as what it would change is asked."""
    answers = {"os-release": DEBIAN_12.splitlines(), "apt-cache": OFFERS.splitlines()}
    data = {
        "fake_responses": answers,
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        "open_to_network": ["clickhouse"],
    }
    path = tmp_path / "hosts.py"
    # not the one whose plugin would have to be fetched
    path.write_text(
        f"clickhouse = vector = [('@fake/a', {data | {'address': '10.0.0.1'}!r})]\n"
        f"grafana = [('@fake/b', {data | {'address': '10.0.0.2'}!r})]\n"
    )
    secrets.init(tmp_path / "secrets.json")
    arguments = ["deploy", "--inventory", str(path), "--dry", "--limit", "@fake/a"]
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=300, check=False)
    outcome = cvat_analytics(*arguments)
    assert outcome == Outcome(done.returncode, done.stdout, done.stderr)
    assert "would change  clickhouse: configuration  on @fake/a" in outcome.output, outcome.text


def test_what_hosts_run_is_compiled_beforehand(untouched_host: Host) -> None:
    verbose = "/opt/standin/programs/run vector -v -c 'import cvat_analytics.embedded.{}' 2>&1"
    for program in ("vector_substitute.service", "viewer.__main__", "engine"):
        loaded = untouched_host.run(verbose.format(program)).output
        assert f"{program.replace('.', '/')}.cpython" in loaded
        assert [
            line for line in loaded.splitlines() if re.search(r"code object from '?/opt.*\.py'?$", line)
        ] == []


def test_preparing_a_machine_that_has_everything_changes_nothing() -> None:
    done = subprocess.run([Path(__file__).with_name("prepare")], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hosts_of_a_killed_run_are_removed(untouched_host: Host, host_lab: Lab) -> None:
    alive = untouched_host
    left = host_lab.client.api.create_container(
        alive.container.attrs["Image"],
        command=["true"],
        labels={LABEL: str(2**22 + 1)},
        network_disabled=True,
    )["Id"]
    remove_orphans(host_lab.client)

    names = {container.id for container in host_lab.client.containers.list(all=True)}
    assert left not in names
    assert alive.container.id in names

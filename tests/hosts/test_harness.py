"""The test hosts themselves: they boot, let people in, and install the stand-in packages from nowhere but the mirror."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from . import packages
from .conftest import HostFactory, give_up
from .docker_engine import HostsUnavailable, engine
from .host import SUDO_PASSWORD, Host
from .lab import LABEL, Lab, remove_orphans
from .repository import Repository, RepositoryServer

CLICKHOUSE = ("clickhouse-common-static", "clickhouse-server", "clickhouse-client")


def use_mirror(host: Host, mirror: Repository) -> None:
    """Make the mirror the host's package source, as a deploy does."""
    host.write("/etc/apt/keyrings/mirror.asc", mirror.key.read_text())
    host.write(
        "/etc/apt/sources.list.d/mirror.sources",
        f"Types: deb\nURIs: {mirror.url}\nSuites: ./\nSigned-By: /etc/apt/keyrings/mirror.asc\n",
    )
    host.run("apt-get -q update")


def install(host: Host, *names: str) -> None:
    """Install stand-in packages in the pinned versions."""
    versions = packages.default_versions()
    wanted = " ".join(f"{name}={versions[name]}" for name in names)
    host.run(f"DEBIAN_FRONTEND=noninteractive apt-get -q -y install {wanted}")


@pytest.mark.parametrize("system", ["bookworm", "trixie"])
def test_a_host_boots_and_people_log_in_over_ssh_with_sudo(host_factory: HostFactory, system: str) -> None:
    host = host_factory(system)

    assert host.run("systemctl is-system-running").output == "running\n"
    assert f"VERSION_CODENAME={system}" in host.read("/etc/os-release")
    assert host.ssh("id -un; sudo -n id -un").output == "ops\nroot\n"
    assert host.ssh("sudo -n id -un", user="ops-password").exit_code == 1
    assert host.ssh("sudo -S id -un", user="ops-password", stdin=f"{SUDO_PASSWORD}\n").output == "root\n"
    assert host.ssh("sudo -S id -un", user="ops-password", stdin="wrong\n").exit_code == 1


def test_hosts_reach_each_other_and_do_not_mix(host_factory: HostFactory) -> None:
    one, other = host_factory(), host_factory()
    for host in (one, other):
        host.run("systemd-run --unit=listener python3 -c 'import time; time.sleep(600)'")

    assert one.ip != other.ip
    assert one.run(
        f"timeout 5 bash -c 'read -r line < /dev/tcp/{other.ip}/22 && echo $line'"
    ).output.startswith("SSH-2.0")
    one.run("systemctl stop listener")
    assert other.run("systemctl is-active listener").output == "active\n"


def test_a_reboot_keeps_files_and_address_but_no_process(host_factory: HostFactory) -> None:
    host = host_factory()
    host.write("/etc/kept", "yes")
    host.run("systemd-run --unit=gone sleep 600")
    host.reboot()

    assert host.read("/etc/kept") == "yes"
    assert host.run("systemctl is-active gone", check=False).output == "inactive\n"
    assert host.ssh("hostname").output.strip() == host.name
    assert host.ip in host.run("hostname -I").output.split()


@pytest.mark.parametrize("system", ["bookworm", "trixie"])
def test_stand_ins_install_like_the_vendors_packages(
    host_factory: HostFactory, mirror: Repository, system: str
) -> None:
    host = host_factory(system)
    use_mirror(host, mirror)
    install(host, *CLICKHOUSE, "vector", "grafana")

    versions = packages.default_versions()
    installed = host.run(
        "dpkg-query -W -f '${Package} ${Version}\\n' 'clickhouse-*' vector grafana musl"
    ).output
    assert dict(line.split() for line in installed.splitlines()) == versions
    assert host.run(
        "stat -c '%a %U:%G' /etc/clickhouse-server /etc/clickhouse-server/config.xml"
    ).output.splitlines() == [
        "700 clickhouse:clickhouse",
        "400 clickhouse:clickhouse",
    ]
    assert host.run("stat -c '%a %U:%G' /etc/grafana/grafana.ini").output == "640 root:grafana\n"
    assert host.run("test -e /etc/vector", check=False).exit_code == 1
    assert "systemd-journal" in host.run("id -nG vector").output
    states = {
        unit: state.split()[:2]
        for unit, state in host.units("clickhouse-server", "vector", "grafana-server").items()
    }
    assert {unit: sorted(state) for unit, state in states.items()} == {
        "clickhouse-server": ["0", "inactive"],
        "vector": ["0", "inactive"],
        "grafana-server": ["0", "inactive"],
    }
    assert host.run(
        "systemctl is-enabled clickhouse-server vector grafana-server", check=False
    ).output.split() == [
        "enabled",
        "disabled",
        "disabled",
    ]
    assert versions["clickhouse-server"] in host.run("clickhouse-server --version").output
    assert versions["vector"] in host.run("vector --version").output
    assert versions["grafana"] in host.run("grafana-server --version").output


@pytest.mark.parametrize("system", ["bookworm", "trixie"])
def test_clickhouse_answers_on_the_packages_own_configuration(
    host_factory: HostFactory, mirror: Repository, system: str
) -> None:
    host = host_factory(system)
    use_mirror(host, mirror)
    install(host, *CLICKHOUSE)
    host.run("systemctl start clickhouse-server")

    assert host.run("clickhouse-client --query 'SELECT 1'").output == "1\n"
    assert host.run(
        "ps -o user= -p $(systemctl show --value -p MainPID clickhouse-server)"
    ).output.split() == ["clickhouse"]
    missing = host.run("clickhouse-client --query 'SELECT 2; SELECT * FROM missing; SELECT 3'", check=False)
    assert (missing.exit_code, missing.output) == (60, "2\n")
    assert "UNKNOWN_TABLE" in missing.error
    assert host.run("clickhouse-client --multiquery < /dev/null").output == ""
    assert host.run("clickhouse-client --user nobody --query 'SELECT 1'", check=False).exit_code == 516 % 256
    assert host.run("clickhouse-client --port 9999 --query 'SELECT 1'", check=False).exit_code == 210
    assert host.run("clickhouse-client --nonsense", check=False).exit_code == 552 % 256
    host.run("systemctl stop clickhouse-server")
    assert host.run("clickhouse-client --query 'SELECT 1'", check=False).exit_code == 210


def test_vector_validates_with_health_checks_unless_told_not_to(
    host_factory: HostFactory, mirror: Repository
) -> None:
    host = host_factory()
    use_mirror(host, mirror)
    install(host, "vector")

    without = host.run("vector validate", check=False)
    assert (without.exit_code, "vector.yaml" in without.error) == (78, True)
    host.write(
        "/etc/vector/sink.toml", '[sinks.store]\ntype = "clickhouse"\nendpoint = "http://127.0.0.1:1"\n'
    )
    program = "/opt/standin/programs/run vector /opt/standin/programs/vector_healthcheck.py"
    down = host.run(f"{program} /etc/vector/sink.toml", check=False)
    assert (down.exit_code, "Connection refused" in down.error) == (78, True)
    host.write("/etc/vector/off.toml", host.read("/etc/vector/sink.toml") + "healthcheck.enabled = false\n")
    assert host.run(f"{program} /etc/vector/off.toml").exit_code == 0


def test_a_host_whose_network_is_cut_reaches_no_package_source(
    host_factory: HostFactory, mirror: Repository, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    use_mirror(host, mirror)
    asked = len(repository_server.requests)
    host.cut_network()

    assert host.run(f"curl -sS -m 5 {mirror.url}Packages", check=False).exit_code != 0
    assert host.run("apt-get update -q --error-on=any", check=False).exit_code != 0
    assert host.ssh("sudo -n id -un").output == "root\n"
    host.reboot()
    assert host.run(f"curl -sS -m 5 {mirror.url}Packages", check=False).exit_code != 0
    assert repository_server.requests[asked:] == []


def test_a_host_reaches_nothing_beyond_its_networks(host_factory: HostFactory) -> None:
    host = host_factory()

    assert host.run("ip route show default").output == ""
    assert host.run("ip route get 192.0.2.1", check=False).exit_code != 0


def test_apt_prefers_the_mirror_only_when_it_is_pinned(
    host_factory: HostFactory, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    mirror = repository_server.complete()
    mirror.remove("clickhouse-server")
    use_mirror(host, mirror)
    host.offer_debian(repository_server.debian())
    host.run("apt-get -q update")

    assert packages.DECOY_VERSION in host.run("apt-cache policy clickhouse-server | grep Candidate").output
    address = mirror.url.split("/")[2].split(":")[0]
    host.write(
        "/etc/apt/preferences.d/mirror",
        f'Package: *\nPin: origin "{address}"\nPin-Priority: 900\n\n'
        "Package: clickhouse-*\nPin: release o=Debian\nPin-Priority: -1\n",
    )
    assert "(none)" in host.run("apt-cache policy clickhouse-server | grep Candidate").output


def test_an_unsigned_or_changed_mirror_is_refused_by_apt(
    host_factory: HostFactory, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    mirror = repository_server.complete()
    index = mirror.directory / "Packages.gz"
    index.write_bytes(index.read_bytes() + b"\0")

    with pytest.raises(AssertionError, match=r"Hash Sum mismatch|unexpected size"):
        use_mirror(host, mirror)


def test_the_bundle_lists_what_it_holds(mirror: Repository) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=mirror.directory,
        capture_output=True,
        text=True,
    )
    held = {line.split(":")[0] for line in checked.stdout.splitlines()}

    assert checked.returncode == 0, checked.stdout
    assert held == {file.name for file in mirror.directory.iterdir() if file.suffix in {".deb", ".zip"}}
    with zipfile.ZipFile(mirror.plugin) as archive:
        assert f"{packages.PLUGIN}/plugin.json" in archive.namelist()


def test_another_version_can_be_offered(
    host_factory: HostFactory, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    mirror = repository_server.complete()
    mirror.add("vector", "0.59.0-1")
    use_mirror(host, mirror)

    assert host.run("apt-cache madison vector | cut -d'|' -f2").output.split() == [
        "0.59.0-1",
        packages.default_versions()["vector"],
    ]


@pytest.mark.parametrize("system", ["fedora", "debian-11", "ubuntu-24.04"])
def test_a_host_can_pretend_to_be_another_system(host_factory: HostFactory, system: str) -> None:
    host = host_factory()
    host.pretend_os(system)
    identifier, _, version = system.partition("-")

    claimed = host.run('. /etc/os-release; echo "$ID $VERSION_ID"').output.split()
    assert claimed[0] == identifier
    assert version in ("", claimed[1])


@pytest.mark.parametrize("system", ["bookworm", "trixie"])
def test_systemd_hands_credentials_to_a_sandboxed_unit(host_factory: HostFactory, system: str) -> None:
    host = host_factory(system)
    host.write("/etc/secret", "sesame", mode=0o600)
    sandbox = "ProtectSystem=full ProtectHome=yes PrivateTmp=yes PrivateDevices=yes NoNewPrivileges=yes RestrictNamespaces=yes"
    properties = " ".join(
        f"-p {option}" for option in ["User=ops", "LoadCredential=word:/etc/secret", *sandbox.split()]
    )

    # systemd-run would fill in the variable itself, unless doubled
    shown = host.run(f"systemd-run -q {properties} --wait --pipe sh -c 'cat $$CREDENTIALS_DIRECTORY/word'")
    assert shown.output == "sesame"


def test_files_and_units_show_every_change(host_factory: HostFactory) -> None:
    host = host_factory()
    host.write("/etc/sample/one", "a")
    before = host.files("/etc/sample", "/etc/absent")
    units = host.units("ssh")

    assert list(before) == ["/etc/sample/one"]
    host.run("touch /etc/sample/one")
    assert host.files("/etc/sample") != before
    assert host.units("ssh") == units
    host.run("systemctl restart ssh")
    assert host.units("ssh") != units


def test_pyinfra_reaches_the_hosts_of_a_written_inventory(
    host_factory: HostFactory, inventory: Callable[..., Path], tmp_path: Path
) -> None:
    host = host_factory()
    path = inventory(host, database="sample")
    deploy = tmp_path / "deploy.py"
    deploy.write_text(
        "from pyinfra import host\nfrom pyinfra.operations import server\n"
        "server.shell(commands=[f'id -un > /etc/reached; echo {host.data.database} {host.data.address} >> /etc/reached'])\n"
    )
    program = Path(sys.executable).with_name("pyinfra")
    done = subprocess.run(
        [program, "-y", path, deploy], capture_output=True, text=True, timeout=600, cwd=tmp_path
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert host.read("/etc/reached").split() == ["root", "sample", host.ip]


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


def test_preparing_a_machine_that_has_everything_changes_nothing() -> None:
    done = subprocess.run([Path(__file__).with_name("prepare")], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hosts_of_a_killed_run_are_removed(host_factory: HostFactory, host_lab: Lab) -> None:
    alive = host_factory()
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

"""The real deploy command against real systemd hosts over SSH: fresh, repeated, interrupted, on three hosts, offline."""

from __future__ import annotations

import getpass
import json
import runpy
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.operate.test_backup_targets import s3
from tests.waiting import until

from . import packages, readers
from .backups import ASK_GRAFANA, GRAFANA, MAKE_GRAFANA, offer_restic
from .command import PROGRAM, cvat_analytics, deploy, smoke
from .conftest import HostFactory
from .host import Host
from .lab import Lab
from .repository import Repository, RepositoryServer

UNITS = ("clickhouse-server", "vector", "grafana-server")
OURS = (
    "/etc/apt",
    "/etc/clickhouse-server",
    "/etc/cvat-analytics",
    "/etc/grafana",
    "/etc/systemd/system",
    "/etc/vector",
    "/var/lib/cvat-analytics",
    "/var/lib/grafana/plugins",
)
Inventory = Callable[..., Path]


def state(host: Host) -> dict[str, str]:
    """Return everything that a deploy may change on a host: files, units with their start times, packages."""
    installed = host.run("dpkg-query -W -f '${Package} ${Version}\\n'").output
    running = {unit: since for unit, since in host.units(*UNITS).items() if " active " in f" {since} "}
    return host.files(*OURS) | running | dict(line.split() for line in installed.splitlines())


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Return what differs between two states, with both values."""
    names = before.keys() | after.keys()
    return {n: (before.get(n), after.get(n)) for n in sorted(names) if before.get(n) != after.get(n)}


def listening(host: Host) -> dict[int, set[str]]:
    """Return the TCP ports on which a host listens, with the addresses."""
    found: dict[int, set[str]] = {}
    for line in host.run("ss -Hltn | awk '{print $4}'").output.split():
        address, _, port = line.rpartition(":")
        found.setdefault(int(port), set()).add(address)
    return found


def sql(host: Host, query: str) -> str:
    """Return the answer to a query as the administrator of the host."""
    client = "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml"
    return host.run(f"{client} --query {json.dumps(query)}").output.strip()


def tell_the_grafana_stand_in(host: Host, path: Path) -> None:
    """Tell the stand-in for Grafana, which speaks HTTP instead of the native protocol, where ClickHouse is now."""
    values = runpy.run_path(str(path.parent / "group_data" / "all.py"))
    port = values.get("clickhouse_http_port", 8123)
    host.run(
        f"sed -i '/STANDIN/d' /etc/default/grafana-server; echo CVAT_STANDIN_CLICKHOUSE_HTTP_PORT={port} "
        ">> /etc/default/grafana-server; systemctl restart grafana-server"
    )
    listens(host, values.get("grafana_port", 3000))


def listens(host: Host, *ports: int) -> None:
    """Wait until all of `ports` are listened on. The host itself looks: each look from outside takes from what is waited for."""
    all_of_them = " && ".join(f"ss -Hltn 'sport = :{port}' | grep -q ." for port in ports)
    waited = host.run(
        f"timeout 180 sh -c {shlex.quote(f'until {all_of_them}; do sleep 0.3; done')}", check=False
    )
    assert waited.exit_code == 0, (ports, [host.journal(unit) for unit in UNITS])


@pytest.mark.parametrize("system", ["bookworm", "trixie"])
def test_a_fresh_host_works_after_one_command_and_a_second_one_changes_nothing(
    host_factory: HostFactory,
    inventory: Inventory,
    mirror: Repository,
    repository_server: RepositoryServer,
    system: str,
    pytestconfig: pytest.Config,
) -> None:
    """One is installed from a mirror, the other without a network from an offline bundle; both from the vendors' sources where they are asked."""
    host = host_factory(system)
    offline = system == "bookworm" and pytestconfig.getoption("--packages") == "standin"
    if offline:
        host.cut_network()
    asked = len(repository_server.requests)
    path = inventory(host, **mirror.bundle_settings()) if offline else inventory(host)

    first = deploy(path, "-v", "--diff")
    assert "operations changed something" in first.output
    assert "  DJANGO_LOG_SERVER_PORT=8282\n" in first.output
    assert len([line for line in smoke(path) if line.startswith("PASS")]) >= 12
    nothing_listens_publicly(host)
    no_secret_is_seen(host, path, first.text)

    before = state(host)
    assert set(host.run(f"systemctl is-enabled {' '.join(UNITS)}").output.split()) == {"enabled"}
    second = deploy(path)
    assert "Nothing to change" in second.output
    assert changes(before, state(host)) == {}
    if offline:
        assert repository_server.requests[asked:] == []


def nothing_listens_publicly(host: Host) -> None:
    public = {
        port
        for port, addresses in listening(host).items()
        if any(not address.startswith("127.") and address != "[::1]" for address in addresses)
    }
    assert public == {22}


def no_secret_is_seen(host: Host, inventory: Path, said: str) -> None:
    """No password in what the command said, with every command line in it, nor in what other users of the host can see."""
    secrets = json.loads((inventory.parent / "secrets.json").read_text())
    for place in (
        said,
        host.run("ps axww -o args").output,
        host.run("journalctl --no-pager").output,
        host.run("cat /var/log/apt/term.log /var/log/dpkg.log", check=False).output,
    ):
        assert [name for name, value in secrets.items() if value in place] == []
    for value in secrets.values():
        found = host.run(
            f"su ops -s /bin/sh -c \"grep -rlF '{value}' /etc /run /tmp /var/log /var/lib 2>/dev/null\"",
            check=False,
        )
        assert found.output == ""


def test_a_port_is_moved_everywhere_by_one_line_and_data_stays(
    deployed_host: Host, inventory: Inventory
) -> None:
    host = deployed_host
    listens(host, 8123)
    sql(host, "INSERT INTO cvat.events (scope, source, timestamp) VALUES ('kept', 'test', now())")

    for setting, port, restarted in (
        ("clickhouse_http_port", 8199, {"clickhouse-server", "vector"}),
        ("vector_port", 8299, {"clickhouse-server", "vector"}),  # the other port goes back to its default
    ):
        path = inventory(host, **{setting: port})
        dry = cvat_analytics("deploy", "--inventory", path, "--dry", "--diff")
        assert str(port) in dry.error
        assert port not in listening(host)
        before = host.units(*UNITS)
        deploy(path)
        changed = {unit for unit, since in host.units(*UNITS).items() if since != before[unit]}
        assert changed == restarted
        assert port in listening(host)
    assert 8282 not in listening(host)
    assert sql(host, "SELECT count() FROM cvat.events WHERE scope = 'kept'") == "1"

    path = inventory(host, clickhouse_native_port=9199, grafana_port=3199, clickhouse_http_port=8198)
    deploy(path)
    tell_the_grafana_stand_in(host, path)
    smoke(path)
    assert {9199, 3199, 8198} <= set(listening(host))
    assert not {9000, 3000, 8199, 8123} & set(listening(host))
    assert "Nothing to change" in deploy(path).output


def deploy_until(path: Path, step: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Run a deploy until it begins with the operation `step`; do something `meanwhile`, and kill it."""
    with subprocess.Popen(
        [PROGRAM, "deploy", "--inventory", path], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        seen = any(f"Starting operation: {step}" in line for line in process.stderr)
        # it must not end by itself meanwhile, however slow this machine is
        subprocess.run(["pkill", "-STOP", "-s", str(process.pid)], check=True)
        meanwhile()
        subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=True)
    assert seen, f"the deploy ended before {step!r}"
    assert process.returncode == -signal.SIGKILL


def test_a_run_that_is_killed_half_way_is_completed_by_the_next(
    host_factory: HostFactory, inventory: Inventory
) -> None:
    host = host_factory()
    path = inventory(host)

    def refused() -> None:
        second = cvat_analytics("deploy", "--inventory", path)
        assert second.exit_code == 2, second.text
        assert (
            f"another deploy is at work there: {getpass.getuser()}@{socket.gethostname()}, since 2"
            in second.error
        )

    deploy_until(path, "clickhouse: packages", refused)
    # the lock of one that was killed is gone
    for step in ("grafana: packages", "clickhouse: service", "vector: service"):
        deploy_until(path, step)

    deploy(path)
    smoke(path)
    assert "Nothing to change" in deploy(path).output


def vector_in_status(path: Path) -> tuple[tuple[str, str], str]:
    """Return whether Vector runs by `status`, or has just been started, where, and all that is said."""
    said = cvat_analytics("status", "--inventory", path).text
    words = next(line.split() for line in said.splitlines() if line.startswith("vector "))
    return ("running" if words[1] == "starting" else words[1], words[3]), said


def test_a_restart_that_did_not_happen_is_caught_up(deployed_host: Host, inventory: Inventory) -> None:
    """A deploy that dies between writing a file and restarting its service must not leave the old process running."""
    host = deployed_host
    path = inventory(host, vector_port=8299)
    difference = f"not deployed: setting 'vector_port' of {host.name}: the inventory says 8299, deployed is 8282: run `"
    # Vector does its work, whatever the inventory says of it since
    vector, lines = vector_in_status(path)
    assert (vector, difference in lines) == (("running", "http://127.0.0.1:8282"), True), lines
    deploy_until(path, "grafana: configuration")
    assert "8299" in host.read("/etc/vector/vector.toml")
    assert 8282 in listening(host)
    vector, lines = vector_in_status(path)
    assert (vector, difference in lines) == (("running", "http://127.0.0.1:8282"), True), lines
    # the next step after Vector's own: it has moved, and the note of it is still the one before
    deploy_until(path, "vector: the journal")
    vector, lines = vector_in_status(path)
    assert (vector, difference in lines) == (("running", "http://127.0.0.1:8299"), True), lines
    assert "so a deploy was cut off: run" in lines

    deploy(path)
    assert 8299 in listening(host)
    assert 8282 not in listening(host)
    vector, lines = vector_in_status(path)
    assert (vector, "8282" in lines, "cut off" in lines) == (
        ("running", "http://127.0.0.1:8299"),
        False,
        False,
    ), lines


@pytest.fixture
def s3_server(host_lab: Lab, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an S3 server on this machine that hosts reach."""
    (directory := tmp_path / "s3").mkdir()
    with s3(directory, host_lab.packages.gateway) as url:
        yield url


def test_three_hosts_work_together_and_only_they_reach_the_store(
    host_factory: HostFactory, inventory: Inventory, repository_server: RepositoryServer, s3_server: str
) -> None:
    store, ingest, view = hosts = [host_factory() for _ in range(3)]
    for host in hosts:
        offer_restic(host, repository_server)
    target = f"s3:{s3_server}/bucket"
    path = inventory(
        {"clickhouse": [store], "vector": [ingest], "grafana": [view]},
        database="analytics",
        backup_target=target,
    )
    for name, value in (("access", "key"), ("secret", "secret")):
        words = [str(PROGRAM), "secrets", "set", f"backup_s3_{name}_key", "--inventory", str(path)]
        subprocess.run(words, input=f"{value}\n", text=True, check=True, capture_output=True)
    deploy(path)
    smoke(path)

    assert listening(store)[8123] == {"127.0.0.1", store.ip}
    assert 8282 not in listening(store)
    assert 3000 not in listening(ingest)
    # the password of grafana is of no use on another host than Grafana's
    secrets = json.loads((path.parent / "secrets.json").read_text())
    ask = f"curl -sS -m 5 -H 'X-ClickHouse-User: grafana' -H 'X-ClickHouse-Key: {secrets['clickhouse_grafana']}' 'http://{store.ip}:8123/?query=SELECT+1'"
    assert view.run(ask).output == "1\n"
    assert (
        "AUTHENTICATION_FAILED" in ingest.run(ask).output
        or "IP_ADDRESS_NOT_ALLOWED" in ingest.run(ask).output
    )
    assert "Nothing to change" in deploy(path).output

    # one of them away: the others are asked, and it is one line
    view.run("systemctl stop ssh.service ssh.socket")
    told = cvat_analytics("status", "--inventory", path)
    assert told.exit_code == 3, told.text
    states = [line.split()[:2] for line in told.output.splitlines()[:3]]
    assert states == [["clickhouse", "running"], ["vector", "running"], ["grafana", "not"]]
    (line,) = [line for line in told.output.splitlines() if "cannot be reached" in line]
    assert line.startswith(f"host {view.name}: cannot be reached: {view.ip} refuses connections to port 22")

    # a backup of the others is made, and is called what it is
    made = cvat_analytics("backup", "create", "--inventory", path)
    assert made.exit_code == 1, made.text
    lacks = f"it lacks grafana of host {view.name} (there never was one)"
    assert f"host {view.name}: cannot be reached" in made.error
    assert f" is INCOMPLETE, as {lacks}: " in made.output
    assert f"INCOMPLETE: {lacks}" in cvat_analytics("backup", "list", "--inventory", path).output
    view.run("systemctl start ssh.service")
    assert f"INCOMPLETE: {lacks}" in cvat_analytics("status", "--inventory", path).output

    # by their timers' services each comes when it comes: that of ClickHouse waits for the others
    view.run(MAKE_GRAFANA)
    unit = "cvat-analytics-backup"
    store.run(f"systemctl start --no-block {unit}")
    awaits = f'journalctl -o cat -u {unit} | grep -c \'"others", "state": "begun"\''
    until(
        lambda: store.run(awaits, check=False).output.strip(),
        "it waits for the others",
        lambda count: count == "1",
    )
    for host in (ingest, view):
        host.run(f"systemctl start {unit}")
    until(lambda: store.run(f"systemctl is-active {unit}", check=False).output.strip(), "it has ended",
          lambda found: found == "inactive", patience=180)  # fmt: skip
    # of one day the newest stays
    (newest,) = json.loads(cvat_analytics("backup", "list", "--inventory", path, "--json").output)["backups"]
    assert newest["lacks"] == {}
    assert "INCOMPLETE" not in cvat_analytics("status", "--inventory", path).output
    # from S3 all of it comes back, what others had to them
    view.run(f"rm {GRAFANA}")
    restored = cvat_analytics("backup", "restore", "--grafana", "--yes", "--inventory", path)
    assert restored.exit_code == 0, restored.text
    assert view.run(ASK_GRAFANA).output.split("\n")[0] == "reader made by hand"


def test_everything_comes_back_after_a_reboot_and_vector_even_without_its_store(
    deployed_host: Host, inventory: Inventory
) -> None:
    host = deployed_host  # whose first boot after its deploy is this one
    path = inventory(host)
    listens(host, 8123, 8282, 3000)
    smoke(path)

    host.run("systemctl mask --now clickhouse-server")
    host.reboot()
    listens(host, 8282)
    event = json.dumps(
        [{"scope": "load:cvat", "source": "client", "timestamp": str(time.time()), "user_name": "early"}]
    )
    sent = host.run(
        f"curl -sS -o /dev/null -w '%{{http_code}}' --data-binary '{event}' http://127.0.0.1:8282/"
    )
    assert sent.output == "200"
    host.run("systemctl unmask clickhouse-server && systemctl start clickhouse-server")
    query = "SELECT count() FROM cvat.events FINAL WHERE user_name = 'early'"
    until(lambda: sql(host, query), "the early event", lambda found: found == "1", patience=180)

    readers.are_behind_inserts(host, path)
    readers.mark_server(host)
    readers.are_behind_inserts(host, path)


def test_what_somebody_changed_by_hand_is_put_right(deployed_host: Host, inventory: Inventory) -> None:
    host = deployed_host
    path = inventory(host)
    host.run("sed -i 's/8282/8283/' /etc/vector/vector.toml && systemctl restart vector")
    host.run("systemctl stop grafana-server")
    host.write("/etc/cvat-analytics/dashboards/leftover.json", "{}")

    outcome = deploy(path)
    assert "change /etc/vector/vector.toml" in outcome.error
    assert "remove /etc/cvat-analytics/dashboards/leftover.json" in outcome.error
    assert "leftover.json" not in host.run("ls /etc/cvat-analytics/dashboards").output
    assert {8282, 3000} <= set(listening(host))
    assert 8283 not in listening(host)
    assert "Nothing to change" in deploy(path).output


def test_retention_is_changed_by_one_line(deployed_host: Host, inventory: Inventory) -> None:
    host = deployed_host
    listens(host, 8123)
    assert "TTL" not in sql(host, "SELECT engine_full FROM system.tables WHERE name = 'events'")
    sql(
        host,
        "INSERT INTO cvat.events (scope, source, timestamp) VALUES ('old', 'test', '2020-01-02 03:04:05')",
    )
    path = inventory(host, events_retention="400d")
    loss = "events_retention forever -> 400d: 1 event from 2020-01-02 03:04:05 to 2020-01-02 03:04:05 UTC"
    dry = cvat_analytics("deploy", "--inventory", path, "--dry")
    assert loss in dry.output
    assert "ALTER TABLE cvat.events MODIFY TTL" in dry.error
    refused = cvat_analytics("deploy", "--inventory", path)
    assert (refused.exit_code, loss in refused.error) == (2, True), refused.text
    assert "TTL" not in sql(host, "SELECT engine_full FROM system.tables WHERE name = 'events'")
    deploy(path, "--yes")
    assert "toIntervalSecond(34560000)" in sql(
        host, "SELECT engine_full FROM system.tables WHERE name = 'events'"
    )
    assert "Nothing to change" in deploy(path).output


def test_packages_never_come_from_the_distribution_s_archive(deployed_host: Host) -> None:
    host = deployed_host  # on which that archive's clickhouse-server was there before the first deploy
    policy = host.run("apt-cache policy clickhouse-server").output
    assert packages.DECOY_VERSION in policy
    assert f"Candidate: {packages.default_versions()['clickhouse-server']}" in policy
    upgrade = host.run("apt-get -s dist-upgrade").output
    assert "clickhouse" not in upgrade

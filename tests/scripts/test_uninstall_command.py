"""The command: what it shows, asks and ends with, for hosts that a server of the tests stands for, and for a directory."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import deployed, moves
from cvat_analytics.config.moves import Move
from cvat_analytics.embedded import removing
from scripts.cli import main
from tests.clickhouse import free_ports
from tests.operate.test_removal import DEPLOYED
from tests.ssh_server import LOGIN, PATIENT, SSHServer, ssh_server

pytestmark = pytest.mark.usefixtures("patience")


class DeployedHost:
    """What the server answers: that a deploy was there until it is uninstalled, and what the steps of that come to."""

    def __init__(self, ends: str = "done\n") -> None:
        self.ends = ends
        self.moving = ""
        self.asked_to: list[str] = []

    def __call__(self, command: str) -> str:
        if f"cat {moves.NOTE}" in command:
            return self.moving
        if "record=" in command:
            return "user root\n" if self.asked_to and self.ends == "done\n" else DEPLOYED
        if f"cat {deployed.NOTE}" in command:
            return ""
        if "clickhouse-client" in command:
            return "1234\t2026-01-02 03:04:05\t2026-11-30 10:00:00\n"
        self.asked_to.append(command)
        return f"step stop vector.service\nleft /etc/grafana/own.yaml\n{self.ends}"


@pytest.fixture
def server() -> Iterator[SSHServer]:
    with ssh_server() as running:
        running.printed = DeployedHost()
        yield running


@pytest.fixture
def inventory(server: SSHServer, tmp_path: Path) -> Path:
    """Return an inventory of two hosts: the server, and one where nobody listens."""
    known = server.known_hosts(tmp_path / "known-hosts")
    login: dict[str, Any] = {
        "ssh_hostname": "127.0.0.1", "ssh_user": LOGIN["username"], "ssh_password": LOGIN["password"], "ssh_known_hosts_file": str(known),
        "ssh_config_file": os.devnull, **PATIENT,
    }  # fmt: skip
    here = {"address": "10.0.0.1", "ssh_port": server.address[1], **login}
    away = {"address": "10.0.0.2", "ssh_port": free_ports(1)[0], **login}
    path = tmp_path / "hosts.py"
    path.write_text(
        f"clickhouse = [('a', {here!r})]\nvector = [('a', {here!r})]\ngrafana = [('b', {away!r})]\n"
    )
    return path


def run(*arguments: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["uninstall", *map(str, arguments)], input=typed)


def test_one_host_away_is_said_and_the_other_is_done(server: SSHServer, inventory: Path) -> None:
    done = run("--inventory", inventory, "--purge", "--yes")
    assert done.exit_code == 3, done.output
    assert "NOT DONE: host b: cannot be reached" in done.stdout
    lines = done.stdout.splitlines()
    assert (
        "  DELETES     /var/lib/clickhouse (0 MiB): 1,234 events from 2026-01-02 03:04:05 to 2026-11-30 10:00:00 UTC"
        in lines
    )
    assert "host a: stop vector.service" in lines
    assert "host a: done" in lines
    assert "  leaves      /etc/grafana/own.yaml: no deploy has made it" in lines
    assert f"the rest is done by: cvat-analytics uninstall --inventory {inventory} --purge" in done.stderr
    again = run("--inventory", inventory, "--purge", "--yes", "--limit", "a")
    assert (again.exit_code, again.stdout) == (0, "host a: nothing of a deploy is there\n")


@pytest.mark.parametrize("options", [["--dry"], []])
def test_a_preview_and_a_no_change_nothing(server: SSHServer, inventory: Path, options: list[str]) -> None:
    shown = run("--inventory", inventory, "--limit", "clickhouse", *options, typed="n\n")
    assert shown.exit_code == (0 if options else 1)
    assert "  package     vector 0.58.0-1" in shown.stdout
    assert "  keeps       /var/lib/clickhouse (0 MiB)" in shown.stdout
    assert isinstance(server.printed, DeployedHost)
    assert server.printed.asked_to == []


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ("failed dpkg: error: disk full\n", 1, "host a: dpkg: error: disk full"),
        (
            "locked ada@laptop, since 2026-11-29 UTC 31\n",
            2,
            "host a: another deploy is at work there: ada@laptop, since 2026-11-29 UTC. Wait",
        ),
        ("", 3, "host a: the connection was lost"),
    ],
)
def test_a_step_that_fails_and_a_lost_connection_are_told_apart(
    server: SSHServer, inventory: Path, ends: str, code: int, said: str
) -> None:
    server.printed = DeployedHost(ends)
    failed = run("--inventory", inventory, "--limit", "a", "--yes", "--json")
    assert (failed.exit_code, said in failed.stderr) == (code, True), failed.stderr
    assert json.loads(failed.stdout)["hosts"]["a"]["failure"].startswith(said)
    assert ("sudo kill 31` ends it now [CVA3201]" in failed.stderr) == (code == 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--purge", "--keep-data"], "give either --keep-data or --purge, not both"),
        (["--json"], "--json asks nothing: give --dry or --yes with it"),
        (["--limit", "nobody", "--dry"], "has no such host or group. It has a, b, clickhouse, vector"),
    ],
)
def test_what_cannot_be_meant_is_refused(inventory: Path, options: list[str], message: str) -> None:
    refused = run("--inventory", inventory, *options)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr


def test_a_host_that_is_not_reached_over_ssh_is_never_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "hosts.py"
    path.write_text("clickhouse = vector = grafana = ['@docker/somebody']\n")
    refused = run("--inventory", path, "--yes")
    assert (refused.exit_code, "uninstall reaches hosts over SSH" in refused.stderr) == (2, True), (
        refused.output
    )


@pytest.fixture
def left(server: SSHServer, inventory: Path) -> Iterator[SSHServer]:
    """Return a host that the inventory's own host knows of, and the inventory does not; the other one of the inventory is gone."""
    with ssh_server() as another:
        another.printed = DeployedHost()
        host, port = another.address
        noted = [
            json.dumps(
                {"hosts": {"c": {"ssh_hostname": host, "ssh_user": LOGIN["username"], "ssh_port": port}}}
            )
        ]

        own = DeployedHost()

        def printed(command: str) -> str:
            if f"cat {deployed.NOTE}" in command:
                return noted[-1]
            if "base64 -d" in command and deployed.NOTE in command:
                noted.append(base64.b64decode(command.split("echo ")[1].split(" ")[0]).decode())
                return ""
            return own(command)

        server.printed = printed
        known = another.known_hosts(inventory.parent / "another's")
        file = inventory.parent / "known-hosts"
        file.write_text(file.read_text() + known.read_text())
        yield another


def test_a_host_that_has_left_the_inventory_is_uninstalled_by_its_name_and_forgotten(
    inventory: Path, left: SSHServer
) -> None:
    kept = run("--inventory", inventory, "--limit", "c", "--yes")
    assert kept.exit_code == 0, kept.output
    assert "host c: stop vector.service" in kept.stdout
    # its data is there still
    left.printed = DeployedHost()
    done = run("--inventory", inventory, "--limit", "c", "--purge", "--yes")
    assert (done.exit_code, "host c: done" in done.stdout) == (0, True), done.output
    again = run("--inventory", inventory, "--limit", "c", "--purge", "--yes")
    assert (again.exit_code, "has no such host or group. It has a, b" in again.stderr) == (2, True)


def test_an_uninstall_of_everything_names_the_hosts_that_have_left_before_it_asks(
    inventory: Path, left: SSHServer
) -> None:
    command = f"cvat-analytics uninstall --inventory {inventory} --limit c --purge"
    shown = run("--inventory", inventory, "--purge", typed="n\n")
    said = f"host c: has left the inventory, and something of a deploy is there. Nobody knows of it when these are done; first: {command}"
    assert said in shown.stdout.splitlines()
    machines = run("--inventory", inventory, "--purge", "--dry", "--json")
    assert json.loads(machines.stdout)["left"] == {"c": command}


def test_a_host_that_is_no_more_is_forgotten_by_a_word(inventory: Path, left: SSHServer) -> None:
    refused = run("--inventory", inventory, "--forget", "d")
    assert (
        refused.exit_code,
        f"--forget d: is no host that has left {inventory}; those are c" in refused.stderr,
    ) == (2, True)
    left.shut()
    away = run("--inventory", inventory, "--limit", "c", "--yes")
    assert away.exit_code == 3
    assert f"If host c is no more: cvat-analytics uninstall --inventory {inventory} --forget c" in away.stderr
    done = run("--inventory", inventory, "--forget", "c")
    assert (done.exit_code, done.stdout) == (0, "host c: is forgotten\n")
    assert run("--inventory", inventory, "--forget", "c").exit_code == 2


def test_a_directory_is_left_with_its_data_or_without(tmp_path: Path) -> None:
    directory = tmp_path / "stack"
    (directory / "var" / "lib").mkdir(parents=True)
    (directory / "etc").mkdir()
    (directory / "stack.json").write_text('{"port_base": 18100}')
    for name in ("secrets.json", "netrc", "mine.txt"):
        (directory / name).write_text("")
    dry = run("--dir", directory, "--dry")
    assert f"  removes     {directory}/etc" in dry.stdout.splitlines()
    assert (directory / "netrc").exists()
    kept = run("--dir", directory, "--yes")
    assert kept.exit_code == 0, kept.output
    assert sorted(path.name for path in directory.iterdir()) == [
        "lock",
        "mine.txt",
        "secrets.json",
        "stack.json",
        "var",
    ]
    assert "nothing of a stack is there, but data that was kept" in run("--dir", directory).stdout
    purged = run("--dir", directory, "--purge", typed="y\n")
    assert purged.exit_code == 0, purged.output
    assert f"  DELETES     {directory}/var" in purged.stdout.splitlines()
    assert [path.name for path in directory.iterdir()] == ["mine.txt"]
    again = run("--dir", directory, "--purge", "--yes")
    assert (again.exit_code, f"{directory}: there is no stack" in again.stderr) == (2, True), again.output
    assert [path.name for path in directory.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("options", [["--yes"], ["--purge", "--yes"], ["--purge", "--dry"]])
def test_a_directory_that_is_no_stack_is_left_alone(tmp_path: Path, options: list[str]) -> None:
    for name in ("etc", "run", "var/lib"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "var/lib/theirs").write_text("a project's own")
    refused = run("--dir", tmp_path, *options)
    assert (refused.exit_code, f"{tmp_path}: there is no stack" in refused.stderr) == (2, True), (
        refused.output
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "run", "var"]
    assert (tmp_path / "var/lib/theirs").exists()
    with pytest.raises(InputError):
        removing.plan(Path("/"), True)


def test_data_behind_a_link_is_deleted_with_the_directory(tmp_path: Path) -> None:
    directory, disk = tmp_path / "stack", tmp_path / "disk"
    (directory / "var/lib").mkdir(parents=True)
    (directory / "stack.json").write_text('{"port_base": 18100}')
    (disk / "clickhouse/store/empty").mkdir(parents=True)
    (disk / "clickhouse/store/part").write_text("events")
    (disk / "clickhouse/store/link").symlink_to(tmp_path)
    (disk / "theirs").write_text("")
    (directory / "var/lib/clickhouse").symlink_to(disk / "clickhouse")
    purged = run("--dir", directory, "--purge", "--yes")
    assert purged.exit_code == 0, purged.output
    link = directory / "var/lib/clickhouse"
    assert f"  DELETES     {link} -> {disk / 'clickhouse'}" in purged.stdout.splitlines()
    assert ([path.name for path in disk.iterdir()], directory.exists()) == (["theirs"], False)


@pytest.mark.parametrize(
    ("source", "target", "step", "is_refused"),
    [
        ("a", "b", moves.BEGUN, True),
        ("a", "b", moves.MOVED, True),
        ("b", "a", moves.COPIED, False),
        ("b", "a", moves.SWITCHING, True),
        ("b", "c", moves.MOVED, False),
    ],
)
def test_a_host_of_a_move_is_left_alone_while_events_may_be_there_alone(
    server: SSHServer, inventory: Path, source: str, target: str, step: str, is_refused: bool
) -> None:
    assert isinstance(server.printed, DeployedHost)
    server.printed.moving = Move("clickhouse", source, target, step=step).text()
    told = run("--inventory", inventory, "--limit", "a", "--purge", "--yes")
    assert (told.exit_code, bool(server.printed.asked_to)) == ((2, False) if is_refused else (0, True)), (
        told.output
    )
    command = f"First complete that: `cvat-analytics move clickhouse --to {target}"
    assert (command in told.stderr) == is_refused
    assert ("--finish" in told.stderr) == (is_refused and step == moves.MOVED)


def test_where_a_link_leads_to_is_said(server: SSHServer, inventory: Path) -> None:
    linked = "link /var/lib/clickhouse\nleads /var/lib/clickhouse /mnt/large/events\n"
    server.printed = lambda command: f"{DEPLOYED}{linked}" if "record=" in command else ""
    shown = run("--inventory", inventory, "--limit", "a", "--dry", "--purge").stdout
    assert "  DELETES     /var/lib/clickhouse -> /mnt/large/events (0 MiB): all events" in shown
    kept = run("--inventory", inventory, "--limit", "a", "--dry").stdout
    assert "  keeps       /var/lib/clickhouse -> /mnt/large/events (0 MiB)" in kept.splitlines()


def test_hints_are_for_the_hosts_that_were_meant(server: SSHServer, inventory: Path) -> None:
    both = ("--limit", "a", "--limit", "grafana")
    done = run("--inventory", inventory, "--yes", *both)
    command = f"cvat-analytics uninstall --inventory {inventory} --limit a --limit grafana"
    assert f"The data is deleted by: {command} --purge\n" in done.stdout
    assert f"the rest is done by: {command}\n" in done.stderr

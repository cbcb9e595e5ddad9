"""`status` and `smoke` of a stack on three hosts, each of which may be away: a real stack behind SSH servers in place of hosts."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks.doctor import of_status
from cvat_analytics.checks.status import Report
from cvat_analytics.config import deployed, inventory
from cvat_analytics.connect import clocks, remote
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.shell import Shell
from cvat_analytics.embedded import stack
from scripts.cli import main
from tests.clickhouse import free_ports
from tests.ssh_server import LOGIN, PATIENT, SSHServer, ssh_server
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("patience")
NAMES = ("store", "in", "view")


@dataclass
class Hosts:
    """Three hosts in front of one embedded stack: of ClickHouse, of Vector, of Grafana."""

    servers: dict[str, SSHServer]
    inventory: Path

    def edit(self, **values: Any) -> None:
        """Change settings in the inventory."""
        file = self.inventory.parent / "group_data" / "all.py"
        file.write_text(file.read_text() + "".join(f"{name} = {value!r}\n" for name, value in values.items()))

    def deployed(self, **values: Any) -> None:
        """Have each host say that what the inventory says now was deployed, but for `values`."""
        described = inventory.load(self.inventory).topology
        for host, server in self.servers.items():
            there = described.settings[host].model_copy(update=values)
            noted = deployed.note(there, described.components(host))
            server.printed = functools.partial(prints, noted)

    def status(self, *options: str) -> Result:
        return CliRunner().invoke(main, ["status", "--inventory", str(self.inventory), *options])


def units(command: str) -> str:
    """Answer what systemd and dpkg would: everything that is asked for is active."""
    asked = [
        part for part in ("clickhouse", "vector", "grafana", "events_api") if f'echo "{part} ' in command
    ]
    return "".join(f"{part} active 1.2.3\n" for part in asked)


def prints(noted: str, command: str) -> str:
    """Answer as a host on which `noted` is what was deployed."""
    return noted if deployed.NOTE in command else units(command)


@pytest.fixture
def hosts(running: stack.Stack, access: Access, tmp_path: Path) -> Iterator[Hosts]:
    shutil.copy(running.directory / "secrets.json", tmp_path / "secrets.json")
    settings = access.vector.settings
    ports = (
        "clickhouse_http_port",
        "clickhouse_native_port",
        "vector_port",
        "grafana_port",
        "grafana_root_url",
    )
    values = {name: getattr(settings, name) for name in ports}
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text(
        "".join(f"{name} = {value!r}\n" for name, value in values.items())
    )
    with ExitStack() as opened:
        servers = {name: opened.enter_context(ssh_server()) for name in NAMES}
        lines = []
        for group, (number, name) in zip(
            ("clickhouse", "vector", "grafana"), enumerate(NAMES, 5), strict=True
        ):
            server = servers[name]
            server.printed = units
            server.network = {"10.0.0.5": "127.0.0.1"}
            login = {"ssh_hostname": "127.0.0.1", "ssh_port": server.address[1], "ssh_user": LOGIN["username"],
                     "ssh_password": LOGIN["password"], "ssh_known_hosts_file": str(server.known_hosts(tmp_path / name)),
                     "ssh_config_file": "/dev/null", "address": f"10.0.0.{number}", **PATIENT}  # fmt: skip
            lines.append(f"{group} = [({name!r}, {login!r})]\n")
        (tmp_path / "hosts.py").write_text("".join(lines))
        yield Hosts(servers, tmp_path / "hosts.py")


def state(result: Result) -> dict[str, str]:
    """Return the state of each part in the lines for people."""
    lines = [line.split() for line in result.stdout.split("\n\n")[0].splitlines() if not line.startswith(" ")]
    return {
        words[0]: " ".join(words[1:3]) if words[1] == "not" else words[1]
        for words in lines
        if words and words[0] != "host"
    }


def test_all_hosts_there(hosts: Hosts) -> None:
    result = hosts.status()
    assert result.exit_code == 0, result.output
    assert state(result) == {"clickhouse": "running", "vector": "running", "grafana": "running"}


def test_of_three_hosts_one_is_down_and_the_rest_is_shown(hosts: Hosts) -> None:
    hosts.servers["in"].shut()
    result = hosts.status()
    assert result.exit_code == 3, result.output
    assert "\nevents      " in result.stdout, "ClickHouse is asked"
    parts = [line for line in result.stdout.splitlines() if line.split()[:1] == ["vector"]]
    assert [line.split()[:3] for line in parts] == [["vector", "not", "asked"]]
    (line,) = [line for line in result.output.splitlines() if "cannot be reached" in line]
    assert line.startswith("host in: cannot be reached: 127.0.0.1 refuses connections to port ")
    assert line.endswith("See whether its sshd runs, and `ssh_port` in the inventory [CVA3001]")
    for part in ("clickhouse", "grafana"):
        assert state(result)[part] == "running"


def test_machines_are_told_the_same(hosts: Hosts) -> None:
    # a stack that has just been started knows nothing of its Vector yet
    until(
        lambda: (json.loads(hosts.status("--json").stdout)["pipeline"] or {}).get("measured_at"),
        "a first reading",
    )
    hosts.servers["in"].shut()
    result = hosts.status("--json")
    assert result.exit_code == 3, result.output
    found = json.loads(result.stdout)
    assert {part: found[part] for part in ("clickhouse", "vector", "grafana")} == {
        "clickhouse": "running",
        "vector": "not asked",
        "grafana": "running",
    }
    assert found["pipeline"]["measured_at"]
    assert list(found["not_asked"]) == ["in"]
    assert found["fine"] is False
    assert found["not_asked"]["in"].startswith("host in: cannot be reached: ")


def test_without_the_store_s_host_the_cause_is_said_once(hosts: Hosts) -> None:
    hosts.servers["store"].shut()
    result = hosts.status()
    assert result.exit_code == 3, result.output
    assert state(result) | {"host": ""} == {
        "clickhouse": "not asked",
        "vector": "running",
        "grafana": "running",
        "host": "",
    }
    assert result.output.count("cannot be reached: ") == 1
    assert "the pipeline cannot be looked at: host store has ClickHouse" in result.stderr


def test_with_no_host_at_all_machines_still_get_an_object(hosts: Hosts) -> None:
    for name in NAMES:
        hosts.servers[name].shut()
    result = hosts.status("--json")
    assert result.exit_code == 3, result.output
    assert sorted(json.loads(result.stdout)["not_asked"]) == sorted(NAMES)


def test_a_host_that_is_lost_while_it_is_asked_is_not_asked(hosts: Hosts) -> None:
    server = hosts.servers["view"]

    def lost(command: str) -> str:
        server.cut()
        return ""

    server.printed = lost
    result = hosts.status("--json")
    assert result.exit_code == 3, result.output
    found = json.loads(result.stdout)
    assert (found["grafana"], found["vector"]) == ("not asked", "running")
    assert "host view: the SSH connection was lost" in found["not_asked"]["view"]


def test_a_host_that_has_begun_to_hang_holds_nobody_up(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session stands, but a command is never answered."""
    run = Shell.run

    def impatient(shell: Shell, command: str, patience: float | None = None) -> str:
        return run(shell, command, 0.5 if shell.host == "view" else patience)

    monkeypatch.setattr(Shell, "run", impatient)
    hosts.servers["view"].printed = _never(hosts.servers["view"])
    result = hosts.status("--json")
    assert result.exit_code == 3, result.output
    found = json.loads(result.stdout)
    assert (found["vector"], found["clickhouse"]) == ("running", "running")
    assert found["not_asked"]["view"] == "host view: a command said nothing for 0.5 s [CVA3006]"
    assert found["grafana"] == "running", "which answers, unlike systemd"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_smoke_checks_what_can_be_reached(hosts: Hosts, options: tuple[str, ...]) -> None:
    hosts.servers["view"].shut()
    result = CliRunner().invoke(main, ["smoke", "--inventory", str(hosts.inventory), *options])
    assert result.exit_code == 3, result.output
    assert "schema-version" in result.stdout
    assert result.stderr.startswith("host view: cannot be reached: 127.0.0.1 refuses connections to port ")
    of_view = "grafana, login-grafana, 01-event-is-readable, 02-event-sent-twice-is-read-once"
    assert f"\nnot asked, because host view cannot be reached: {of_view}" in result.stderr
    if options:
        grafana = next(each for each in json.loads(result.stdout) if each["name"] == "grafana-dashboards")
        assert (grafana["passed"], grafana["outcome"], grafana["cause"]) == (None, "not asked", "host view")
    else:
        assert "grafana" not in result.stdout.replace("the user grafana", "")


def test_after_an_edit_that_is_not_deployed_yet_parts_are_asked_where_they_are(hosts: Hosts) -> None:
    was = inventory.load(hosts.inventory).topology.settings["in"].vector_port
    hosts.deployed()
    assert "not deployed" not in hosts.status().output
    (new,) = free_ports(1)
    hosts.edit(vector_port=new, vector_extra_ports=[was], events_retention="90d")
    result = hosts.status()
    assert result.exit_code == 0, result.output
    (vector,) = [line for line in result.stdout.splitlines() if line.startswith("vector ")]
    assert f"running        1.2.3              http://127.0.0.1:{was}" in vector
    assert next(line for line in result.stdout.splitlines() if line.startswith("port ")).startswith(
        f"port {was} "
    )
    command = f"`cvat-analytics deploy --inventory {hosts.inventory}`"
    everywhere = ", ".join(NAMES)
    assert [line for line in result.stdout.splitlines() if line.startswith("not deployed: ")] == [
        f'not deployed: setting \'events_retention\' of {everywhere}: the inventory says "90d", deployed is "forever": run {command} [CVA9201]',
        f"not deployed: setting 'vector_extra_ports' of {everywhere}: the inventory says [{was}], deployed is []: run {command} [CVA9201]",
        f"not deployed: setting 'vector_port' of {everywhere}: the inventory says {new}, deployed is {was}: run {command} [CVA9201]",
    ]
    found = json.loads(hosts.status("--json").stdout)
    assert found["not_deployed"][2] == {
        "name": "setting 'vector_port'", "hosts": list(NAMES), "inventory": str(new), "deployed": str(was),
    }  # fmt: skip


def test_what_a_deploy_has_moved_before_it_was_cut_off_is_found(hosts: Hosts) -> None:
    now = inventory.load(hosts.inventory).topology.settings["in"].vector_port
    before, another = free_ports(2)
    hosts.deployed(vector_port=before, clickhouse_http_port=another)
    result = hosts.status()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("vector ")]
    assert lines[place].split()[1:4] == ["running", "1.2.3", f"http://127.0.0.1:{now}"]
    assert (
        "it answers where the inventory has it, so a deploy was cut off: run `cvat-analytics deploy"
        in lines[place + 1]
    )
    assert f"the inventory says {now}, deployed is {before}" in result.stdout
    assert "\nevents      " in result.stdout, "ClickHouse has moved, too, and is asked"


def test_a_part_that_answers_late_where_it_always_was_has_not_moved(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another setting is edited: each address of the inventory is the one that is deployed."""
    hosts.deployed()
    hosts.edit(events_retention="90d")
    answers = iter((False, True))
    monkeypatch.setattr(
        "cvat_analytics.checks.status._answers", lambda access, component: next(answers, True)
    )
    result = hosts.status()
    assert result.exit_code == 0, result.output
    assert "cut off" not in result.stdout


def test_a_pipeline_that_cannot_be_looked_at_is_not_fine_and_the_first_reason_is_said(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.deployed()
    hosts.edit(events_retention="90d")
    attempts = itertools.count(1)

    def fail(access: Access) -> None:
        raise CvatAnalyticsError(Code.CLICKHOUSE_REFUSES, f"a table is gone, attempt {next(attempts)}")

    monkeypatch.setattr("cvat_analytics.checks.flow.of", fail)
    result = hosts.status()
    assert result.exit_code == 1, result.output
    assert {state(result)[part] for part in ("clickhouse", "vector", "grafana")} == {"running"}
    assert result.stderr == "the pipeline cannot be looked at: a table is gone, attempt 1 [CVA9004]\n"


def test_the_doctor_looks_at_each_host_and_says_which_it_could_not(hosts: Hosts) -> None:
    hosts.deployed()
    for server in hosts.servers.values():
        others = server.printed

        def printed(command: str, others: Callable[[str], str] = others) -> str:
            answer = "route 0 silent\nfailed cvat-analytics-other.service\n"
            return answer if "list-units" in command else others(command)

        server.printed = printed
    hosts.servers["view"].shut()
    result = CliRunner().invoke(main, ["doctor", "--inventory", str(hosts.inventory), "--json"])
    assert result.exit_code == 3, result.output
    found = [(each["weight"], each["host"], each["why"]) for each in json.loads(result.stdout)["findings"]]
    for host in ("store", "in"):
        assert ("now", host, "cvat-analytics-other.service has failed") in found
    silent = "the way from in to ClickHouse is closed: 10.0.0.5 does not answer at port "
    assert [why.startswith(silent) for _, host, why in found if "the way from" in why] == [True]
    assert sum("cannot be reached: " in why for _, _, why in found) == 1
    people = CliRunner().invoke(main, ["doctor", "--inventory", str(hosts.inventory)])
    assert "\n                 -> `journalctl -u cvat-analytics-other.service`\n" in people.stdout


def test_the_reserve_is_the_one_that_is_deployed(hosts: Hosts) -> None:
    hosts.deployed(disk_reserve=2**33)
    for server in hosts.servers.values():
        noted = server.printed

        def printed(command: str, noted: Callable[[str], str] = noted) -> str:
            return "clickhouse 1 4096 9 7\n" if "stat -f" in command else noted(command)

        server.printed = printed
    with remote.reach(hosts.inventory) as access:
        assert {volume.reserve for volume in access.volumes()} == {2**33}


def test_disks_are_asked_beside_all_else(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked here waits for the other: one that hangs would take its time after the others' otherwise."""
    both = threading.Barrier(2)

    def wait(*_: object) -> tuple[()]:
        both.wait(PATIENCE)
        return ()

    monkeypatch.setattr(clocks, "of", wait)
    monkeypatch.setattr(remote, "_volumes", wait)
    result = hosts.status()
    assert result.exit_code == 0, result.output


def test_a_part_that_answers_nowhere_is_dead_where_it_was_deployed(hosts: Hosts) -> None:
    before, new = free_ports(2)
    hosts.deployed(vector_port=before)
    hosts.edit(vector_port=new)
    result = hosts.status()
    assert result.exit_code == 1, result.output
    assert [line.split()[:5] for line in result.stdout.splitlines() if line.startswith("vector ")] == [
        ["vector", "not", "answering", "1.2.3", f"http://127.0.0.1:{before}"]
    ]


def test_a_part_of_the_inventory_that_is_not_deployed_yet_is_said_to_be_that(hosts: Hosts) -> None:
    described = inventory.load(hosts.inventory).topology
    noted = deployed.note(described.settings["in"], ())
    hosts.servers["in"].printed = lambda command: noted if deployed.NOTE in command else "vector inactive\n"
    result = hosts.status()
    assert result.exit_code == 1
    assert "it is not deployed yet" in result.stdout
    assert "not deployed: part 'vector' of in: the inventory says it runs there" in result.stdout


def test_a_host_that_has_left_the_inventory_is_said(hosts: Hosts) -> None:
    described = inventory.load(hosts.inventory)
    every = {**deployed.logins(described.hosts), "old": {"ssh_hostname": "10.9.9.9"}}
    noted = deployed.note(described.topology.settings["in"], ("vector",), every)
    hosts.servers["in"].printed = functools.partial(prints, noted)
    words = "what deploys have made there was not all taken away: "
    command = f"`cvat-analytics uninstall --limit old --inventory {hosts.inventory}`"
    assert (
        f"not deployed: host old: is in the inventory no more, and {words}{command}" in hosts.status().stdout
    )
    assert json.loads(hosts.status("--json").stdout)["left"].keys() == {"old"}
    (found,) = list(of_status.findings(Report([], None, left={"old": deployed.has_left("old")})))
    assert (found.check, found.command) == ("host-left", ("uninstall", "--limit", "old"))
    assert found.why == f"host old: is in the inventory no more, and {words[:-2]}"


def test_other_commands_ask_where_it_was_deployed_too(hosts: Hosts) -> None:
    hosts.deployed()
    hosts.edit(clickhouse_http_port=free_ports(1)[0], database="another")
    result = CliRunner().invoke(main, ["dead-letters", "list", "--inventory", str(hosts.inventory)])
    assert result.exit_code == 0, result.output


def _never(server: SSHServer) -> Callable[[str], str]:
    def printed(command: str) -> str:
        server.ended.wait(60)
        return ""

    return printed


@pytest.mark.parametrize(
    "command",
    [
        ("dead-letters", "retry", "--reason", "x"),
        ("replay", "--since", "2026-01-01"),
        ("buffer", "purge", "x", "--yes"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_needs_all_hosts_refuses_and_names_each_that_is_away(
    hosts: Hosts, command: tuple[str, ...]
) -> None:
    for name in ("in", "view"):
        hosts.servers[name].shut()
    result = CliRunner().invoke(main, [*command, "--inventory", str(hosts.inventory)])
    assert result.exit_code == 3, result.output
    assert [line.split(" cannot")[0] for line in result.stderr.splitlines()] == [
        "cvat-analytics: host in:",
        "cvat-analytics: host view:",
    ]
    assert not hosts.servers["store"].commands
    assert not hosts.servers["store"].forwarded, "nothing was asked, and nothing changed"


def test_a_clock_that_is_wrong_is_a_warning(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(command: str) -> str:
        if command != clocks.COMMAND:
            return units(command)
        now = time.time() - 600
        return f"clock={now}\nNTPSynchronized=no\nclock={now}\n"

    hosts.servers["in"].printed = slow
    result = hosts.status()
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line.startswith("clock ")]
    assert [line.partition(":")[0].split()[1:] for line in lines] == [["host", "in"]] * 2
    assert "its clock is not synchronised" in lines[0]
    assert "its clock is 10 min behind this machine's" in lines[1]
    found = json.loads(hosts.status("--json").stdout)["clocks"]
    (clock,) = found["hosts"]
    assert clock["host"] == "in"
    assert clock["synchronised"] is False
    assert clock["least"] <= -600 <= clock["most"]
    assert len(found["warnings"]) == 2
    monkeypatch.setattr("scripts.smoke.run", lambda access: iter(()))
    smoke = CliRunner().invoke(main, ["smoke", "--inventory", str(hosts.inventory)])
    assert smoke.exit_code == 0, smoke.output
    assert [line.partition(" ")[0] for line in smoke.stderr.splitlines()] == ["clock:", "clock:"]


def test_whoever_reaches_a_stack_can_ask_its_clocks(hosts: Hosts) -> None:
    for server in hosts.servers.values():
        server.printed = lambda command: f"clock={time.time()}\nclock={time.time()}\n"
    with remote.reach(hosts.inventory) as access:
        assert [clock.host for clock in access.clocks()] == list(hosts.servers)

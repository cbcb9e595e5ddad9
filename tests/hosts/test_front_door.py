"""The front door on a real host: TLS, who sees what, exports with curl, closed ports, and what each service may do.

nginx and nftables are Debian's own packages; Grafana is its stand-in.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.config.versions import PREVIOUS
from tests.waiting import until

from . import image
from .command import PROGRAM, cvat_analytics, deploy, smoke
from .conftest import HostFactory
from .host import Host
from .repository import RepositoryServer
from .test_deploy import changes, listening, sql, state
from .test_uninstall import everything, uninstall

Inventory = Callable[..., Path]
UNITS = (
    "clickhouse-server",
    "vector",
    "grafana-server",
    "cvat-analytics-events-api",
    "cvat-analytics-gateway",
    "cvat-analytics-firewall",
)
PEOPLE = {"boss": ["--admin"], "reader": ["--analytics"], "worker": ["--id", "4"]}


def add_people(inventory: Path) -> None:
    """Add the local users; the password of each is `password-of-NAME`."""
    for name, options in PEOPLE.items():
        subprocess.run(
            [PROGRAM, "users", "add", name, *options, "--inventory", inventory],
            input=f"password-of-{name}\n",
            text=True,
            check=True,
            capture_output=True,
        )


def curl(inventory: Path, *arguments: str, who: str = "", password: str = "") -> tuple[int, str]:
    """Run curl as somebody outside would, trusting this stack's authority; return the status and the body."""
    program = shutil.which("curl")
    assert program, (
        "curl is not installed, and the documented lines are curl's: run tests/hosts/prepare as root"
    )
    authority = inventory.parent / "certificates" / "ca.pem"
    login = ["-u", f"{who}:{password or f'password-of-{who}'}"] if who else []
    answer = subprocess.run(
        [
            program,
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "--cacert",
            authority,
            *login,
            "-w",
            "\n%{http_code}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    body, _, status = answer.stdout.rpartition("\n")
    return int(status), body


def export(inventory: Path, host: Host, filters: str, who: str) -> tuple[str, str]:
    """Get a CSV by CVAT's three lines, over TLS and through the gateway; return its query_id and the file."""
    events = f"https://{host.ip}/api/events"
    status, body = curl(inventory, f"{events}?{filters}", who=who)
    assert status == 202, body
    query = json.loads(body)["query_id"]
    status = until(
        lambda: curl(inventory, f"{events}?query_id={query}", who=who)[0],
        "the file is made",
        lambda found: found != 202,
    )
    assert status == 201
    status, file = curl(inventory, f"{events}?query_id={query}&action=download", who=who)
    assert status == 200, file
    return query, file


def can_connect(host: Host, port: int) -> bool:
    """Return whether a port of the host takes a connection from outside."""
    try:
        with socket.create_connection((host.ip, port), timeout=5):
            return True
    except OSError:
        return False


def half_sent(host: Host, count: int) -> int:
    """Begin so many requests to the gateway at once and end none; return how many connections it has taken."""
    with contextlib.ExitStack() as kept:
        taken = 0
        for _ in range(count):
            with contextlib.suppress(ConnectionRefusedError):
                visitor = kept.enter_context(socket.create_connection((host.ip, 80), timeout=30))
                visitor.sendall(b"GET /analytics/ HTTP/1.1\r\nHost: half")
                taken += 1
        return taken


def problems(inventory: Path) -> dict[str, tuple[str, str]]:
    """Return the state of each component and what is wrong with it, as `status` says."""
    parts = json.loads(cvat_analytics("status", "--inventory", inventory, "--json").output)["parts"]
    return {part["name"]: (part["state"], part["problem"]) for part in parts}


def exposure(host: Host, unit: str) -> float:
    """Return what systemd says of a unit: 0 (it may do nothing) to 10 (everything)."""
    report = host.run(f"systemd-analyze security --no-pager {unit}", check=False).output
    line = next(line for line in report.splitlines() if "Overall exposure level" in line)
    return float(line.partition(": ")[2].split()[0])


def own_parts_take_turns(host: Host, path: Path) -> None:
    """Let the events API and the gateway be of another release: each takes its turn, and one that does not start comes back."""
    program, unit = "/opt/cvat-analytics/events-api", "cvat-analytics-events-api"
    theirs = f"/etc/systemd/system/{unit}.service.d/theirs.conf"
    host.run(
        f"touch {program}/of-before; echo {'a' * 64} > /var/lib/cvat-analytics/events-api.sha256; "
        "sed -i '1s/ [0-9a-f]*$/ 0123456789ab/' /etc/cvat-analytics/gateway/nginx.conf"
    )
    # with the newer program it does not start
    host.write(theirs, f"[Service]\nExecStartPre=/usr/bin/test -e {program}/of-before\n")
    host.run("systemctl daemon-reload")
    plan = cvat_analytics("upgrade", "plan", "--inventory", path)
    steps = [line.split()[:3] for line in plan.output.splitlines() if " -> " in line]
    assert steps == [["events_api", "aaaaaaaaaaaa", "->"], ["gateway", "0123456789ab", "->"]], plan.text

    failed = cvat_analytics("upgrade", "apply", "--inventory", path, timeout=900, patient=True)
    assert failed.exit_code == 1, failed.text
    assert f"host {host.name}: brought back: events_api" in failed.error, failed.text
    assert "Mend the cause, or take the former checkout, and deploy again" in failed.error
    host.run(f"ls {program}/of-before && grep -q 0123456789ab /etc/cvat-analytics/gateway/nginx.conf")
    assert problems(path)["events_api"] == ("running", "")

    host.run(f"rm -r {Path(theirs).parent}; systemctl daemon-reload")
    done = cvat_analytics("upgrade", "apply", "--inventory", path, timeout=900, patient=True)
    assert done.exit_code == 0, done.text
    turns = [
        line.split(": ")[1].split(" -> ")[0]
        for line in done.error.splitlines()
        if line.startswith("upgrade ")
    ]
    assert turns == ["the events API aaaaaaaaaaaa", "the gateway 0123456789ab"]
    assert host.run(f"ls {program}/of-before {PREVIOUS}/*/open", check=False).output == ""


def test_a_colleague_with_a_link_and_a_password_sees_what_he_may_and_nothing_else(
    host_factory: HostFactory, inventory: Inventory, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    source = repository_server.complete()
    source.add_files(image.debian_packages("bookworm"))
    link = f"https://{host.ip}/analytics/"
    settings = {
        **source.settings(),
        "grafana_root_url": link,
        "gateway_listen_address": host.ip,
        "gateway_connections_per_address": 100,
        "clickhouse_listen_addresses": [host.ip],
        "vector_listen_address": host.ip,
        "firewall": True,
        "open_to_network": [],
        "health_timeout": "20s",
    }
    as_it_was = everything(host)
    # a gateway that nobody could use is refused before anything changes
    before = state(host)
    refused = cvat_analytics("deploy", "--inventory", inventory({name: [host] for name in COMPONENTS}))
    assert refused.exit_code == 2, refused.text
    assert "is not where people reach the gateway" in refused.text
    assert changes(before, state(host)) == {}

    path = inventory({name: [host] for name in COMPONENTS}, **settings)
    add_people(path)
    deploy(path)
    assert [line for line in smoke(path) if not line.startswith("PASS")] == []

    # the dashboards
    assert [
        curl(path, f"{link}api/search", who=who, password=password)[0]
        for who, password in (("reader", ""), ("boss", ""), ("worker", ""), ("reader", "wrong"), ("", ""))
    ] == [200, 200, 403, 401, 401]
    status, found = curl(path, f"{link}api/search", who="reader")
    assert "All events" in [each["title"] for each in json.loads(found)]

    # CVAT's three lines for an export, over TLS and through the gateway
    sql(
        host,
        "INSERT INTO cvat.events (scope, source, timestamp, user_id, job_id) "
        "SELECT 'save:job', 'client', now() - number, if(number < 3, 4, 5), 7 FROM numbers(5)",
    )
    events = f"https://{host.ip}/api/events"
    for who, rows in (("boss", 5), ("worker", 3)):
        query, file = export(path, host, "job_id=7&filename=job.csv", who)
        assert len(file.splitlines()) == 1 + rows, file
    assert curl(path, f"{events}?job_id=7&user_id=5", who="worker")[0] == 403
    assert curl(path, f"{events}?query_id={query}&action=download", who="reader")[0] in (403, 404)
    status, _ = curl(path, f"http://{host.ip}/analytics/", "-o", "/dev/null")
    assert status == 301

    # from outside only the front door and SSH
    open_ports = [port for port in (22, 80, 443, 3000, 8123, 8282, 8283, 9000) if can_connect(host, port)]
    assert open_ports == [22, 80, 443]
    public = {
        port
        for port, addresses in listening(host).items()
        if any(not address.startswith("127.") and address != "[::1]" for address in addresses)
    }
    assert public == {22, 80, 443, 8123, 8282, 9000}
    assert host.run("systemctl is-enabled nginx", check=False).output.strip() == "masked"

    # what each service may do
    assert {unit: level for unit in UNITS if (level := exposure(host, unit)) > 3.0} == {}

    # half-sent requests of one address leave nginx places for others, and are not taken without end
    taken = half_sent(host, 150)
    assert 0 < taken <= 100, taken

    # what nginx says of a failure is in the journal, and nothing of the request with it
    host.run("systemctl stop grafana-server")
    assert curl(path, f"{link}api/search?token=of-a-query", who="boss")[0] == 502
    told = until(
        lambda: host.run("journalctl --no-pager -u cvat-analytics-gateway").output,
        "nginx says so",
        lambda output: "connect() failed" in output,
    )
    assert "of-a-query" not in told
    host.run("systemctl start grafana-server")
    until(
        lambda: curl(path, f"{link}api/search", who="boss")[0],
        "Grafana is back",
        lambda status: status == 200,
    )

    # nothing of it in what others can see
    secrets = [*json.loads((path.parent / "secrets.json").read_text()).values(), "password-of-reader"]
    for place in ("ps axww -o args", "journalctl --no-pager"):
        shown = host.run(place).output
        assert [secret for secret in [*secrets, "of-a-query"] if secret in shown] == []

    own_parts_take_turns(host, path)
    before = state(host)
    assert "Nothing to change" in deploy(path).output
    assert changes(before, state(host)) == {}

    # how it is, is asked of the front door itself
    assert problems(path) == dict.fromkeys(COMPONENTS, ("running", ""))
    host.run("systemctl stop cvat-analytics-events-api")
    now = problems(path)
    assert now["events_api"][0] == "stopped"
    assert now["gateway"][0] == "failing"
    assert "lets nobody in (HTTP 503): the events API" in now["gateway"][1]
    host.run("systemctl start cvat-analytics-events-api")

    # the right is taken away, the firewall is taken down
    cvat_analytics("users", "remove", "reader", "--inventory", path)
    opened = {"firewall": False, "open_to_network": ["clickhouse", "vector"]}
    deploy(inventory({name: [host] for name in COMPONENTS}, **settings | opened))
    assert curl(path, f"{link}api/search", who="reader")[0] == 401
    assert can_connect(host, 8123)
    rules = host.run("nft list table inet cvat_analytics").output
    assert ("8123" in rules, "ct count over 100" in rules) == (False, True)

    # all of it is taken away: the distribution's packages that it brought along, too
    assert f"host {host.name}: done" in uninstall(path, "--yes", "--purge")
    assert changes(as_it_was, everything(host)) == {}

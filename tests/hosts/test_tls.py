"""TLS inside the stack, on two real hosts: who shows what, who verifies it, and that nothing else is listened on.

ClickHouse's TLS is that of its stand-in (tests/hosts/programs/clickhouse_server.py), which reads the files and ports that are
rendered for ClickHouse; Vector and Grafana are the substitutes.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.pipeline import events

from .command import cvat_analytics, deploy, smoke
from .conftest import HostFactory
from .host import Host
from .test_deploy import changes, listening, sql, state

Inventory = Callable[..., Path]
TLS = {"clickhouse_tls": True, "vector_tls": True, "grafana_tls": True}
HTTPS = {"clickhouse": (8443, "/ping"), "vector": (8282, "/ping"), "grafana": (3000, "/analytics/api/health")}


def public_ports(host: Host) -> set[int]:
    """Return the ports that are listened on beyond loopback."""
    return {
        port
        for port, addresses in listening(host).items()
        if any(not address.startswith("127.") and address != "[::1]" for address in addresses)
    }


def asked(host: Host, port: int, path: str, tls_context: ssl.SSLContext | None) -> int:
    """Return the status of the answer; without `tls_context`, of one that is asked without TLS."""
    connection = (
        http.client.HTTPSConnection(host.ip, port, timeout=10, context=tls_context)
        if tls_context
        else http.client.HTTPConnection(host.ip, port, timeout=10)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def journal_says(host: Host, unit: str, text: str) -> None:
    """Wait until a line of a unit's log has `text`."""
    follow = f"timeout 120 sh -c 'journalctl -f -n 200 -o cat -u {unit} | grep -q -m1 {json.dumps(text)}'"
    assert host.run(follow, check=False).exit_code == 0, host.journal(unit)


def test_every_part_speaks_tls_and_its_clients_verify_it(
    host_factory: HostFactory, inventory: Inventory, tmp_path: Path
) -> None:
    store, rest = hosts = host_factory(), host_factory()
    groups = {"clickhouse": [store], "vector": [rest], "grafana": [rest], "events_api": [rest]}
    usual = {"vector_listen_address": rest.ip, "grafana_listen_address": rest.ip}
    path = inventory(groups, **usual, **TLS)
    deploy(path)
    assert [line for line in smoke(path) if not line.startswith("PASS")] == []

    # beyond loopback there is TLS and nothing else
    assert (public_ports(store), public_ports(rest)) == ({22, 8443, 9440}, {22, 3000, 8282})
    assert {port: listening(store)[port] for port in (8123, 9000)} == {
        8123: {"127.0.0.1"},
        9000: {"127.0.0.1"},
    }
    authority = Authority(path.parent / "certificates")
    ours = ssl.create_default_context(cafile=authority.certificate_file)
    other = Authority(tmp_path / "other")
    others = ssl.create_default_context(cadata=other.make().certificate)
    for component, (port, page) in HTTPS.items():
        (host,) = groups[component]
        assert asked(host, port, page, ours) == 200, component
        for stranger in (others, ssl.create_default_context()):
            with pytest.raises(ssl.SSLCertVerificationError):
                asked(host, port, page, stranger)
        with pytest.raises((OSError, http.client.HTTPException)):
            asked(host, port, page, None)

    # the authority's key stays where the deploy runs from; those of the hosts are for their services alone
    secret = (authority.directory / "ca-key.pem").read_text().splitlines()[1]
    for host in hosts:
        assert host.run(f"grep -rlF -e '{secret}' /etc /var/lib/cvat-analytics", check=False).output == ""
    assert (
        store.run("stat -c '%a %U' /etc/clickhouse-server/cvat-analytics-key.pem").output
        == "640 clickhouse\n"
    )

    # the operator's commands find their way through tunnels, and verify too
    shown = cvat_analytics("status", "--inventory", path)
    assert shown.exit_code == 0, shown.text
    for address in (f"https://{store.ip}:8443", f"https://{rest.ip}:8282", f"https://{rest.ip}:3000"):
        assert address in shown.text
    assert "this stack runs the viewer" in cvat_analytics("dashboards", "diff", "--inventory", path).text

    before = state(store), state(rest)
    assert "Nothing to change" in deploy(path).output
    assert [changes(*each) for each in zip(before, (state(store), state(rest)), strict=True)] == [{}, {}]

    # Vector delivers to nobody whom its authority does not vouch for, and loses nothing meanwhile
    trusted = rest.read("/etc/cvat-analytics/ca.pem")
    rest.write("/etc/cvat-analytics/ca.pem", other.make().certificate)
    rest.run("systemctl restart vector")
    rest.run("timeout 120 sh -c 'until ss -Hltn sport = :8282 | grep -q .; do sleep 0.2; done'")
    waiting = {"scope": "debug:info", "source": "client", "timestamp": "1733480873.5", "job_id": 77}
    events.send([waiting], rest.ip, 8282, tls=ours)
    journal_says(rest, "vector", "certificate verify failed")
    assert sql(store, "SELECT count() FROM cvat.events FINAL WHERE job_id = 77") == "0"
    rest.write("/etc/cvat-analytics/ca.pem", trusted)
    rest.run("systemctl restart vector")
    sent = "SELECT count() FROM cvat.events FINAL WHERE job_id = 77 FORMAT TSV"
    client = "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml"
    store.run(f'timeout 120 sh -c \'until [ "$(echo "{sent}" | {client})" = 1 ]; do sleep 0.2; done\'')

    # and back again
    deploy(inventory(groups, **usual))
    assert [line for line in smoke(path) if not line.startswith("PASS")] == []
    assert (public_ports(store), public_ports(rest)) == ({22, 8123, 9000}, {22, 3000, 8282})
    for host, left in ((store, "/etc/clickhouse-server/*.pem"), (rest, "/etc/cvat-analytics/*.pem")):
        assert host.run(f"ls {left} 2>/dev/null", check=False).output == ""
    assert "tls" not in rest.run("ls /etc/cvat-analytics/secrets/*").output

"""A running ClickHouse takes up what a deploy changes in its users and certificates, while its unit runs on.

With the stand-in packages this is the stand-in, which looks at its files as a server does and starts the engine inside itself
anew (tests/hosts/programs/clickhouse_server.py): it proves that the files get times by which a server can notice them. That a
server then reloads them is shown with `--packages vendor` only.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from tests.tls_port import login, shown
from tests.waiting import until

from .command import cvat_analytics, deploy
from .host import Host
from .lab import Lab
from .programs import clickhouse_server

Inventory = Callable[..., Path]
UNIT = "clickhouse-server"
USERS = "/etc/clickhouse-server/users.d/cvat-analytics.xml"
ELSEWHERE = "192.0.2.7"
TLS_PORTS = {"clickhouse": 8443, "ClickHouse's native": 9440, "vector": 8282, "grafana": 3000}


def test_a_running_server_takes_up_a_password_an_address_and_a_certificate(
    deployed_host: Host, inventory: Inventory, host_lab: Lab
) -> None:
    host, here = deployed_host, host_lab.lan.gateway
    settings = {
        "clickhouse_tls": True,
        "vector_tls": True,
        "grafana_tls": True,
        "clickhouse_listen_addresses": [host.ip],
        "vector_listen_address": host.ip,
        "grafana_listen_address": host.ip,
    }
    path = inventory(host, clickhouse_allowed_addresses=[here, ELSEWHERE], **settings)
    deploy(path)
    certificates = path.parent / "certificates"
    tls_context = ssl.create_default_context(cafile=certificates / "ca.pem")
    unit = host.units(UNIT)

    def password() -> str:
        return str(json.loads((path.parent / "secrets.json").read_text())["clickhouse_cvat"])

    # a password
    old = password()
    assert login(host.ip, 8443, old, tls_context) == 200
    rotated = cvat_analytics("secrets", "rotate", "cvat", "--inventory", path)
    assert rotated.exit_code == 0, rotated.text
    new = password()
    assert [login(host.ip, 8443, each, tls_context) for each in (old, new)] == [200, 200]
    rotated = cvat_analytics("secrets", "rotate", "cvat", "--finish", "--inventory", path)
    assert rotated.exit_code == 0, rotated.text
    assert [login(host.ip, 8443, each, tls_context) for each in (old, new)] == [403, 200]
    assert host.units(UNIT) == unit, host.journal(UNIT)

    # an address that may log in no more, and then may again
    for allowed, status in ((ELSEWHERE, 403), (here, 200)):
        deploy(inventory(host, clickhouse_allowed_addresses=[allowed], **settings))
        until(
            lambda: login(host.ip, 8443, new, tls_context),
            f"who may log in from {allowed} only",
            status.__eq__,
            told=lambda: host.journal(UNIT),
        )
    assert host.units(UNIT) == unit, host.journal(UNIT)

    # certificates: ClickHouse's without a restart, the others' with one
    before = {name: shown(host.ip, port) for name, port in TLS_PORTS.items()}
    assert 0 not in before.values()
    for file in certificates.glob("*.pem"):
        if not file.name.startswith("ca"):
            file.unlink()
    deploy(path)
    until(
        lambda: {name: shown(host.ip, port) for name, port in TLS_PORTS.items()},
        "other certificates are shown",
        lambda now: all(now[name] not in (0, before[name]) for name in TLS_PORTS),
        told=lambda: host.journal(UNIT),
    )
    assert login(host.ip, 8443, new, tls_context) == 200
    assert host.units(UNIT) == unit, host.journal(UNIT)

    # files as earlier versions left them, dated 1970, get their time, and keep it
    host.run(f"touch -d @0 {USERS}")
    deploy(path)
    dated = host.files(USERS)
    assert host.run(f"date -r {USERS} +%Y").output.strip() != "1970"
    assert "Nothing to change" in deploy(path).output
    assert host.files(USERS) == dated
    assert host.units(UNIT) == unit, host.journal(UNIT)


def test_the_stand_in_sees_times_and_paths_and_nothing_else(tmp_path: Path) -> None:
    main = tmp_path / "users.xml"
    drop_in, hidden = tmp_path / "users.d" / "ours.xml", tmp_path / "users.d" / ".ours.xml.new"
    drop_in.parent.mkdir()
    for file in (main, drop_in, hidden):
        file.write_text("<clickhouse/>")

    def seen() -> dict[Path, int]:
        return clickhouse_server.times(clickhouse_server.merged(main))

    before = seen()
    assert list(before) == [main, drop_in]
    drop_in.write_text("<clickhouse><users/></clickhouse>")
    os.utime(drop_in, ns=(0, before[drop_in]))
    assert clickhouse_server.differing(before, seen()) == ""
    os.utime(drop_in, ns=(0, before[drop_in] - 1))
    assert clickhouse_server.differing(before, seen()) == f"{drop_in} has another modification time"
    drop_in.rename(drop_in.with_name("other.xml"))
    assert (
        clickhouse_server.differing(before, seen())
        == f"{drop_in.with_name('other.xml')} is new, {drop_in} is gone"
    )

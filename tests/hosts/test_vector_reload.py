"""A changed configuration of Vector on a real host: reloaded or restarted when it is good, left out when it is not."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from cvat_analytics.credentials.certificates import Authority
from tests.waiting import until

from .command import cvat_analytics, deploy
from .host import Host
from .test_deploy import sql

FILE = "/etc/vector/vector.toml"
USUAL = {"health_timeout": "15s", "disk_reserve": "4GiB"}
"""With half of that as the least, a disk can be too small and yet one on which a real Vector starts, which looks whether its buffers fit."""
# Takes the port under the name of Vector's own process, which a deploy lets pass: what is in the way is seen only by Vector.
SQUATTER = (
    "setsid /opt/standin/programs/run vector -c "
    "'import socket, time; s = socket.create_server((\"127.0.0.1\", 8499)); time.sleep(900)' >/dev/null 2>&1 & "
    "until ss -Hltn | grep -q :8499; do sleep 0.1; done"
)


def send(host: Host, port: int, name: str) -> None:
    """Send an event from the host itself. Fails unless it is answered 200."""
    event = json.dumps({"scope": "load:cvat", "timestamp": "1733480873.184401", "obj_name": name})
    request = f"POST / HTTP/1.0\\r\\nHost: x\\r\\nContent-Length: {len(event)}\\r\\n\\r\\n{event}"
    host.write("/tmp/event", request.replace("\\r\\n", "\r\n"))
    answer = host.run(
        f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; cat /tmp/event >&3; head -n 1 <&3'"
    ).output
    assert " 200 " in answer, answer


def pid(host: Host) -> str:
    return host.run("systemctl show --value -p MainPID vector").output.strip()


def ports(host: Host) -> list[str]:
    """Return where Vector is configured to listen."""
    sources = tomllib.loads(host.read(FILE))["sources"].values()
    return [source["address"] for source in sources if "address" in source]


def takes(host: Host, port: int) -> bool:
    return host.run(f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'", check=False).exit_code == 0


def test_a_changed_configuration_is_proven_applied_and_taken_back(
    deployed_host: Host, inventory: Callable[..., Path], tmp_path: Path
) -> None:
    host = deployed_host
    deploy(inventory(host, **USUAL))
    first = pid(host)
    send(host, 8282, "first")

    # another port beside the old one: a reload, nobody is cut off
    deploy(inventory(host, **USUAL, vector_port=8383, vector_extra_ports=[8282]))
    assert pid(host) == first
    send(host, 8282, "old port")
    send(host, 8383, "new port")
    assert host.run("test -e /var/lib/cvat-analytics/vector.previous.tar", check=False).exit_code == 1

    # Vector refuses the candidate, for the chain of a certificate that is one: nothing on the host is touched
    authority = Authority(tmp_path / "authority")
    authority.make()
    pair = authority.issue("vector", ("vector.example.org",))
    chain = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "certificate.pem").write_text(pair.certificate + chain)
    (tmp_path / "key.pem").write_text(pair.key)
    tls = {
        "vector_tls_certificate": str(tmp_path / "certificate.pem"),
        "vector_tls_key": str(tmp_path / "key.pem"),
    }
    before = host.files("/etc/vector", "/etc/systemd/system", "/etc/cvat-analytics/secrets")
    refused = cvat_analytics("deploy", "--inventory", inventory(host, **USUAL, vector_port=8383, **tls))
    assert refused.exit_code != 0
    assert "Vector refuses the new configuration. What runs now was not touched" in refused.text
    assert "tls.crt_file" in refused.text
    assert host.files("/etc/vector", "/etc/systemd/system", "/etc/cvat-analytics/secrets") == before
    assert host.run("ls -A /run/cvat-analytics").output.strip() == ""

    # Vector accepts the candidate but cannot have the port: the reload fails, and so does the restart
    host.run(SQUATTER)
    for values, how in (
        ({"vector_extra_ports": [8499]}, "reload"),
        ({"vector_extra_ports": [8499], "vector_buffer_size": "300MiB"}, "restart"),
    ):
        failed = cvat_analytics("deploy", "--inventory", inventory(host, **USUAL, vector_port=8383, **values))
        assert failed.exit_code != 0
        assert "cannot listen on 127.0.0.1 port 8499" in failed.text
        assert f"the {how} with the new configuration failed" in failed.text
        assert "The old configuration is at work again" in failed.text
        assert (pid(host) == first) == (how == "reload")
        # and the one on which large requests come back
        assert ports(host) == ["127.0.0.1:8383", "127.0.0.1:8282", "127.0.0.1:8284"]
        send(host, 8282, f"after a failed {how}, old port")
        send(host, 8383, f"after a failed {how}, new port")

    # and the next good deploy goes through
    deploy(inventory(host, **USUAL, vector_port=8383))
    assert ports(host) == ["127.0.0.1:8383", "127.0.0.1:8284"]
    send(host, 8383, "last")
    host.run(
        'for i in $(seq 60); do [ "$(clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml '
        '--query "SELECT count() FROM cvat.events WHERE obj_name = \'last\'")" = 1 ] && break; sleep 0.5; done'
    )
    names = sql(host, "SELECT obj_name FROM cvat.events FINAL WHERE obj_name != '' ORDER BY obj_name").split(
        "\n"
    )
    assert names == sorted(
        ["first", "old port", "new port", "last"]
        + [f"after a failed {how}, {port} port" for how in ("reload", "restart") for port in ("old", "new")]
    )
    assert host.run("systemctl is-active cvat-analytics-journal.timer").output.strip() == "active"
    host.run("systemctl start cvat-analytics-journal.service")

    # Vector's disk fills up (a smaller one stands for that): it closes its ports, so that CVAT keeps its events, and opens them by itself
    small, large = (f"mount -o remount,size={size} /var/lib/vector" for size in ("1800m", "4g"))
    host.run(
        "systemctl stop vector && mount -t tmpfs -o size=4g,mode=750 tmpfs /var/lib/vector && chown vector: /var/lib/vector && "
        "systemctl start vector"
    )
    until(lambda: takes(host, 8383), "the port")
    host.run(small)
    until(lambda: not takes(host, 8383), "the port is closed")
    until(lambda: takes(host, 8284), "what waits is delivered")
    full = cvat_analytics("deploy", "--dry", "--inventory", inventory(host, **USUAL, vector_port=8383))
    assert full.exit_code == 2
    assert re.search(
        r"the disk of Vector \(/var/lib/vector\) has 1\.\d GiB of 1\.8 GiB free: Vector takes no events, which CVAT keeps, "
        r"until 3\.0 GiB are free; make room",
        full.text,
    ), full.text
    status = cvat_analytics("status", "--inventory", inventory(host, **USUAL, vector_port=8383))
    assert "the disk of Vector (/var/lib/vector)" in status.text.splitlines()[0]
    assert (
        "takes nothing: its disk (/var/lib/vector) has 1.8 GiB of 1.8 GiB free, and 3.0 GiB are needed: make room"
        in status.text
    )
    assert status.exit_code == 1
    # room for it to be open, but not to be opened: somebody who makes room may stop here
    host.run("mount -o remount,size=2500m /var/lib/vector")
    status = cvat_analytics("status", "--inventory", inventory(host, **USUAL, vector_port=8383))
    assert "Vector takes no events, which CVAT keeps, until 3.0 GiB are free" in status.text.splitlines()[0]
    assert "takes nothing: its disk (/var/lib/vector) has " in status.text
    host.run(large)
    until(lambda: takes(host, 8383), "the port is open again")
    send(host, 8383, "room again")

    # an empty note of a mutation, as a full disk leaves it, does not keep ClickHouse from starting
    (note,) = [
        f"{path}mutation_99.txt"
        for path in sql(
            host, "SELECT data_paths[1] FROM system.tables WHERE database = 'cvat' AND name = 'events'"
        ).split()
    ]
    host.run(
        f"install -o clickhouse -g clickhouse -m 640 /dev/null {note} && systemctl restart clickhouse-server"
    )
    until(
        lambda: sql(host, "SELECT count() FROM cvat.events FINAL WHERE obj_name = 'room again'"),
        "ClickHouse",
        lambda seen: seen == "1",
        despite=AssertionError,
    )
    assert host.run(f"test -e {note}", check=False).exit_code == 1
    assert note in host.run("journalctl --sync; journalctl --no-pager -u clickhouse-server").output

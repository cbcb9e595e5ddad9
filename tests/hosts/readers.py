"""Whether ClickHouse on a host puts its readers behind inserts, and may do nothing else for that."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cvat_analytics.config.query_limits import READER_NICE
from tests.waiting import until

from .host import Host

_CAP_SYS_NICE = 1 << 23
_PACKAGE_MARKS = "cap_net_admin,cap_sys_nice,cap_net_bind_service=+ep"
"""With what the package marks its program (ClickHouse, programs/install/Install.cpp), but CAP_IPC_LOCK, which no container of ours has."""
_CLIENT = "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml --query"


def mark_server(host: Host) -> None:
    """Start the server anew, its program marked with capabilities until the next boot, as the package does where `setcap` is installed.

    The stand-in's program is an interpreter, on a file system that can only be read: a copy takes its place.
    """
    host.run(
        f"program=$(readlink -f /proc/{_main(host)}/exe) && cp $program /root/marked && setcap {_PACKAGE_MARKS} /root/marked "
        "&& mount --bind /root/marked $program && systemctl restart clickhouse-server"
    )
    until(lambda: host.run(f"{_CLIENT} 'SELECT 1'", check=False).output.strip(), "it answers", "1".__eq__)


def are_behind_inserts(host: Host, inventory: Path) -> None:
    """Assert that a running reader's threads are, of a server that has no capability but the one which that takes."""
    status = host.run(f"cat /proc/{_main(host)}/status").output
    held = {
        name: int(value, 16) for name, value in re.findall(r"^Cap(Prm|Eff):\s*(\w+)$", status, re.MULTILINE)
    }
    assert held == {"Prm": _CAP_SYS_NICE, "Eff": _CAP_SYS_NICE}
    started = int(host.run(f"ps -o ni= -q {_main(host)}").output)
    assert started != READER_NICE, "start the tests with another nice value"
    password = json.loads((inventory.parent / "secrets.json").read_text())["clickhouse_grafana"]
    host.write("/root/reader", f'user = "grafana:{password}"\nurl = "http://127.0.0.1:8123/"\nsilent\n')
    host.run(
        "systemd-run --quiet --collect --unit=reader curl --config /root/reader "
        "--data 'SELECT sum(sleep(1)) FROM numbers(1000000000) FORMAT Null'"
    )
    until(
        lambda: _nice_values(host, "user = 'grafana'"),
        "a thread of the reader is behind",
        lambda values: READER_NICE in values,
        patience=60,
    )
    # as the server was started, or taken back after a reader
    assert _nice_values(host, "query_id = queryID()") <= {0, started}
    # it may be over by itself: a reader has a minute
    host.run("systemctl stop reader || true; rm /root/reader")


def _main(host: Host) -> str:
    return host.run("systemctl show --value -p MainPID clickhouse-server").output.strip()


def _nice_values(host: Host, condition: str) -> set[int]:
    """Return the nice values of the threads of the queries for which the condition holds, those of which that are still there."""
    query = f"SELECT arrayStringConcat(arrayMap(id -> concat('/proc/', toString(id), '/stat'), arrayFlatten(groupArray(thread_ids))), ' ') FROM system.processes WHERE {condition}"
    script = f"files=$({_CLIENT} {json.dumps(query)}); cat /dev/null $files 2>/dev/null; true"
    # after the name in brackets the third is the first (proc_pid_stat(5))
    return {
        int(line.rpartition(")")[2].split()[16])
        for line in host.run(script).output.splitlines()
        if ")" in line
    }

"""A host is left as it was before its first deploy, with what others had there; and an uninstall that is killed is completed."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from cvat_analytics.config.settings import COMPONENTS

from . import image
from .command import PROGRAM, cvat_analytics, deploy, smoke
from .conftest import HostFactory
from .host import Host
from .repository import RepositoryServer
from .test_deploy import changes, listens, sql

Inventory = Callable[..., Path]

OTHERS = (
    # what programs of the system's write as they go, and what they keep of each change
    r"/var/log/(apt|journal|dpkg\.log|alternatives\.log|wtmp|lastlog|btmp|faillog)",
    r"/var/cache/(apt|debconf|ldconfig)/",
    r"/var/lib/apt/(lists/|extended_states|periodic)",
    r"/var/lib/dpkg/(status|status-old|available|available-old|lock|lock-frontend|diversions|statoverride|triggers/|info/|updates|alternatives)",
    r"/var/lib/(systemd/|logrotate/)",
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$",
    r"/etc/(ld\.so\.cache|\.pwd\.lock|machine-id)$",
    # the tests' own
    r"/(var/)?tmp/",
    r"/run/",
)
"""What may differ afterwards: none of it is the stack's, and it is there on any host that packages come to and go from."""


def everything(host: Host) -> dict[str, str]:
    """Return all that is on a host: files with modes, owners and where links lead to, users, packages, units, rules, ports."""
    skipped = " -o ".join(f"-path {path}" for path in ("/proc", "/sys", "/dev", "/opt/standin"))
    listed = host.run(f"find / \\( {skipped} \\) -prune -o -printf '%p\\t%M %u:%g %l\\n'").output
    found = dict(line.split("\t", 1) for line in listed.splitlines())
    found = {path: what for path, what in found.items() if not any(re.match(other, path) for other in OTHERS)}
    contents = host.run("find /etc -type f -exec sha256sum {} +").output.splitlines()
    found |= {
        f"content of {path}": digest
        for digest, path in (line.split("  ", 1) for line in contents)
        if not any(re.match(other, path) for other in OTHERS)
    }
    for name, command in {
        "package": "dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'",
        "user": "cat /etc/passwd",
        "group": "cat /etc/group",
        "unit": "systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}'",
        "running": "systemctl list-units --no-legend --no-pager --plain --type=service,timer --state=active,failed | awk '{print $1, $4}'",
        "rule": "nft list ruleset",
        "port": "ss -Hltn | awk '{print $4}'",
    }.items():
        found |= {f"{name} {line}": "" for line in host.run(command).output.splitlines()}
    return found


def uninstall(inventory: Path, *options: str) -> str:
    outcome = cvat_analytics("uninstall", "--inventory", inventory, *options)
    assert outcome.exit_code == 0, outcome.text
    return outcome.output


def killed_at(host: Host, inventory: Path, step: str, *options: str) -> None:
    """Begin an uninstall, and kill it without a word as soon as it says that it begins with `step`."""
    with subprocess.Popen(
        [PROGRAM, "uninstall", "--inventory", inventory, "--yes", *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(step in line for line in process.stdout), step
        process.kill()
        # and what it has begun on the host: whatever is under way there ends with its step
        lock = "/run/cvat-analytics-deploy.lock"
        host.run(f"kill -9 $(awk '{{print $NF}}' {lock}); flock -w 120 {lock} true")
    assert process.returncode == -signal.SIGKILL


def test_a_host_that_was_shared_is_as_it_was_before_the_first_deploy(
    host_factory: HostFactory, inventory: Inventory, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    # what others have there: an nginx, rules of nftables, a Grafana with a user of its own kind, a file in a directory of Vector's
    debs = "/usr/share/test-host/debs"
    host.run(f"dpkg --install {debs}/*.deb >/dev/null 2>&1; dpkg --configure -a")
    host.write(
        "/etc/nftables.conf",
        "table inet theirs {\n chain input {\n type filter hook input priority 0\n tcp dport 9 drop\n }\n}\n",
    )
    host.run("systemctl enable -q --now nginx nftables")
    host.run("useradd --system --user-group --no-create-home vector")
    host.write("/etc/vector/vector.toml", "# theirs\n", mode=0o640)
    listens(host, 80)
    before = everything(host)

    source = repository_server.complete()
    source.add_files(image.debian_packages("bookworm"))
    path = inventory(
        {name: [host] for name in COMPONENTS},
        **source.settings(),
        grafana_root_url=f"https://{host.ip}:8443/analytics/",
        gateway_https_port=8443,
        gateway_http_port=8080,
        gateway_listen_address=host.ip,
        firewall=True,
        open_to_network=[],
    )
    deploy(path)
    smoke(path)
    sql(
        host,
        "INSERT INTO cvat.events (scope, source, timestamp) VALUES ('kept', 'test', '2026-01-02 03:04:05')",
    )

    # what is asked is what is done; nothing is done before
    installed = everything(host)
    preview = uninstall(path, "--dry")
    assert changes(installed, everything(host)) == {}
    assert "leaves      /var/lib/clickhouse" not in preview
    assert "keeps       /var/lib/clickhouse (" in preview
    lost = uninstall(path, "--dry", "--purge")
    assert re.search(
        r"DELETES     /var/lib/clickhouse \(.*\): [0-9]+ events from 2026-01-02 03:04:05", lost
    ), lost
    print(preview, lost)
    killed_at(host, path, "remove the packages")
    print(uninstall(path, "--yes"))
    again = uninstall(path, "--yes")
    print(again)
    assert "nothing of a deploy is there, but data that was kept" in again
    assert host.run("ls /var/lib/clickhouse/store").output
    assert {"clickhouse", "grafana", "vector"} <= set(host.run("cut -d: -f1 /etc/passwd").output.split())

    killed_at(host, path, "delete /var/lib", "--purge")
    print(uninstall(path, "--yes", "--purge"))
    assert "nothing of a deploy is there\n" in uninstall(path, "--yes", "--purge")
    assert changes(before, everything(host)) == {}

"""A host is left as it was before its first deploy, with what others had there; and an uninstall that is killed is completed."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from cvat_analytics.config.settings import COMPONENTS, GROUPS

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
        "rule": "command -v nft >/dev/null || exit 0; nft list ruleset",
        "port": "ss -Hltn | awk '{print $4}'",
    }.items():
        found |= {f"{name} {line}": "" for line in host.run(command).output.splitlines()}
    return found


def uninstall(inventory: Path, *options: str) -> str:
    outcome = cvat_analytics("uninstall", "--inventory", inventory, *options)
    assert outcome.exit_code == 0, outcome.text
    return outcome.output


def killed_in_the_middle(host: Host, inventory: Path) -> None:
    """Begin an uninstall, which has stopped the services and cannot remove packages yet, and kill it here and there without a word."""
    hold = (
        "import fcntl, pathlib, time; file = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); "
        "pathlib.Path('/run/holder').touch(); time.sleep(900)"
    )
    host.run(f"systemd-run -q --unit=holder python3 -c {shlex.quote(hold)}")
    host.run("timeout 60 sh -c 'until [ -e /run/holder ]; do sleep 0.1; done'")
    with subprocess.Popen(
        [PROGRAM, "uninstall", "--inventory", inventory, "--yes"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("remove the packages" in line for line in process.stdout)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    lock = "/run/cvat-analytics-deploy.lock"
    host.run(
        f"kill -9 -- -$(ps -o pgid= $(awk '{{print $NF}}' {lock}) | tr -d ' '); flock -w 120 {lock} true"
    )
    host.run("systemctl stop holder; rm /run/holder")
    assert "install ok installed" in host.run("dpkg -s vector").output
    assert host.run("systemctl is-active vector", check=False).output == "inactive\n"


def test_a_host_that_was_shared_is_as_it_was_before_the_first_deploy(
    host_factory: HostFactory, inventory: Inventory, repository_server: RepositoryServer
) -> None:
    host = host_factory()
    source = repository_server.complete()
    source.add_files(image.debian_packages("bookworm"))
    # what others have there: an nginx, rules of nftables, a Grafana that does not run, a user and a file where Vector's will be
    debs = "/usr/share/test-host/debs"
    host.run(f"dpkg --install $(ls {debs}/*.deb | grep -v restic) >/dev/null 2>&1; dpkg --configure -a")
    host.write(
        "/etc/nftables.conf",
        "table inet theirs {\n chain input {\n type filter hook input priority 0\n tcp dport 9 drop\n }\n}\n",
    )
    host.run("systemctl enable -q --now nginx nftables")
    theirs = " ".join(
        file.name for name in ("musl", "grafana") for file in source.directory.glob(f"{name}_*.deb")
    )
    host.run(
        f"cd /tmp; for file in {theirs}; do curl -sSfO {source.url}$file; done; dpkg --install {theirs}; rm {theirs}"
    )
    host.run("useradd --system --user-group --no-create-home vector")
    host.write("/etc/vector/vector.toml", "# theirs\n", mode=0o640)
    listens(host, 80)
    before = everything(host)

    settings = {
        **source.settings(),
        "grafana_root_url": f"https://{host.ip}:8443/analytics/",
        "gateway_https_port": 8443,
        "gateway_http_port": 8080,
        "gateway_listen_address": host.ip,
        "firewall": True,
        "open_to_network": [],
        "backup_target": "/srv/backups",
    }
    path = inventory({name: [host] for name in COMPONENTS}, **settings)
    deploy(path)
    smoke(path)
    sql(
        host,
        "INSERT INTO cvat.events (scope, source, timestamp) VALUES ('kept', 'test', '2026-01-02 03:04:05')",
    )

    # two parts leave the host: with all that is theirs, but not the exports
    path = inventory({name: [host] for name in GROUPS}, **settings)
    leaving = cvat_analytics("deploy", "--inventory", path, "--dry")
    name = "gateway, events_api: removed, as it has left this host"
    assert f"would change  {name}  on {host.name}" in leaving.output
    deploy(path)
    assert (
        host.run(
            "systemctl list-units --all --plain --no-legend 'cvat-analytics-gateway*' 'cvat-analytics-events-api*'"
        ).output
        == ""
    )
    gone = (
        "/opt/cvat-analytics/events-api",
        "/etc/cvat-analytics/gateway/nginx.conf",
        "/etc/cvat-analytics/secrets/cvat-analytics-gateway",
    )
    assert host.run(f"ls -d {' '.join(gone)}", check=False).output == ""
    host.run("ls -d /var/lib/private/cvat-analytics-events-api")

    # what is asked is what is done; nothing is done before
    installed = everything(host)
    preview = uninstall(path, "--dry")
    # services go on writing
    data = r"/var/(lib|log)/(clickhouse|clickhouse-server|vector|grafana|private)/"
    assert [path for path in changes(installed, everything(host)) if not re.match(data, path)] == []
    assert "leaves      /var/lib/clickhouse" not in preview
    assert "keeps       /var/lib/clickhouse (" in preview
    lost = uninstall(path, "--dry", "--purge")
    assert re.search(
        r"DELETES     /var/lib/clickhouse \(.*\): [0-9]+ events? from 2026-01-02 03:04:05", lost
    ), lost
    killed_in_the_middle(host, path)
    assert f"host {host.name}: done" in uninstall(path, "--yes")
    again = uninstall(path, "--yes")
    assert "leaves      /var/lib/grafana: the package grafana stays" in preview
    assert "nothing of a deploy is there, but data that was kept" in again
    assert host.run("ls /var/lib/clickhouse/store").output
    assert {"clickhouse", "grafana", "vector"} <= set(host.run("cut -d: -f1 /etc/passwd").output.split())

    assert f"host {host.name}: done" in uninstall(path, "--yes", "--purge")
    assert "nothing of a deploy is there\n" in uninstall(path, "--yes", "--purge")
    # the backups; and what their Grafana has in its own directories since it ran
    found = changes(before, everything(host))
    assert {path: what for path, what in found.items() if not re.match("/var/(lib|log)/grafana/", path)} == {
        "/srv/backups": (None, "drwx------ root:root ")
    }
    assert not [path for path in found if "plugins" in path]

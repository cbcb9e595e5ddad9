"""A host as the deploy of a release that was kept (tests/releases) has left it: its files, its notes, its database with events."""

from __future__ import annotations

import base64
import io
import json
import shlex
import tarfile
from hashlib import sha256
from pathlib import Path

from cvat_analytics.credentials import secrets
from cvat_analytics.store import migrations
from tests.releases.test_upgrade_from import RELEASES, scripts_of

from .host import Host

NEWEST = RELEASES[-1]
_STATE = "/var/lib/cvat-analytics"
_FORMER = "/etc/cvat-analytics/dashboards/former.json"
"""Stands for a dashboard of then that there is no more; those of then are not kept."""
_ABOUT_TODAY = "made before deployed-files previous former-vector"
_CLIENT = "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml"
_SENT = json.dumps(
    [{"scope": "save:job", "source": "client", "timestamp": "1790000000.5", "obj_id": 4711, "org_slug": "then"}]
)  # fmt: skip


def leave(host: Host, inventory: Path, release: Path = NEWEST) -> int:
    """Make a host on which today's deploy has installed the packages be as that of `release` left one, and return how many events it has.

    `inventory`: the directory with its passwords, which loses those that the release did not know.
    """
    noted = host.run(f"cat {_STATE}/deployed-files").output.splitlines()
    today = {line.split(" ", 4)[4] for line in noted}
    listed = [line.split() for line in (release / "modes.txt").read_text().splitlines()]
    then = {path for *_, path in listed}
    gone = [
        path
        for path in today - then
        if "/apt/" not in path and "/dashboards/" not in path and not path.endswith("/tests.toml")
    ]
    host.run(
        "systemctl disable -q --now vector grafana-server cvat-analytics-room cvat-analytics-journal.timer; "
        f"cd {_STATE} && rm -rf {_ABOUT_TODAY}; rm -f {' '.join(map(shlex.quote, gone))}; "
        f"for note in *.applied; do echo then > $note; done; touch {_FORMER}"
    )
    texts = {path: (release / "files" / path.lstrip("/")).read_text() for path in then}
    known = _with_passwords(texts, inventory / "secrets.json")
    first = [
        "DROP DATABASE IF EXISTS cvat SYNC",
        *migrations.bootstrap("cvat"),
    ]  # where it is begun once more
    scripts: list[str] = []
    migrations.apply(scripts_of(release), "cvat", scripts.append)
    events = (release / "events.jsonl").read_text()
    scripts.append(f"INSERT INTO cvat.incoming_events FORMAT JSONEachRow {events}")
    files = {path: (mode, user, group, known[path]) for mode, user, group, path in listed}
    for database, statements in (("default", first), ("cvat", scripts)):
        files[f"/root/{database}.sql"] = ("600", "root", "root", ";\n".join(statements))
    host.run(f"echo {_packed(files)} | base64 -d | tar -xzpf - -C /")
    host.write(f"{_STATE}/deployed.json", (release / "deployed.json").read_text(), mode=0o600)
    # a server without data: one that has just started may wait for its views, which are refreshed then, before it drops them
    host.run(
        "systemctl daemon-reload; systemctl stop clickhouse-server; find /var/lib/clickhouse -mindepth 1 -delete; systemctl start clickhouse-server"
    )
    host.run(f"timeout 120 sh -c {shlex.quote(f'until {_CLIENT} --query "SELECT 1"; do sleep 0.5; done')}")
    # from its beginning once more where a slow machine gives the client no answer in time
    run = " && ".join(
        f"{_CLIENT} --database={name} --multiquery < /root/{name}.sql" for name in ("default", "cvat")
    )
    hangs = f"{{ {_CLIENT} --query 'SELECT elapsed, query FROM system.processes FORMAT Vertical'; exit 1; }}"
    host.run(
        f"timeout 180 sh -c {shlex.quote(f'until {run}; do sleep 1; done')} || {hangs}; rm /root/default.sql /root/cvat.sql"
    )
    host.run(
        "systemctl enable -q --now vector grafana-server cvat-analytics-room cvat-analytics-journal.timer"
    )
    # and one that its Vector takes
    send = f"import urllib.request as r; r.urlopen(r.Request('http://127.0.0.1:8282/', {_SENT.encode()!r}, {{'Content-Type': 'application/json'}}))"
    host.run(f"timeout 120 sh -c {shlex.quote(f'until python3 -c {shlex.quote(send)}; do sleep 0.5; done')}")
    return len(events.splitlines()) + 1


def is_left(host: Host) -> bool:
    """Return whether the host has what only the release had."""
    return host.run(f"ls {_FORMER}", check=False).exit_code == 0


def _with_passwords(texts: dict[str, str], file: Path) -> dict[str, str]:
    """Return the texts with the host's passwords in place of those that a release is kept with."""
    values = json.loads(file.read_text())
    users = texts["/etc/clickhouse-server/users.d/cvat-analytics.xml"]
    known = {name: value for name, value in values.items() if name in secrets.NAMES}
    for name, value in known.items():
        kept = f"test-{name}"
        for before, after in (
            (kept, value),
            (*(sha256(each.encode()).hexdigest() for each in (kept, value)),),
        ):
            texts = {path: text.replace(before, after) for path, text in texts.items()}
    assert users != texts["/etc/clickhouse-server/users.d/cvat-analytics.xml"]
    # a password of today: the next deploy has to make one
    del values["backup_recovery_key"]
    file.write_text(json.dumps(values))
    file.chmod(0o600)
    return texts


def _packed(files: dict[str, tuple[str, str, str, str]]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, (mode, user, group, text) in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode, entry.uname, entry.gname = len(content), int(mode, 8), user, group
            archive.addfile(entry, io.BytesIO(content))
    return base64.b64encode(buffer.getvalue()).decode()

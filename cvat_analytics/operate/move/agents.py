"""The agents of backups for the time of a move: on the old host one that writes into a place on the new one, there one that reads it.

They are not those of the timer, have files of their own, and are gone when the part has moved.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from cvat_analytics.connect import remote
from cvat_analytics.connect.shell import Shell
from cvat_analytics.operate import erasure_list
from cvat_analytics.operate.backup import over_ssh, questions
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.keys import RECOVERY_KEY, derived_password
from cvat_analytics.operate.backup.running import Said, Tell
from cvat_analytics.operate.move.copying import Ends
from cvat_analytics.operate.move.site import Site, way
from cvat_analytics.rendering.files import BACKUP, BACKUP_VERIFY, Paths
from cvat_analytics.rendering.made import STATE

_PLACE = f"{STATE}/move"
"""Of the agents' own, on both hosts."""
_REPOSITORY = f"{STATE}/move-repository"
"""The place for backups on the new host; whoever logs in there owns it. Not beside ClickHouse's data, which nobody else may enter."""
_MARK = "cvat-analytics-move"
_HOST_KEYS = "/etc/ssh/ssh_host_*_key.pub"
_TIMERS = f"{BACKUP}.timer {BACKUP_VERIFY}.timer"
_PATIENCE = 60.0
_WHO = "${SUDO_USER:-$(id -un)}"
"""Who has logged in."""


def place(site: Site) -> None:
    """Put down what the agents are told, and let the old host in at the new one, for files alone."""
    move = site.move
    old, new = site.shells[move.source], site.shells[move.target]
    address, port = way(site)
    key, known = f"{_PLACE}/ssh_key", f"{_PLACE}/known_hosts"
    for shell in (old, new):
        shell.run(f"install -d -m 700 {_PLACE}", _PATIENCE)
    # no backup is made of what is not all there yet
    new.run(f"systemctl -q stop {_TIMERS} 2>/dev/null || true", _PATIENCE)
    # what was cut off leaves no half of a pair
    public = old.run(
        f"[ -e {key} ] || {{ rm -f {key}.new*; ssh-keygen -q -t ed25519 -N '' -C {_MARK} -f {key}.new && mv {key}.new.pub {key}.pub && mv {key}.new {key}; }}; "
        f"cat {key}.pub",
        _PATIENCE,
    ).strip()
    host_keys = new.run(f"cat {_HOST_KEYS}", _PATIENCE)
    shown = f"[{address}]:{port}" if port != 22 else address
    old.write(known, "".join(f"{shown} {line}\n" for line in host_keys.splitlines()).encode())
    line = f'restrict,command="internal-sftp" {public}'
    user = new.run(
        f'who={_WHO}; home=$(getent passwd "$who" | cut -d: -f6); group=$(id -gn "$who"); '
        f'install -d -m 700 -o "$who" -g "$group" {_REPOSITORY} && chown -R "$who" {_REPOSITORY} && '
        # it may be a link, and is not to become another's
        f'install -d -m 700 -o "$who" -g "$group" "$home/.ssh" && file="$home/.ssh/authorized_keys" && '
        f'{{ [ -e "$file" ] || install -m 600 -o "$who" -g "$group" /dev/null "$file"; }} && '
        f'{{ grep -qxF {shlex.quote(line)} "$file" || echo {shlex.quote(line)} >> "$file"; }} && echo "$who"',
        _PATIENCE,
    ).strip()
    login = f"{user}@[{address}]" if ":" in address else f"{user}@{address}"
    ssh = [
        "ssh",
        "-F",
        "none",
        "-i",
        key,
        "-p",
        str(port),
        "-o",
        f"UserKnownHostsFile={known}",
        "-o",
        "BatchMode=yes",
        f"{user}@{address}",
        "-s",
        "sftp",
    ]
    secrets = site.stack.secrets()
    for shell, target, options in (
        (old, f"sftp:{login}:{_REPOSITORY}", ["-o", f"sftp.command={shlex.join(ssh)}"]),
        (new, _REPOSITORY, []),
    ):
        settings, paths = (site.before if shell is old else site.after).topology.settings[shell.host], Paths()
        config = Config(
            host=shell.host,
            state=f"{_PLACE}/state",
            target=target,
            password_file=f"{_PLACE}/repository_password",
            options=options,
            clickhouse_url=f"http://127.0.0.1:{settings.clickhouse_http_port}",
            clickhouse_password_file=f"{_PLACE}/clickhouse_password",
            database=settings.database,
            staging=f"{paths.clickhouse_data}/backups",
            checks=f"{_PLACE}/checks.json",
        )
        shell.write(config.password_file, derived_password(secrets[RECOVERY_KEY]).encode())
        shell.write(config.clickhouse_password_file, secrets["clickhouse_admin"].encode())
        shell.write(f"{_PLACE}/agent.json", config.text().encode())
    new.write(f"{_PLACE}/checks.json", questions.text().encode())


@contextmanager
def ends(site: Site) -> Iterator[Ends]:
    """Yield the two ends, with what the agents need in its place. Raises CvatAnalyticsError."""
    place(site)
    shells = site.shells
    with remote.reach_hosts(site.after) as (stack, access, _):
        yield Ends(
            partial(_run, shells[site.move.source]),
            partial(_run, shells[site.move.target]),
            access,
            stack.secrets_file.with_name(erasure_list.FILE_NAME),
        )


def _run(shell: Shell, arguments: Sequence[str], tell: Tell) -> Said:
    """Have an agent do something, and the one of the timer nothing meanwhile. One that was left at work when a run was cut off is waited for."""
    timers, own = f"{Paths().backup_data}/lock", f"{_PLACE}/state/lock"
    waiting = f"[ ! -e {own} ] || flock {own} true; held=; [ ! -e {timers} ] || held='flock {timers}'"
    agent = f"$held {over_ssh.command(f'{_PLACE}/agent.json')} {shlex.join(arguments)}"
    return over_ssh.heard(shell, f"{waiting}; {agent}", tell)


def end_backups(site: Site) -> None:
    """Have the old host make no backups any more: they would be taken for good ones, and their prune would remove the new host's."""
    site.shells[site.move.source].run(f"systemctl disable -q --now {_TIMERS} 2>/dev/null || true", _PATIENCE)


def clear(site: Site) -> None:
    """Take away what was there for the move alone, and let backups go on."""
    new, old = site.shells[site.move.target], site.shells[site.move.source]
    new.run(
        f'home=$(getent passwd "{_WHO}" | cut -d: -f6); file="$home/.ssh/authorized_keys"; '
        f'[ ! -e "$file" ] || sed -i --follow-symlinks \'/ {_MARK}$/d\' "$file"; rm -rf {_PLACE} {_REPOSITORY}',
        15 * _PATIENCE,
    )
    new.run(
        f"for timer in {_TIMERS}; do systemctl -q is-enabled $timer 2>/dev/null && systemctl start $timer; done; true",
        _PATIENCE,
    )
    old.run(f"rm -rf {_PLACE}", _PATIENCE)

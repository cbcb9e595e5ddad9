"""What a deploy makes on a host, and the record of it there: so that an uninstall takes away just that.

Before a deploy makes something that is not there, it notes it on the host, one line each: `path /etc/vector`, `package vector`, `user
vector`. What was there before is not in the record, and stays; a file that is replaced is kept as it was. What deploys write under the
project's name needs no note; whatever else has that name is somebody's own: a checkout, backups. A host that an earlier version has deployed to has no record: the next deploy begins it with the line `earlier`,
and what apt itself has noted of the packages that deploys have installed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from cvat_analytics.config.versions import PREVIOUS
from cvat_analytics.connect.volumes import DIRECTORIES
from cvat_analytics.rendering.files import BACKUP, BACKUP_VERIFY

STATE = "/var/lib/cvat-analytics"
"""Where deploys remember things on a host."""
RECORD = f"{STATE}/made"
BEFORE = f"{STATE}/before"
"""What deploys have replaced, as it was, below its own path."""


@dataclass(frozen=True)
class Part:
    """What one component has on a host, as far as its name does not say that it is this project's."""

    units: tuple[str, ...]
    """In the order in which they are stopped."""
    packages: tuple[str, ...] = ()
    """The vendor's."""
    user: str = ""
    """Whom the packages make, with a group of that name."""
    roots: tuple[str, ...] = ()
    """Directories that the packages make, beside those with data."""
    generated: tuple[str, ...] = ()
    """Patterns of what the packages' scripts write, which no purge removes."""
    data: tuple[str, ...] = ()
    """Where its data and its logs are."""
    files: tuple[str, ...] = ()
    """Patterns of what deploys write for it, also where the name says whose it is; directories with all that is in them."""


def _files_of(name: str, *units: str) -> tuple[str, ...]:
    """Return patterns of what each component has: secrets, units and drop-ins, notes of what was started; apt's sources and pins."""
    return (
        *(f"/etc/cvat-analytics/secrets/{unit}" for unit in units),
        *(f"/etc/systemd/system/{unit}.service.d/cvat-analytics.conf" for unit in units),
        *(f"/etc/systemd/system/{unit}.service" for unit in units if unit.startswith("cvat-analytics-")),
        *(f"{STATE}/{unit}.applied" for unit in units),
        *(f"{PREVIOUS}/{unit}" for unit in units),
        f"/etc/apt/preferences.d/cvat-analytics-{name}",
        f"/etc/apt/sources.list.d/cvat-analytics-{name}.sources",
        f"/etc/apt/keyrings/cvat-analytics-{name}.asc",
    )


PARTS = {
    "gateway": Part(
        ("cvat-analytics-gateway.service",),
        files=(
            *_files_of("gateway", "cvat-analytics-gateway"),
            *(f"/etc/cvat-analytics/gateway/{name}" for name in ("nginx.conf", "start", "certificate.pem")),
            "/var/cache/cvat-analytics-gateway",
            "/var/cache/private/cvat-analytics-gateway",
        ),
    ),
    "events_api": Part(
        ("cvat-analytics-events-api.service",),
        data=("/var/lib/private/cvat-analytics-events-api", "/var/lib/cvat-analytics-events-api"),
        files=(
            *_files_of("events_api", "cvat-analytics-events-api"),
            "/etc/cvat-analytics/events-api",
            "/opt/cvat-analytics/events-api",
            f"{STATE}/events-api.sha256",
        ),
    ),
    "vector": Part(
        (
            "cvat-analytics-room.service",
            "cvat-analytics-journal.timer",
            "cvat-analytics-journal.service",
            "vector.service",
        ),
        ("vector",),
        "vector",
        roots=("/etc/vector",),
        data=(DIRECTORIES["vector"],),
        files=(
            *_files_of("vector", "vector", "cvat-analytics-room", "cvat-analytics-journal"),
            "/etc/systemd/system/cvat-analytics-journal.timer",
            f"{STATE}/cvat-analytics-journal.timer.applied",
            "/etc/tmpfiles.d/cvat-analytics-vector.conf",
            *(
                f"/etc/vector/{name}"
                for name in ("vector.toml", "tests.toml", "start", "keep-journal", "keep-room")
            ),
            f"{STATE}/vector.previous.tar",
            f"{STATE}/vector.change",
        ),
    ),
    "grafana": Part(
        ("grafana-server.service",),
        ("grafana",),
        "grafana",
        roots=("/etc/grafana",),
        generated=("/etc/grafana/grafana.ini", "/etc/grafana/ldap.toml", "/etc/grafana/provisioning/*/sample.yaml"),
        data=(DIRECTORIES["grafana"], "/var/log/grafana"),
        files=(
            *_files_of("grafana", "grafana-server"),
            "/etc/cvat-analytics/dashboards",
            "/etc/grafana/cvat-analytics.*",
            "/etc/grafana/provisioning/*/cvat-analytics.yaml",
            "/var/lib/grafana/plugins/grafana-clickhouse-datasource",
            f"{STATE}/grafana-clickhouse-datasource.sha256",
        ),
    ),
    "clickhouse": Part(
        ("clickhouse-server.service",),
        ("clickhouse-server", "clickhouse-client", "clickhouse-common-static"),
        "clickhouse",
        roots=(
            "/etc/clickhouse-server",
            "/etc/clickhouse-client",
            "/etc/clickhouse-keeper",
            "/var/log/clickhouse-keeper",
        ),
        generated=("/etc/clickhouse-server/users.d/default-password.xml",),
        data=(DIRECTORIES["clickhouse"], "/var/log/clickhouse-server"),
        files=(
            *_files_of("clickhouse", "clickhouse-server"),
            "/etc/clickhouse-server/cvat-analytics*.pem",
            "/etc/clickhouse-server/*.d/cvat-analytics.xml",
            "/etc/cvat-analytics/secrets/clickhouse-client.xml",
            f"{STATE}/cvat-environment",
        ),
    ),
}  # fmt: skip
"""The components in the order in which they are taken away: who sends and reads before the store."""

FIREWALL = "cvat-analytics-firewall.service"
"""The last unit to be stopped: until then its rules keep others from ports that are still open."""

DISTRIBUTIONS = {"nginx": "nginx.service", "nftables": "nftables.service"}
"""Packages of the distribution's with a service that a deploy never turns on: where it is on, somebody else uses the package."""

BROUGHT = {"nginx": ("/var/www/html/index.nginx-debian.html", "/var/www/html", "/var/www")}
"""What packages of the distribution's make as they are installed, and no purge removes."""

_OWN_UNITS = (
    *(unit for part in PARTS.values() for unit in part.units if unit.startswith("cvat-analytics-")),
    *(f"{unit}.{kind}" for unit in (BACKUP, BACKUP_VERIFY) for kind in ("timer", "service")),
    FIREWALL,
)
UNITS = tuple(sorted(_OWN_UNITS, key=lambda unit: not unit.endswith(".timer")))
"""This project's own, timers before what they start."""

NAMED = (
    *dict.fromkeys(path for part in PARTS.values() for path in part.files if "cvat-analytics" in path and not path.startswith(STATE)),
    *(f"/etc/cvat-analytics/{name}" for name in ("backup", "ca.pem", "dashboards", "events-api", "gateway", "secrets")),
    *(f"/opt/cvat-analytics/{name}" for name in ("backup", "backup.new", "events-api", "events-api.new")),
    *(f"/etc/systemd/system/{unit}" for unit in UNITS),
    "/etc/ssh/ssh_config.d/cvat-analytics-backup.conf",
    "/var/cache/cvat-analytics/bundle",
    *(f"/run/cvat-analytics{name}" for name in ("", "-gateway", "-vector")),
    *(f"/var/lib/systemd/timers/stamp-{unit}" for unit in UNITS if unit.endswith(".timer")),
)  # fmt: skip
"""What deploys write under the project's name, each of it: files, and directories with all that is in them."""
AROUND = ("/etc/cvat-analytics", "/opt/cvat-analytics", "/var/cache/cvat-analytics")
"""Directories around it, in which others may have something, too."""
ALIKE = (
    "/etc/systemd/system/cvat-analytics*",
    *(f"{place}/cvat-analytics*" for place in (
        "/etc", "/etc/apt/*", "/etc/cron.d", "/opt", "/srv", "/usr/local/bin", "/usr/local/lib", "/var/lib", "/var/lib/private", "/var/log",
    )),
)  # fmt: skip
"""Patterns of what may have the project's name and be somebody's own: it stays, and is said."""


OF_SYSTEMD = ("/var/lib/private", "/var/cache/private")
"""What systemd makes for units that have users of their own."""


def begun() -> str:
    """Return the lines of sh that print how a record begins: how the packages' services are, and what an earlier version has made."""
    units = " ".join(
        sorted(
            {unit for part in PARTS.values() for unit in part.units if not unit.startswith("cvat-analytics-")}
        )
    )
    # apt notes each of its runs, for a year, and those of a deploy are known by their options
    return f"""if [ "$(ls -d {STATE}/*.applied /etc/cvat-analytics/secrets /etc/apt/preferences.d/cvat-analytics-* 2>/dev/null)" ]; then echo earlier
zcat -f /var/log/apt/history.log* 2>/dev/null | awk '/^Commandline: / {{ours = /DPkg::Lock::Timeout=120/ && /--no-install-recommends/}}
ours && /^Install: / {{sub("^Install: ", ""); count = split($0, each, /\\), /); for (n = 1; n <= count; n++) {{sub(/:.*/, "", each[n]); print "package " each[n]}}}}'
else for unit in {units}; do
systemctl cat "$unit" >/dev/null 2>&1 && echo "unit $unit $(systemctl is-active "$unit") $(systemctl is-enabled "$unit" 2>/dev/null)"
done; fi; true"""


def begin() -> str:
    """Return the command that begins the record, before a deploy changes anything."""
    return f"install -d -m 755 {STATE} && ( umask 077 && {{ {begun()}\n}} > {RECORD}.new ) && mv {RECORD}.new {RECORD}"


def noted(paths: Iterable[str] = (), trees: Iterable[str] = ()) -> str:
    """Return a command for before `paths` and `trees` are made or replaced: it notes what is not there, and keeps what is.

    `trees`: directories that are the deploy's with all that is in them.
    """
    wanted = [*(f"path {path}" for path in paths), *(f"tree {path}" for path in trees)]
    return f"""{_ready()} && for thing in {_words(wanted)}; do
path=${{thing#* }}
if [ -e "$path" ] || [ -L "$path" ]; then
grep -qxF -e "$thing" -e earlier {RECORD} && continue
package=$(dpkg -S "$path" 2>/dev/null | sed 's/[:,].*//;q')
[ "$package" ] && grep -qxF "package $package" {RECORD} && continue
[ -e "{BEFORE}$path" ] || {{ install -d -m 700 {BEFORE} && ( cd / && cp -a --parents "${{path#/}}" {BEFORE} ); }} || exit
continue
fi
echo "$thing" >> {RECORD} || exit
path=${{path%/*}}
while [ "$path" ] && ! [ -e "$path" ] && ! [ -L "$path" ]; do echo "path $path" >> {RECORD} || exit; path=${{path%/*}}; done
done; sync {RECORD}"""


def noted_packages(names: Iterable[str], install: str) -> str:
    """Return a command for before packages are installed: it notes which are new, what they make, and what others were before.

    `names`: those that are asked for; `install`: what apt-get is told.
    """
    names = set(names)
    parts = [part for part in PARTS.values() if set(part.packages) & names]
    users = [part.user for part in parts]
    made = [
        *(path for part in parts for path in (*part.roots, *part.data)),
        *(path for name in names for path in BROUGHT.get(name, ())),
    ]
    return f"""{_ready()} && for user in {_words(users)}; do
if getent passwd "$user" >/dev/null; then grep -qF -e "user $user" -e "member $user " -e earlier {RECORD} || echo "member $user $(id -nG "$user")"
else echo "user $user"; fi; getent group "$user" >/dev/null || echo "group $user"
done >> {RECORD} && for path in {_words(made)}; do
[ -e "$path" ] || echo "path $path"
done >> {RECORD} && apt-get -s {install} 2>/dev/null | sed -n -e 's/^Inst \\([^ ]*\\) (.*/package \\1/p' -e 's/^Inst \\([^ ]*\\) \\[\\([^]]*\\)\\].*/version \\1 \\2/p' |
while read -r thing; do
case $thing in version*) name=${{thing#* }}; grep -qxF -e "package ${{name% *}}" -e earlier {RECORD} || echo "$thing" ;; *) echo "$thing" ;; esac
done >> {RECORD}; sync {RECORD}"""


def noted_lists(refresh: str) -> str:
    """Return `refresh`, which reads a package source, with a note of the lists that apt keeps of it."""
    lists = "/var/lib/apt/lists"
    return (
        f"{_ready()} && before=$(ls {lists}) && {refresh} && "
        f"{{ ls {lists} | grep -vxF \"$before\" | sed 's|^|path {lists}/|' >> {RECORD}; true; }}"
    )


def _ready() -> str:
    return f"install -d -m 755 {STATE} && {{ [ -e {RECORD} ] || ( umask 077 && : > {RECORD} ); }}"


def _words(values: Iterable[str]) -> str:
    return " ".join(shlex.quote(each) for each in values)

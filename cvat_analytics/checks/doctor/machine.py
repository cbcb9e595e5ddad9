"""What a host says of itself that no part says: memory, ports in use, timers, packages, units, files that were changed by hand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cvat_analytics.config import deployed
from cvat_analytics.rendering.files import UNITS, Paths

if TYPE_CHECKING:
    from cvat_analytics.connect.shell import Shell

PATIENCE = 60.0
"""Seconds for a host's answer."""
PACKAGES = ("clickhouse-server", "clickhouse-client", "clickhouse-common-static", "vector", "grafana")
_PLUGIN = f"{Paths().grafana_plugins}/grafana-clickhouse-datasource/plugin.json"


@dataclass(frozen=True)
class Listener:
    """What takes connections: an address as `ss` writes it, a port, and the program as far as it is known."""

    address: str
    port: int
    program: str

    @property
    def is_outside(self) -> bool:
        """Return whether others than this host reach it."""
        return not self.address.partition("%")[0].strip("[]").removeprefix("::ffff:").startswith("127.") and (
            self.address.strip("[]") != "::1"
        )


@dataclass(frozen=True)
class Timer:
    """A timer of the stack. Moments are seconds since 1970 by the host's clock; 0: never, or none is due."""

    name: str
    active: str
    enabled: str
    last: float
    due: float
    result: str
    """How the last run of its service ended, in systemd's word."""


@dataclass(frozen=True)
class UnitFile:
    """How a part's unit is set up."""

    enabled: str
    needs_reload: bool
    drop_ins: Sequence[str]
    killed_for_memory: bool | None
    """Whether the kernel has killed it for want of memory within a week; None where its journal did not say so in time."""


@dataclass(frozen=True)
class State:
    """A file as it is on the host, or as a deploy has left it: `sha256 mode user group`; empty where there is none."""

    path: str
    left: str
    found: str


@dataclass(frozen=True)
class Route:
    """A connection that a part of this host needs: to what, where, and what came of a try."""

    to: str
    address: str
    port: int
    outcome: str = ""
    """`ok`, `no name`, `refused`, or `silent`; empty where it was not tried."""


@dataclass(frozen=True)
class Machine:
    """A host, as far as it says. Sizes are bytes."""

    now: float = 0
    memory: int = 0
    swap: int = 0
    listeners: Sequence[Listener] = ()
    timers: Sequence[Timer] = ()
    failed: Sequence[str] = ()
    """Units of the stack that have failed, and are no part's."""
    packages: Mapping[str, str] = field(default_factory=dict)
    plugin: str = ""
    units: Mapping[str, UnitFile] = field(default_factory=dict)
    files: Sequence[State] | None = None
    """None: nothing is noted of what a deploy has written."""
    certificates: Mapping[str, str] = field(default_factory=dict)
    """The text of each certificate that a part shows, by its file."""
    routes: Sequence[Route] = ()


def ask(
    shell: Shell, components: Sequence[str], routes: Sequence[Route], certificates: Sequence[str]
) -> Machine:
    """Return how a host is. Raises UnreachableError when it does not say."""
    return parsed(shell.run(question(components, routes, certificates), PATIENCE), routes)


def question(
    components: Sequence[str], routes: Sequence[Route] = (), certificates: Sequence[str] = ()
) -> str:
    """Return lines of sh, each of which prints what it is about and what is so; it changes nothing."""
    units = " ".join(f"{UNITS[each]}.service" for each in components)
    packages = " ".join(PACKAGES)
    tries = "\n".join(
        # a name is looked up first, so that it can be told from a way that is closed
        f"( getent ahosts {shlex.quote(route.address)} >/dev/null || {{ echo route {number} no name; exit; }}; "
        f"timeout 5 bash -c 'exec 3<>\"/dev/tcp/$0/$1\"' {shlex.quote(route.address)} {route.port} 2>/dev/null; "
        f"case $? in 0) echo route {number} ok ;; 124) echo route {number} silent ;; *) echo route {number} refused ;; esac ) &"
        for number, route in enumerate(routes)
    )
    shown = "\n".join(
        f"[ -f {path} ] && {{ echo certificate {path}; sed -n '/BEGIN CERT/,/END CERT/p' {path}; echo end; }}"
        for path in map(shlex.quote, certificates)
    )
    return f"""
{tries}
echo "now $(date +%s)"
awk '/^(MemTotal|SwapTotal):/ {{printf "%s %.0f\\n", $1, $2 * 1024}}' /proc/meminfo
ss -Hltnp 2>/dev/null | awk '{{print "listener", $4, $6}}'
for timer in $(systemctl list-units --all --plain --no-legend 'cvat-analytics-*.timer' 2>/dev/null | awk '{{print $1}}'); do
  last=$(TZ=UTC systemctl show --value -p LastTriggerUSec "$timer"); due=$(TZ=UTC systemctl show --value -p NextElapseUSecRealtime "$timer")
  enabled=$(systemctl is-enabled "$timer" 2>/dev/null)
  echo "timer $timer $(systemctl is-active "$timer") ${{enabled:-missing}} $(date -d "${{last:-no}}" +%s 2>/dev/null || echo 0) $(date -d "${{due:-no}}" +%s 2>/dev/null || echo 0) $(systemctl show --value -p Result "${{timer%.timer}}.service")"
done
systemctl list-units --all --plain --no-legend --state=failed 'cvat-analytics-*' 2>/dev/null | awk '{{print "failed", $1}}'
dpkg-query -W -f 'package ${{Package}} ${{Version}} ${{db:Status-Status}}\\n' {packages} 2>/dev/null
[ -f {_PLUGIN} ] && echo "plugin $(sed -n 's/.*"version": *"\\([^"]*\\)".*/\\1/p' {_PLUGIN} | head -n 1)"
for unit in {units}; do
  mark=
  killed=$(timeout 10 journalctl -q -u "$unit" --since=-7d -n 1 -o cat -g 'oom-kill|killed by the OOM' 2>/dev/null)
  [ $? != 124 ] || mark=unknown; [ -z "$killed" ] || mark=killed
  enabled=$(systemctl is-enabled "$unit" 2>/dev/null)
  echo "unit $unit ${{enabled:-missing}} $(systemctl show --value -p NeedDaemonReload "$unit") $mark"
  echo "dropins $unit $(systemctl show --value -p DropInPaths "$unit")"
done
if [ -f {deployed.FILES} ]; then
  echo noted
  while read -r sum mode user group path; do
    echo "left $sum $mode $user $group $path"
    [ -f "$path" ] && echo "found $(sha256sum < "$path" | cut -d' ' -f1) $(stat -c '%a %U %G' "$path") $path"
  done < {deployed.FILES}
fi
{shown}
wait
true"""


def parsed(answer: str, routes: Sequence[Route] = ()) -> Machine:
    """Return what a host has answered to `question`."""
    numbers: dict[str, float] = {}
    listeners, timers, failed, certificates = [], [], [], dict[str, str]()
    packages: dict[str, str] = {}
    units: dict[str, UnitFile] = {}
    left, found, outcomes = dict[str, str](), dict[str, str](), dict[int, str]()
    noted, plugin, reading = False, "", ""
    for line in answer.splitlines():
        if reading:
            reading = "" if line == "end" else reading
            if reading:
                certificates[reading] += f"{line}\n"
            continue
        match line.split(" "):
            case ["now" | "MemTotal:" | "SwapTotal:" as name, value] if value.isdigit():
                numbers[name] = float(value)
            case ["listener", place, *users]:
                address, _, port = place.rpartition(":")
                program = users[0].split('"')[1] if users and '"' in users[0] else ""
                listeners.append(Listener(address, int(port), program))
            case ["timer", name, active, enabled, last, due, *result]:
                timers.append(Timer(name, active, enabled, float(last), float(due), " ".join(result)))
            case ["failed", name]:
                failed.append(name)
            case ["package", name, version, "installed"]:
                packages[name] = version
            case ["plugin", version]:
                plugin = version
            case ["unit", name, enabled, reload, killed]:
                units[name] = UnitFile(
                    enabled, reload == "yes", (), None if killed == "unknown" else killed == "killed"
                )
            case ["dropins", name, *paths] if name in units:
                old = units[name]
                units[name] = UnitFile(
                    old.enabled,
                    old.needs_reload,
                    [path for path in paths if path],
                    old.killed_for_memory,
                )
            case ["noted"]:
                noted = True
            case ["left", sum_, mode, user, group, *path]:
                left[" ".join(path)] = f"{sum_} {mode} {user} {group}"
            case ["found", sum_, mode, user, group, *path]:
                found[" ".join(path)] = f"{sum_} {mode} {user} {group}"
            case ["certificate", path]:
                reading = path
                certificates[path] = ""
            case ["route", number, *outcome]:
                outcomes[int(number)] = " ".join(outcome)
    return Machine(
        numbers.get("now", 0),
        int(numbers.get("MemTotal:", 0)),
        int(numbers.get("SwapTotal:", 0)),
        listeners,
        timers,
        failed,
        packages,
        plugin,
        units,
        [State(path, state, found.get(path, "")) for path, state in left.items()] if noted else None,
        certificates,
        [
            Route(route.to, route.address, route.port, outcomes.get(number, ""))
            for number, route in enumerate(routes)
        ],
    )

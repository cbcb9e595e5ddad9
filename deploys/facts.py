"""What the deploy needs to know about a host. Each fact is one command, however much it reads."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pyinfra.api import FactBase

from cvat_analytics.connect import volumes
from cvat_analytics.gateway.gateway import UNIT as GATEWAY_UNIT
from cvat_analytics.rendering import made, programs
from cvat_analytics.rendering.files import UNITS
from cvat_analytics.store import migrations

STATE_DIRECTORY = made.STATE
"""Where the deploy remembers which configuration a service was last started with."""


def _quoted(values: Sequence[str]) -> str:
    return " ".join(shlex.quote(value) for value in values)


def _installed(line: str) -> dict[str, str]:
    """Return name and version of an installed package; of others that dpkg knows there is no version, or nothing but their settings."""
    match line.split():
        case [name, version, "installed"]:
            return {name: version}
    return {}


@dataclass(frozen=True)
class HostState:
    """A host before the deploy. Sizes are bytes."""

    os_id: str
    os_version: str
    os_name: str
    architecture: str
    memory: int
    free_disk: int
    cpu_flags: frozenset[str]
    is_root: bool
    has_systemd: bool
    store_in_use: bool
    """Whether another ClickHouse than the service holds /var/lib/clickhouse."""
    gateway_runs: bool
    """Whether an nginx that holds a port can be the gateway's."""
    packages: dict[str, str]
    volumes: tuple[str, ...]
    """What volumes.command has printed."""
    listeners: dict[int, str]
    """Ports in use (TCP) and the program that holds each, as far as known."""
    addresses: frozenset[str] = frozenset()
    """IP addresses that the host has now; none where it does not say."""
    takes_any_address: bool = False
    """Whether a program may listen on an address that the host may get later (`ip_nonlocal_bind`), as one that wanders between hosts."""
    first_open_port: int = 1024
    """Below it only root may listen, and a program that has the right to."""
    lowers_nice: bool = False
    """Whether the kernel lets a program with CAP_SYS_NICE put itself before others: not in a container without it, or with users of its own, even
    where everybody may by the limit (RLIMIT_NICE)."""


class Host(FactBase[HostState | None]):
    """Return what the preflight checks: system, size, installed packages, ports in use.

    .. code:: python

        HostState(os_id="debian", os_version="12", architecture="amd64", memory=4294967296, ...)
    """

    @staticmethod
    def default() -> None:
        return None

    def command(self, packages: list[str]) -> str:
        return f"""
. /etc/os-release; echo "os_id=${{ID:-}}"; echo "os_version=${{VERSION_ID:-}}"; echo "os_name=${{PRETTY_NAME:-}}"
echo "architecture=$(dpkg --print-architecture 2>/dev/null || uname -m)"
awk '/^MemTotal:/ {{printf "memory=%.0f\\n", $2 * 1024}}' /proc/meminfo
df -Pk /var/lib | awk 'NR == 2 {{printf "free_disk=%.0f\\n", $4 * 1024}}'
{{ {volumes.command(volumes.DIRECTORIES)}; }} | sed 's/^/volume=/'
awk -F: '/^(flags|Features)/ {{print "cpu_flags=" $2; exit}}' /proc/cpuinfo
echo "uid=$(id -u)"
[ -d /run/systemd/system ] && echo "systemd=yes"
store=/var/lib/clickhouse/status
[ -e "$store" ] && ! systemctl -q is-active clickhouse-server && ! flock -n "$store" true && echo "store_in_use=yes"
systemctl -q is-active {GATEWAY_UNIT} 2>/dev/null && echo "gateway_runs=yes"
dpkg-query -W -f 'package=${{Package}} ${{Version}} ${{db:Status-Status}}\\n' {_quoted(packages)} 2>/dev/null
ss -Hltnp 2>/dev/null | awk '{{print "listener=" $4, $6}}'
ip -o addr 2>/dev/null | awk '{{sub("/.*", "", $4); print "address=" $4}}'
cat /proc/sys/net/ipv4/ip_nonlocal_bind /proc/sys/net/ipv6/ip_nonlocal_bind 2>/dev/null | grep -qx 1 && echo "takes_any_address=yes"
awk '{{print "first_open_port=" $1}}' /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null
prlimit --nice=0 sh -c 'renice -n -20 $$' >/dev/null 2>&1 && echo "lowers_nice=yes"
true"""

    def process(self, output: Iterable[str]) -> HostState:
        single: dict[str, str] = {}
        packages: dict[str, str] = {}
        disks: list[str] = []
        listeners: dict[int, str] = {}
        addresses: set[str] = set()
        for line in output:
            key, _, value = line.partition("=")
            if key == "package":
                packages |= _installed(value)
            elif key == "address":
                addresses.add(value)
            elif key == "volume":
                disks.append(value)
            elif key == "listener":
                address, _, users = value.partition(" ")
                program = users.split('"')[1] if '"' in users else ""
                port = int(address.rpartition(":")[2])
                # a port has a line for each address, and not in all of them its program
                listeners[port] = listeners.get(port) or program
            else:
                single[key] = value.strip()
        return HostState(
            os_id=single.get("os_id", ""),
            os_version=single.get("os_version", ""),
            os_name=single.get("os_name", "an unknown system"),
            architecture=single.get("architecture", ""),
            memory=int(single.get("memory", 0)),
            free_disk=int(single.get("free_disk", 0)),
            cpu_flags=frozenset(single.get("cpu_flags", "").split()),
            is_root=single.get("uid") == "0",
            has_systemd=single.get("systemd") == "yes",
            store_in_use=single.get("store_in_use") == "yes",
            gateway_runs=single.get("gateway_runs") == "yes",
            packages=packages,
            volumes=tuple(disks),
            listeners=listeners,
            addresses=frozenset(addresses),
            takes_any_address=single.get("takes_any_address") == "yes",
            first_open_port=int(single.get("first_open_port", 1024)),
            lowers_nice=single.get("lowers_nice") == "yes",
        )


class PackageVersions(FactBase[dict[str, str]]):
    """Return the installed version of each of `packages` that is installed.

    .. code:: python

        {"clickhouse-server": "26.8.19.9"}
    """

    default = dict

    def command(self, packages: list[str]) -> str:
        return f"dpkg-query -W -f '${{Package}} ${{Version}} ${{db:Status-Status}}\\n' {_quoted(packages)} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> dict[str, str]:
        versions: dict[str, str] = {}
        for line in output:
            versions |= _installed(line)
        return versions


class KeyFingerprints(FactBase[list[str]]):
    """Return the fingerprints of the primary keys in the keyring file `path`.

    .. code:: python

        ["3A9EA1193A97B548BE1457D48919F6BD2B48D754"]
    """

    default = list

    def command(self, path: str) -> str:
        # without a home of its own, gpg would make a directory in root's
        return f'home=$(mktemp -d); GNUPGHOME=$home gpg --show-keys --with-colons {shlex.quote(path)} 2>/dev/null; rm -rf "$home"'

    def process(self, output: Iterable[str]) -> list[str]:
        fingerprints, primary = [], False
        for line in output:
            fields = line.split(":")
            if fields[0] == "pub":
                primary = True
            elif fields[0] == "fpr" and primary:
                fingerprints.append(fields[9])
                primary = False
        return fingerprints


def digest_note(directory: str) -> str:
    """Return the host's file that says which archive `directory` holds."""
    return f"{STATE_DIRECTORY}/{PurePosixPath(directory).name}.sha256"


class UnpackedDigest(FactBase[str]):
    """Return what the file `note` says of the archive in `directory`, empty when either is missing."""

    default = str

    def command(self, note: str, directory: str) -> str:
        return f"[ -d {shlex.quote(directory)} ] && cat {shlex.quote(note)} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> str:
        return "".join(output)


@dataclass(frozen=True)
class Offer:
    """What a package source offers: versions by package, or why it cannot be read."""

    versions: dict[str, list[str]]
    error: str = ""


class PackageOffer(FactBase[Offer]):
    """Return which versions of `packages` the apt source `source` (deb822 text) offers; changes nothing on the host.

    Signatures are not looked at here: nothing is installed from what this reads.

    .. code:: python

        Offer(versions={"vector": ["0.58.0-1", "0.57.0-1"]})
    """

    @staticmethod
    def default() -> Offer:
        return Offer({}, "the host did not answer")

    def command(self, source: str, packages: list[str]) -> str:
        options = (
            '-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/parts" -o Dir::Etc::Preferences=/dev/null '
            '-o Dir::Etc::PreferencesParts=/dev/null -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" '
            "-o Dir::State::status=/dev/null -o APT::Sandbox::User=root "
            "-o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20"
        )
        return f"""
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial"
cat > "$work/parts/source.sources" <<'SOURCE'
{source}
SOURCE
if apt-get {options} -qq --error-on=any update > "$work/log" 2>&1; then
apt-cache {options} madison {_quoted(packages)} | awk -F'|' '{{gsub(/ /, ""); print "offers", $1, $2}}'
else echo "error $(grep -m1 -E '^(E|Err|W):' "$work/log" || tail -n 1 "$work/log")"; fi
true"""

    def process(self, output: Iterable[str]) -> Offer:
        versions: dict[str, list[str]] = {}
        for line in output:
            word, _, rest = line.partition(" ")
            if word == "error":
                return Offer({}, rest or "apt-get failed and said nothing")
            name, version = rest.split()
            versions.setdefault(name, []).append(version)
        return Offer(versions)


@dataclass(frozen=True)
class FileState:
    """A file on a host: sha256 of its content, octal mode, owner; and when it was written, in seconds since 1970."""

    sha256: str
    mode: str
    user: str
    group: str
    seconds: int = field(default=1, compare=False)


class Files(FactBase[dict[str, FileState]]):
    """Return the state of each of `paths` that is there.

    .. code:: python

        {"/etc/vector/vector.toml": FileState(sha256="…", mode="644", user="root", group="root", seconds=1793000000)}
    """

    default = dict

    def command(self, paths: list[str]) -> str:
        return (
            f'for file in {_quoted(paths)}; do [ -f "$file" ] || continue; '
            'printf "%s %s\\n" "$(sha256sum < "$file" | cut -d" " -f1)" "$(stat -c "%a %U %G %Y %n" "$file")"; done'
        )

    def process(self, output: Iterable[str]) -> dict[str, FileState]:
        rows = (line.split(" ", 5) for line in output)
        return {
            path: FileState(sha256, mode, user, group, int(seconds))
            for sha256, mode, user, group, seconds, path in rows
        }


class Existing(FactBase[list[str]]):
    """Return which of `paths`, files and directories, are there.

    .. code:: python

        ["/etc/cvat-analytics/backup"]
    """

    default = list

    def command(self, paths: list[str]) -> str:
        return f"ls -1d -- {_quoted(paths)} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> list[str]:
        return list(output)


class FileText(FactBase[str]):
    """Return the text of the file `path`, empty when there is none."""

    default = str

    def command(self, path: str) -> str:
        return f"cat {shlex.quote(path)} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> str:
        return "\n".join(output) + "\n"


class DirectoryEntries(FactBase[list[str]]):
    """Return the names of what is in the directory `path`, empty when there is none."""

    default = list

    def command(self, path: str) -> str:
        return f"ls -1A {shlex.quote(path)} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> list[str]:
        return list(output)


@dataclass(frozen=True)
class UnitState:
    """A systemd unit. `applied` is the fingerprint of what it was last started with by a deploy."""

    active: bool
    enabled: bool
    needs_reload: bool
    applied: str
    older: bool = False
    """Whether it still runs the program from before its package was installed as it is now."""

    def runs_with(self, fingerprint: str) -> bool:
        """Return whether it runs with what `fingerprint` stands for, so that nothing has to be started."""
        return self.active and self.applied == fingerprint and not self.needs_reload and not self.older


class Unit(FactBase[UnitState]):
    """Return the state of the systemd unit `unit`.

    .. code:: python

        UnitState(active=True, enabled=True, needs_reload=False, applied="5f0c…")
    """

    @staticmethod
    def default() -> UnitState:
        return UnitState(active=False, enabled=False, needs_reload=False, applied="")

    def command(self, unit: str) -> str:
        package = {UNITS[component]: name for component, name in programs.PACKAGES.items()}.get(unit)
        older = f"; if {programs.runs_older(unit, package)}; then echo older=yes; fi" if package else ""
        return (
            f"systemctl show -p ActiveState -p UnitFileState -p NeedDaemonReload {shlex.quote(unit)} 2>/dev/null; "
            f'echo "applied=$(cat {STATE_DIRECTORY}/{unit}.applied 2>/dev/null)"{older}'
        )

    def process(self, output: Iterable[str]) -> UnitState:
        values = dict(line.split("=", 1) for line in output if "=" in line)
        return UnitState(
            active=values.get("ActiveState") == "active",
            enabled=values.get("UnitFileState") == "enabled",
            needs_reload=values.get("NeedDaemonReload") == "yes",
            applied=values.get("applied", ""),
            older=values.get("older") == "yes",
        )


_STARTING_SECONDS = 60
"""How long a ClickHouse that runs and does not answer yet is waited for."""


@dataclass(frozen=True)
class SchemaState:
    """A database's ledger (name to checksum), its tables' engines (table to `engine_full`), and its rule of working time."""

    applied: dict[str, str]
    engines: dict[str, str]
    working_time: dict[str, str]


class Schema(FactBase[SchemaState | None]):
    """Return what is applied to a database, or None when the server does not answer; one that is just starting is waited for.

    .. code:: python

        SchemaState(applied={"init.sql": "9a3b…"}, engines={"events": "ReplacingMergeTree …"}, working_time={"threshold_ms": "100000"})
    """

    @staticmethod
    def default() -> None:
        return None

    def command(self, client: str, database: str) -> str:
        # What may not be there yet is asked for last: the first question that fails ends the answers
        engines, applied, rule = (
            question(database)
            for question in (
                migrations.engines_query,
                migrations.applied_query,
                migrations.working_time_query,
            )
        )
        questions = (
            f"{engines} FORMAT TSV; SELECT 'applied'; {applied} FORMAT TSV; SELECT 'rule'; {rule} FORMAT TSV"
        )
        return f"""
end=$(($(date +%s) + {_STARTING_SECONDS}))
until answer=$(echo {shlex.quote(questions)} | {client} --multiquery 2>/dev/null); printf '%s\\n' "$answer" | grep -qx applied; do
  case $(systemctl show --value -p ActiveState {UNITS["clickhouse"]} 2>/dev/null) in active|activating|reloading) ;; *) break ;; esac
  [ "$(date +%s)" -lt "$end" ] || break
  sleep 0.5
done
printf '%s\\n' "$answer"
"""

    def process(self, output: Iterable[str]) -> SchemaState | None:
        answers: dict[str, dict[str, str]] = {"engines": {}}
        part = "engines"
        for line in output:
            if "\t" in line:
                name, _, value = line.partition("\t")
                answers[part][name] = value
            else:
                part = line
                answers[part] = {}
        if "applied" not in answers:
            return None
        return SchemaState(answers["applied"], answers["engines"], answers.get("rule", {}))


class Answer(FactBase[list[list[str]] | None]):
    """Return the rows that ClickHouse answers to `question`, their values as text, or None when it does not answer.

    .. code:: python

        [["202601", "1204311"], ["202602", "1310570"]]
    """

    @staticmethod
    def default() -> None:
        return None

    def command(self, client: str, question: str) -> str:
        return f"echo {shlex.quote(f'{question} FORMAT TSVRaw')} | {client} && echo {_ANSWERED}"

    def process(self, output: Iterable[str]) -> list[list[str]] | None:
        lines = list(output)
        return [line.split("\t") for line in lines[:-1]] if lines and lines[-1] == _ANSWERED else None


_ANSWERED = "-- answered"

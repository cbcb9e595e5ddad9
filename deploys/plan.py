"""What this run wants of the host at hand, and the refusal of hosts on which it cannot be had.

Everything here happens before the first change: settings, passwords, system, size, ports, package source.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra import context, host, logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.facts.server import Command

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config import exposure, inventory, package_source
from cvat_analytics.config.endpoints import EVERYWHERE
from cvat_analytics.config.limits import SMALLEST_BUFFER
from cvat_analytics.config.settings import COMPONENTS, Settings
from cvat_analytics.connect import clocks, volumes
from cvat_analytics.credentials import certificates
from cvat_analytics.gateway import gateway
from cvat_analytics.operate.backup import on_hosts
from cvat_analytics.rendering import alerts, events_api_archive, events_api_wheels, plugin, tls
from cvat_analytics.rendering.context import DEAD_LETTER_BUFFER_BYTES, Context
from cvat_analytics.rendering.files import Paths
from cvat_analytics.store import migrations, rebuild
from deploys import backup_checks, departed, former_vector, lock, losses, moving, packages, upgrades
from deploys.facts import Answer, Host, HostState, PackageOffer, Schema, UnpackedDigest, digest_note
from deploys.losses import Journal
from deploys.report import agreed, leaving, tell
from deploys.schema_operations import schema_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cvat_analytics.config.topology import Topology
    from cvat_analytics.config.versions import Step
    from cvat_analytics.connect.volumes import Volume

SUPPORTED = {("debian", "12"), ("debian", "13"), ("ubuntu", "22.04"), ("ubuntu", "24.04")}
# What may hold a port of the stack before a deploy: its own services, by the name of their process
OWN_PROGRAMS = {
    "clickhouse": ("clickhouse",),
    "vector": ("vector",),
    "grafana": ("grafana",),
    "events_api": ("python",),
    "gateway": ("nginx",),
}

WITHOUT_LOW_PORTS = ("grafana", "events_api")
"""Components whose services may not listen on ports that are for root; the others have the right to, or are root's."""


@dataclass(frozen=True)
class Plan:
    """All that the components need to know about the host at hand."""

    context: Context
    state: HostState
    secrets_file: Path
    """The file with the passwords, on the machine that deploys."""
    losses_are_known: bool
    """Whether it could be asked what a shorter retention takes away, where there is anything."""
    departed: tuple[str, ...] = ()
    """Components that were deployed to this host, and have left its groups."""
    steps: tuple[Step, ...] = ()
    """From which versions to which its parts go."""

    @property
    def settings(self) -> Settings:
        """Return the host's settings."""
        return self.context.settings

    @property
    def components(self) -> tuple[str, ...]:
        """Return what runs on this host, without what this run leaves as it is."""
        return tuple(
            each for each in self.context.topology.components(self.context.host) if each not in leaving()
        )

    @property
    def directory(self) -> Path:
        """Return where the inventory's secrets are, on the machine that deploys."""
        return self.secrets_file.parent

    @property
    def former_vector_ends(self) -> bool:
        """Return whether this run replaces the last Vector that an earlier version has configured."""
        return (
            self.context.former_vector
            and not former_vector.left_out(self.context)
            and "vector" not in leaving()
        )

    @property
    def left_over(self) -> list[str]:
        """Return the paths of what this host needs no longer, once its services run without TLS."""
        return tls.left_over(self.context)

    @property
    def topology(self) -> Topology:
        """Return the whole stack's topology."""
        return self.context.topology


def inventory_file() -> Path:
    """Return the inventory that pyinfra was started with: its first argument that is a Python file."""
    named = [argument for argument in sys.argv[1:] if argument.endswith(".py")]
    return Path(named[0]) if named else Path("inventory/hosts.py")


def make(inventory_file: Path) -> Plan:
    """Return the plan for the current host. Raises PyinfraError when it cannot be carried out."""
    try:
        hosts = [inventory.Host(each.name, each.groups, each.data.dict()) for each in context.inventory]
        # pyinfra itself keeps the option from deploy files
        preview = "--dry" in sys.argv
        stack = inventory.describe(moving.regrouped(hosts), inventory_file, preview=preview)
        secrets = stack.secrets()
        for each in stack.topology.settings.values():
            alerts.check(each, secrets)
            on_hosts.check(each, secrets)
        if host.name not in stack.topology.settings:
            raise InputError(
                Code.GROUPS_WRONG,
                f"host {host.name}: is in none of the groups {', '.join(COMPONENTS)}; put it in one or take it out",
            )
        exposure.refuse_open(stack.topology, f"inventory {inventory_file}")
        components = stack.topology.components(host.name)
        settings = stack.topology.settings[host.name]
        names = [name for component in components for name in packages.versions(component, settings)]
        state = _asked(names)
        _check_system(state)
        _tell_clock()
        if not preview:
            lock.take(host)
        moving.refuse(stack.topology)
        _check_size(state, settings, components)
        disks = volumes.parsed(host.name, state.volumes, settings.disk_reserve)
        _check_room([disk for disk in disks if set(disk.components) & set(components)])
        _check_store(state, components)
        _check_ports(state, settings, components)
        _check_addresses(state, stack.topology, components)
        rendering = Context(
            host.name,
            stack.topology,
            secrets,
            memory_bytes=state.memory,
            lowers_nice=state.lowers_nice,
            authority=stack.authority,
            former_vector="clickhouse" in components
            and host.get_fact(Command, former_vector.question(Paths().clickhouse_config)) == "former",
        )
        if waiting := former_vector.left_out(rendering):
            logger.warning(waiting)
        if "gateway" in components:
            _check_gateway(rendering)
        if on_hosts.wanted(rendering):
            backup_checks.refuse_unusable(rendering, state)
        if "vector" in components and settings.vector_tls_certificate and settings.vector_tls_key:
            pair = settings.vector_tls_certificate, settings.vector_tls_key
            certificates.given(*pair, settings=certificates.OF_VECTOR)
        if package_source.kind(settings) == "mirror":
            packages.signing_key(settings)
        steps = upgrades.check(rendering, state, components)
        for component in components:
            _check_source(component, settings, state)
        if "events_api" in components:
            _check_archive(settings, state)
        if "grafana" in components:
            _check_plugin(rendering, state)
        known = True
        if "clickhouse" in components and "clickhouse-client" in state.packages:
            known = _check_history(rendering, disks)
        if "vector" in components:
            paths = rendering.paths
            journal = host.get_fact(
                Journal,
                directory=f"{paths.vector_data}/journal",
                age=f"{paths.root}/etc/tmpfiles.d/cvat-analytics-vector.conf",
                keeping=f"{paths.vector_config}/keep-journal",
            )
            _tell_losses(losses.of_journal(settings, journal))
        gone = moving.without(departed.of(components))
        _tell_losses(departed.losses(gone))
    except InputError as error:
        refusal = tell("refused", reason=error.told)
        # pyinfra prints its own kind of error as a message, with the place in the code, and any other with a traceback
        raise PyinfraError("refused: the reason stands at the end" if refusal else error.told) from None
    return Plan(rendering, state, stack.secrets_file, known, gone, tuple(steps))


def _tell_clock() -> None:
    """Report how the host's clock is; what is wrong with it is said when all are known (scripts/deploy.py)."""
    clock = clocks.measured(host.name, lambda command: str(host.get_fact(Command, command)))
    if clock:
        tell(
            "clock",
            host=clock.host,
            least=str(clock.least),
            most=str(clock.most),
            synchronised={True: "yes", False: "no", None: ""}[clock.synchronised],
        )


def _asked(names: list[str]) -> HostState:
    """Return the state of the host, with the packages called `names`. Raises InputError when nobody is root there."""
    try:
        state: HostState | None = host.get_fact(Host, packages=names, _ignore_errors=True)
    except EOFError:
        # pyinfra asks the terminal, of which there is none
        raise InputError(
            Code.SUDO_PASSWORD,
            f"host {host.name}: sudo wants a password there, and nobody can be asked for it. Give it as `_sudo_password` in the data of the "
            "host, or let its user use sudo without one",
        ) from None
    if state is None:
        raise InputError(
            Code.NOT_ROOT,
            f"host {host.name}: no answer to the first question as administrator. Check the user, `_sudo` and `_sudo_password`",
        )
    return state


def _check_gateway(rendering: Context) -> None:
    """Refuse an address or a certificate with which people could not come in."""
    settings = rendering.settings
    name = gateway.host_name(rendering)
    if settings.gateway_certificate and settings.gateway_certificate_key:
        certificates.given(settings.gateway_certificate, settings.gateway_certificate_key, name)


def clickhouse_client(paths: Paths) -> str:
    """Return the command that runs SQL as administrator on the host; the password is in a file only root can read."""
    return f"clickhouse-client --config-file={paths.secrets}/clickhouse-client.xml"


def _check_history(rendering: Context, disks: Sequence[Volume]) -> bool:
    """Refuse when the migrations in the checkout and those in the database do not tell the same history, or need room that is not there.

    Returns whether ClickHouse has answered.
    """
    client, settings = clickhouse_client(rendering.paths), rendering.settings
    schema = host.get_fact(Schema, client=client, database=settings.database)
    if schema is None:
        return False
    migrations.refuse_stock_table(settings.database, schema.applied, schema.engines)
    scripts = migrations.read(ROOT / "clickhouse")
    names = [f"clickhouse/{script.name}" for script in migrations.pending(scripts, schema.applied)]
    if rebuild.pending(scripts, schema.applied):
        names.insert(0, "a rebuild of the event table")
    names += [" ".join(change.split())[:80] for change in schema_changes(schema, settings, scripts)]
    if names:
        volumes.refuse_without_room(disks, f"the deploy, which changes the database ({', '.join(names)}),")
    for each in losses.shorter(settings, schema.engines):
        answer = host.get_fact(Answer, client=client, question=each.question)
        if answer is None:
            raise InputError(
                Code.LOSS_UNKNOWN,
                f"host {host.name}: ClickHouse does not answer how much a shorter {each.setting} would delete. See its log",
            )
        _tell_losses([each.loss(answer)])
    return True


def _tell_losses(found: Iterable[str]) -> None:
    """Tell what is to be deleted for good: before the first change the run stops when nobody has agreed (watch_config.py)."""
    for loss in filter(None, found):
        told = tell("loss", text=f"host {host.name}: {loss}")
        if not told and not agreed() and "--dry" not in sys.argv:
            raise InputError(
                Code.LOSS_UNAGREED,
                f"host {host.name}: {loss}. Deploy with `cvat-analytics deploy`, which asks",
            )


def _check_system(state: HostState) -> None:
    if (state.os_id, state.os_version) not in SUPPORTED:
        raise InputError(
            Code.HOST_UNSUPPORTED,
            f"host {host.name}: {state.os_name} is not supported. Supported are Debian 12 and 13, Ubuntu 22.04 and 24.04. Nothing has been changed",
        )
    if not state.is_root:
        raise InputError(
            Code.NOT_ROOT,
            f"host {host.name}: commands do not run as root. Set `_sudo = True`, or log in as root",
        )
    if not state.has_systemd:
        raise InputError(
            Code.HOST_UNSUPPORTED, f"host {host.name}: systemd does not run there, and the services need it"
        )
    if state.architecture not in ("amd64", "arm64"):
        raise InputError(
            Code.HOST_UNSUPPORTED,
            f"host {host.name}: there are no packages for the architecture {state.architecture}; amd64 and arm64 are supported",
        )
    if state.architecture == "amd64" and "sse4_2" not in state.cpu_flags:
        raise InputError(
            Code.HOST_UNSUPPORTED, f"host {host.name}: its processor lacks SSE 4.2, which ClickHouse needs"
        )


def _check_size(state: HostState, settings: Settings, components: tuple[str, ...]) -> None:
    fresh = not state.packages
    if fresh and state.free_disk < settings.minimum_free_disk:
        raise InputError(
            Code.DISK_TOO_SMALL,
            f"host {host.name}: {state.free_disk / 2**30:.1f} GiB free below /var/lib, but {settings.minimum_free_disk / 2**30:.1f} GiB "
            "are needed (setting 'minimum_free_disk'). Free some space or lower the setting",
        )
    buffers = settings.vector_buffer_size + DEAD_LETTER_BUFFER_BYTES + SMALLEST_BUFFER
    if fresh and "vector" in components and state.free_disk < buffers:
        # Vector itself refuses to start when its buffers could outgrow their volume
        raise InputError(
            Code.DISK_TOO_SMALL,
            f"host {host.name}: {state.free_disk / 2**30:.1f} GiB free below /var/lib, but Vector's buffers may grow to "
            f"{buffers / 2**30:.1f} GiB. Free some space or lower the setting 'vector_buffer_size'",
        )


def _check_room(disks: Sequence[Volume]) -> None:
    """Say where little is free, before anything is changed, and refuse where something takes nothing any more.

    There a deploy could not prove what it does: no insert succeeds, and no port of Vector's is open.
    """
    for disk in disks:
        if disk.refuses:
            raise InputError(Code.DISK_FULL, f"{disk}, then deploy again")
        if disk.is_little:
            logger.warning(str(disk))


def _check_store(state: HostState, components: tuple[str, ...]) -> None:
    if "clickhouse" in components and state.store_in_use:
        raise InputError(
            Code.DATA_IN_USE,
            f"host {host.name}: the data directory /var/lib/clickhouse is in use by another ClickHouse than the service "
            "clickhouse-server, perhaps one in a container. Stop that one first",
        )


def _check_ports(state: HostState, settings: Settings, components: tuple[str, ...]) -> None:
    running = [each for each in components if each != "gateway" or state.gateway_runs]
    ours = tuple(program for component in running for program in OWN_PROGRAMS[component])
    for component in components:
        installed = any(name in state.packages for name in packages.versions(component, settings))
        for name, port in settings.listening_ports()[component].items():
            holder = state.listeners.get(port)
            # the gateway gives its old port up last, so that whoever is to have it could not start
            if (
                holder
                and component != "gateway"
                and holder.startswith(OWN_PROGRAMS["gateway"])
                and "gateway" in running
            ):
                raise InputError(
                    Code.PORT_TAKEN,
                    f"host {host.name}: port {port} (setting {name!r}) is held by nginx. If that is the gateway, deploy once with its "
                    f"new port and with {name!r} as it was, then with both; else stop that nginx or choose another port",
                )
            if component in WITHOUT_LOW_PORTS and port < state.first_open_port:
                raise InputError(
                    Code.PORT_PRIVILEGED,
                    f"host {host.name}: port {port} (setting {name!r}) is for programs with more rights than this one needs: choose one from "
                    f"{state.first_open_port} on",
                )
            # the stack's own services hold their ports; where a holder has no name, an installed service is given the benefit
            if holder is None or holder.startswith(ours) or (installed and not holder):
                continue
            raise InputError(
                Code.PORT_TAKEN,
                f"host {host.name}: port {port} (setting {name!r}) is already in use by {holder or 'another program'}. "
                "Stop that program or choose another port",
            )


def _check_addresses(state: HostState, topology: Topology, components: tuple[str, ...]) -> None:
    """Refuse an address to listen on that the host does not have: its service would not start, or nobody would find it there."""
    settings = topology.settings[host.name]
    wanted = [
        (f"{component}_listen_address", getattr(settings, f"{component}_listen_address"))
        for component in components
        if component != "clickhouse"
    ]
    if "clickhouse" in components:
        wanted += [("clickhouse_listen_addresses", each) for each in settings.clickhouse_listen_addresses]
        # one that others know may be another device's, where ClickHouse listens everywhere
        if topology.remote_readers() and not EVERYWHERE.keys() & set(settings.clickhouse_listen_addresses):
            wanted.append(("address", str(settings.address)))
    if not state.addresses or state.takes_any_address:
        return
    for name, address in wanted:
        plain = address.partition("%")[0]
        if address in EVERYWHERE or plain in state.addresses or ipaddress.ip_address(address).is_loopback:
            continue
        has = sorted(each for each in state.addresses if not ipaddress.ip_address(each).is_link_local)
        raise InputError(
            Code.LISTEN_ADDRESS,
            f"host {host.name}: has no address {address} to listen on (setting {name!r}). It has {', '.join(has)}. Give one of these, or "
            "the address to the host first",
        )


def _check_archive(settings: Settings, state: HostState) -> None:
    """Refuse when the events API's wheels cannot be had; nothing is asked when the host has them."""
    python = events_api_wheels.PYTHONS[state.os_id, state.os_version]
    directory = Paths().events_api_program
    there = host.get_fact(UnpackedDigest, note=digest_note(directory), directory=directory)
    if there != events_api_archive.digest(python, state.architecture):
        # made now, where it can still be refused, and kept for the operation that sends it
        events_api_archive.archive(settings, python, state.architecture)


def _check_plugin(rendering: Context, state: HostState) -> None:
    """Refuse when Grafana's plugin cannot be had; nothing is asked when the host has it."""
    directory = f"{rendering.paths.grafana_plugins}/{plugin.NAME}"
    there = host.get_fact(UnpackedDigest, note=digest_note(directory), directory=directory)
    if there != plugin.sha256(rendering.settings, state.architecture):
        plugin.checked(rendering.settings, state.architecture)


def _check_source(component: str, settings: Settings, state: HostState) -> None:
    """Refuse when the package source lacks a pinned version; nothing is asked when all are installed."""
    missing = {
        name: version
        for name, version in packages.versions(component, settings).items()
        if state.packages.get(name) != version
    }
    if not missing:
        return
    if package_source.kind(settings) == "bundle":
        packages.bundle_files(component, settings, state.architecture)
        return
    # Unsigned on purpose: this only reads the list; what is installed is checked against the key
    offer = host.get_fact(
        PackageOffer, source=packages.source(component, settings) + "Trusted: yes\n", packages=list(missing)
    )
    if offer.error:
        raise InputError(
            Code.PACKAGE_SOURCE_UNREADABLE,
            f"host {host.name}: package_source {settings.package_source} cannot be read for {component}: {offer.error}",
        )
    for name, version in missing.items():
        if version not in offer.versions.get(name, []):
            has = ", ".join(offer.versions.get(name, [])[:3]) or "no version of it"
            raise InputError(
                Code.PACKAGE_MISSING,
                f"host {host.name}: package_source {settings.package_source} has no {name} {version} for {state.architecture}; it has {has}. "
                f"Choose one with the setting '{component}_version'",
            )

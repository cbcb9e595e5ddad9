"""What a deploy would make of the versions on the hosts: what runs, is installed, pinned and was tested, and what each step means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import units
from cvat_analytics.config import versions
from cvat_analytics.config.versions import Note, Step
from cvat_analytics.connect.access import pairs
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.gateway import gateway
from cvat_analytics.operate import part_versions
from cvat_analytics.rendering import events_api_archive, events_api_wheels
from cvat_analytics.store import migrations

if TYPE_CHECKING:
    from cvat_analytics.config.inventory import Stack
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.remote import Hosts, ReachedHost

_PATIENCE = 30.0


@dataclass(frozen=True)
class Planned:
    """A part on a host. Empty texts: not there, or not known; `refused` says why a deploy would not do it, and what to do."""

    part: str
    host: str
    running: str
    installed: str
    pinned: str
    tested: str
    tested_how: str = ""
    changes: Sequence[Note] = field(default=())
    goes_back: bool = True
    """Whether the part can be brought back by its version alone once it has worked with the new one."""
    refused: str = ""
    needs_bytes: int = 0
    """What the step needs on the host's disk: the new package, and what is kept of the one before."""
    free_bytes: int | None = None
    stops: str = ""
    """What stands still while the part is exchanged."""

    @property
    def is_step(self) -> bool:
        """Return whether a deploy would change something here."""
        return bool(self.installed) and self.installed != self.pinned


@dataclass(frozen=True)
class Migration:
    """A script that the next deploy would run, and for how long: measured at 20 million events, and reckoned for what is there."""

    name: str
    seconds_at_20m: float | None
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a deploy would do. `refused`: why it would not; `events` and `bytes`: what is stored, None where ClickHouse does not say."""

    parts: Sequence[Planned]
    schema: str
    """The newest migration that the database has."""
    newest: str
    """The newest one of this checkout."""
    migrations: Sequence[Migration]
    views: Sequence[Migration]
    """Scripts of views that are applied again because their text has changed."""
    events: int | None
    bytes: int | None
    refused: Sequence[str]
    not_known: Sequence[str] = field(default=())
    """What could not be asked, and why."""

    @property
    def steps(self) -> list[Planned]:
        """Return the parts of which the version changes, in the order in which they do."""
        return [part for part in self.parts if part.is_step]


_STOPS = {
    "clickhouse": "dashboards and exports, while it starts; events wait in Vector's buffer",
    "vector": "intake, for seconds; CVAT keeps its events and sends them again",
    "grafana": "dashboards, for seconds",
    "plugin": "dashboards, for seconds",
    "events_api": "what it is asked and takes, for seconds",
    "gateway": "all pages, for seconds",
}


def of(reached: Hosts) -> Plan:
    """Return the plan for the hosts of a stack."""
    stack, access, hosts = reached
    asked = [(name, host, stack.topology.components(name)) for name, host in hosts.items()]
    not_known: list[str] = []
    with ThreadPoolExecutor(len(asked) + 1) as pool:
        schema = pool.submit(_schema, access)
        found = list(pool.map(lambda each: _of_host(stack, *each), asked))
    parts = [part for on_host in found for part in on_host]
    try:
        said = schema.result()
    except CvatAnalyticsError as error:
        not_known.append(f"what is in the database is not known: {error}")
        said = None
        if isinstance(error, UnreachableError):
            parts = [_undelivered(stack, part) for part in parts]
    parts.sort(key=lambda part: (_ORDER.index(part.part), part.host))
    if said:
        parts = [_with_running(part, said.version) for part in parts]
    scripts = migrations.read(ROOT / "clickhouse")
    once = [script.name for script in scripts if script.kind == "once"]
    refused = [f"host {part.host}: {part.refused}" for part in parts if part.refused]
    for name in stack.topology.groups["clickhouse"]:
        if why := versions.refused_setting("clickhouse", stack.topology.settings[name]):
            refused.append(f"host {name}: {why}")
    pending: list[migrations.Script] = []
    if said:
        try:
            pending = migrations.pending(scripts, said.applied)
        except InputError as error:
            refused.append(str(error))
    return Plan(
        parts,
        max((name for name in said.applied if not name.startswith("views/")), default="") if said else "",
        once[-1],
        [
            _migration(script.name, said.events if said else None)
            for script in pending
            if script.kind == "once"
        ],
        [
            _migration(script.name, said.events if said else None)
            for script in pending
            if script.kind == "view"
        ],
        said.events if said else None,
        said.bytes if said else None,
        refused,
        not_known,
    )


_ORDER = (*versions.PARTS, *versions.OWN)


@dataclass(frozen=True)
class _Said:
    version: str
    applied: Mapping[str, str]
    events: int
    bytes: int


@explained(STORE)
def _schema(access: Access) -> _Said:
    client = access.client(timeout=30)
    database = access.database
    exists = only_row(client.query(f"EXISTS TABLE {database}.{migrations.LEDGER}").result_rows)[0]
    applied = pairs(client, migrations.applied_query(database)) if exists else {}
    row = only_row(
        client.query(
            "SELECT version(), sumIf(total_rows, name = 'events'), sum(total_bytes) FROM system.tables "
            f"WHERE database = '{database}'"
        ).result_rows
    )
    return _Said(str(row[0]), applied, int(row[1] or 0), int(row[2] or 0))


def _migration(name: str, events: int | None) -> Migration:
    known = versions.migrations_took().get(name)
    return Migration(
        name,
        known.seconds if known else None,
        None if known is None or events is None else known.at(events),
    )


def _of_host(stack: Stack, name: str, host: ReachedHost, components: Sequence[str]) -> list[Planned]:
    settings = stack.topology.settings[name]
    said = part_versions.said(host.shell.run(part_versions.question(components), _PATIENCE))
    stale = units.of(host.shell, components, settings)
    free = part_versions.free(said)
    parts = []
    for part in versions.PARTS:
        component = "grafana" if part == "plugin" else part
        if component not in components:
            continue
        known = versions.part(part)
        installed = said.get(part, "")
        pinned = str(getattr(settings, versions.SETTINGS[part]))
        step = Step(part, installed, pinned)
        changes = installed not in ("", pinned)
        runs = installed if stale[component].active and not stale[component].older else ""
        needed = part_versions.needed(part, said)
        refusal = (step.refusal() or part_versions.without_room(step, said)) if changes else ""
        parts.append(
            Planned(
                part, name, runs, installed, pinned, known.tested, known.tested_how,
                step.notes if changes else (), not (changes and step.one_way), refusal,
                needed if changes else 0, free, _STOPS[part] if changes else "",
            )
        )  # fmt: skip
    for component in versions.OWN:
        if component in components:
            parts.append(_own(component, name, said, free, stale[component].active))
    return parts


def _own(component: str, name: str, said: Mapping[str, str], free: int, active: bool) -> Planned:
    """Return a part that comes with this project: its version is what it is made of, and nobody pins one."""
    there = said.get(component, "")[:12]
    python = events_api_wheels.SYSTEMS.get(said.get("os", ""), "")
    if component == "gateway":
        wanted = gateway.digest()
    else:
        wanted = events_api_archive.digest(python, said.get("architecture", ""))[:12] if python else ""
    step = Step(component, there, wanted)
    changes = bool(there) and there != wanted
    return Planned(
        component, name, there if active else "", there, wanted, wanted, "this checkout", (), True,
        part_versions.without_room(step, said) if changes else "",
        part_versions.needed(component, said) if changes else 0, free, _STOPS[component] if changes else "",
    )  # fmt: skip


def _undelivered(stack: Stack, part: Planned) -> Planned:
    """Return the part, refused where it is a Vector of which the buffer cannot be delivered, as ClickHouse does not answer."""
    if part.refused or not part.is_step:
        return part
    endpoint = stack.topology.clickhouse_endpoint(part.host)
    step = Step(part.part, part.installed, part.pinned)
    return replace(part, refused=versions.not_delivered(step, f"{endpoint.address}:{endpoint.http_port}"))


def _with_running(part: Planned, version: str) -> Planned:
    return replace(part, running=version) if part.part == "clickhouse" else part

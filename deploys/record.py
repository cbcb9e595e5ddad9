"""What is noted on the host: first what will be made there (rendering/made.py), last what was deployed.

By the latter `status` tells what the inventory has beyond that, and `doctor` what somebody changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from pyinfra import context, host, logger
from pyinfra.api import operation

from cvat_analytics.config import deployed, inventory_file
from cvat_analytics.gateway import gateway as front_door
from cvat_analytics.operate.backup import on_hosts as backup
from cvat_analytics.rendering import made, render
from cvat_analytics.rendering.files import RenderedFile
from deploys import events_api, gateway, operations, packages
from deploys.facts import Files, FileText
from deploys.operations import Commands
from deploys.plan import Plan
from deploys.report import tell


def begin() -> None:
    """Begin the record of what deploys make on the host, before anything is."""
    begun(name="all services: what is made here is noted, for an uninstall")


@operation()
def begun() -> Commands:
    """Begin the record, unless there is one: every other operation adds to it what it is about to make."""
    if host.get_fact(Files, paths=[made.RECORD]):
        host.noop("the record is there")
        return
    yield made.begin()


def apply(plan: Plan) -> None:
    """Note the host's settings and files, as the last step: a deploy that is cut off before leaves the notes as they were."""
    hosts = [
        inventory_file.Host(each.name, each.groups, each.data.dict())
        for each in context.inventory
        if each.name in plan.topology.settings
    ]
    noted = deployed.noted_hosts(host.get_fact(FileText, path=deployed.NOTE))
    gone = deployed.left(hosts, [noted])
    if host.name == plan.topology.clickhouse_host:
        for name in gone:
            if not tell("note", text=deployed.has_left(name)):
                logger.warning(deployed.has_left(name))
    notes = {
        deployed.NOTE: deployed.note(plan.settings, plan.components, {**deployed.logins(hosts), **gone}),
        deployed.FILES: left(files(plan)),
    }
    operations.managed_files(
        name="all services: what is deployed is noted",
        files=[RenderedFile(path, text, mode="600", effect="none") for path, text in notes.items()],
    )


def files(plan: Plan, components: Sequence[str] | None = None) -> list[RenderedFile]:
    """Return the files that a deploy leaves on the host: those of all its parts, or of `components`, and what belongs to none."""
    components = plan.components if components is None else components
    # what an earlier version's Vector needed has been taken away by now
    rendering = replace(plan.context, former_vector=False) if plan.former_vector_ends else plan.context
    of_component = {
        "clickhouse": lambda: render.clickhouse_files(rendering),
        "vector": lambda: render.vector_files(rendering),
        "grafana": lambda: render.grafana_files(rendering),
        "events_api": lambda: events_api.files(plan),
        "gateway": lambda: gateway.files(plan),
    }
    found = [file for component in components for file in of_component[component]()]
    for component in set(components) & set(packages.VENDORS):
        found += packages.apt_files(component, plan.settings)
    if backup.wanted(rendering):
        found += backup.files(rendering)
    return found + (front_door.firewall_files(rendering) if front_door.has_rules(rendering) else [])


def left(files: list[RenderedFile]) -> str:
    """Return a line for each file: its sha256, mode, user, group and path."""
    lines = {
        f"{sha256(file.content.encode()).hexdigest()} {int(file.mode, 8):o} {file.user} {file.group} {file.path}\n"
        for file in files
    }
    return "".join(sorted(lines, key=lambda line: line.split(" ", 4)[4]))

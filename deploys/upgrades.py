"""Steps from the versions that a host has to those that are wanted: refused before the first change where they are not possible."""

from __future__ import annotations

from pyinfra import host
from pyinfra.facts.server import Command

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import versions
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.versions import GO_BACK, PREVIOUS, SETTINGS, Step
from cvat_analytics.gateway import gateway
from cvat_analytics.operate import part_versions
from cvat_analytics.rendering import events_api_archive, events_api_wheels, plugin, programs
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import UNITS
from deploys import operations, tls
from deploys.facts import HostState, UnpackedDigest, digest_note
from deploys.report import tell


def steps(state: HostState, settings: Settings, plugin_there: str, components: tuple[str, ...]) -> list[Step]:
    """Return the steps of the parts of a host that are there in another version than is wanted; `plugin_there` is the plugin's."""
    there = {
        part: state.packages.get(package, "")
        for part, package in programs.PACKAGES.items()
        if part in SETTINGS and part in components
    }
    if "grafana" in components:
        there["plugin"] = plugin_there
    found = [
        Step(part, version, getattr(settings, SETTINGS[part])) for part, version in there.items() if version
    ]
    return [step for step in found if step.before != step.after]


def check(rendering: Context, state: HostState, components: tuple[str, ...]) -> list[Step]:
    """Return the steps of the host at hand. Raises InputError for one that must not be taken."""
    installed = "grafana" in components and "grafana" in state.packages
    there = host.get_fact(Command, plugin_version(rendering.paths.grafana_plugins)) if installed else ""
    found = [
        *steps(state, rendering.settings, (there or "").strip(), components),
        *_own(rendering, state, components),
    ]
    if "clickhouse" in components and (why := versions.refused_setting("clickhouse", rendering.settings)):
        raise InputError(Code.UPGRADE_REFUSED, f"host {host.name}: {why}")
    said = part_versions.said(host.get_fact(Command, part_versions.question(components))) if found else {}
    opened = {
        each: host.get_fact(Command, f"cat {PREVIOUS}/{UNITS[each]}/open 2>/dev/null || true")
        for each in components
    }
    for step in found:
        component = "grafana" if step.part == "plugin" else step.part
        tell(
            "upgrade",
            host=host.name,
            component=component,
            text=str(step),
        )
        why = step.refusal()
        if why and step.direction == "down" and opened[component]:
            why = (
                f"{step}: a deploy that was cut off has brought {step.before} there ({opened[component]}), and what was there before is kept. Bring it "
                f"back on that host with `sudo sh {PREVIOUS}/{UNITS[component]}/back`, then deploy again ({GO_BACK}#when-a-part-fails)"
            )
        # what was kept before is not kept again
        room = "" if opened[component] else part_versions.without_room(step, said)
        for code, reason in ((Code.UPGRADE_REFUSED, why), (Code.DISK_FULL, room)):
            if reason:
                raise InputError(code, f"host {host.name}: {reason}")
        if waiting := _waiting(rendering, step):
            raise InputError(Code.UPGRADE_UNDELIVERED, f"host {host.name}: {waiting}")
    for component, text in opened.items():
        if text:
            tell("upgrade", host=host.name, component=component, text=text)
    return found


def _own(rendering: Context, state: HostState, components: tuple[str, ...]) -> list[Step]:
    """Return the steps of the parts that come with this project, each from the digest of what is there to that of this checkout."""
    paths = rendering.paths
    found = []
    if "events_api" in components:
        directory = paths.events_api_program
        there = host.get_fact(UnpackedDigest, note=digest_note(directory), directory=directory)
        python = events_api_wheels.PYTHONS[state.os_id, state.os_version]
        found.append(
            Step("events_api", there[:12], events_api_archive.digest(python, state.architecture)[:12])
        )
    if "gateway" in components:
        there = host.get_fact(Command, gateway.digest_there(paths.gateway_config)) or ""
        found.append(Step("gateway", there.strip(), gateway.digest()))
    return [step for step in found if step.before and step.before != step.after]


def plugin_version(directory: str) -> str:
    """Return a line of sh that prints the version of the plugin in Grafana's `directory` of plugins; nothing where it is not there."""
    metadata = f"{directory}/{plugin.NAME}/plugin.json"
    # the file has no other version before it than those of what it depends on, which are called otherwise
    return f"""sed -n 's/.*"version": *"\\([^"]*\\)".*/\\1/p' {metadata} 2>/dev/null | head -n 1"""


def _waiting(rendering: Context, step: Step) -> str:
    """Return why a Vector cannot be exchanged now: what waits in its buffer is promised to no other version, and cannot be delivered."""
    endpoint = rendering.topology.clickhouse_endpoint(rendering.host)
    where = endpoint.address, endpoint.http_port
    probe = (
        tls.https_probe(where[1], "/ping", where[0], rendering.paths.authority)
        if endpoint.tls
        else operations.http_probe(where[1], "/ping", where[0])
    )
    why = versions.not_delivered(step, f"{where[0]}:{where[1]}")
    if why and host.get_fact(Command, f"{probe} && echo answers || true") == "answers":
        return ""
    return why

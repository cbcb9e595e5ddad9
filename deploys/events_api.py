"""The events API: this project's own service, on the distribution's Python with libraries of its own."""

from __future__ import annotations

from cvat_analytics.credentials import users
from cvat_analytics.rendering import events_api, events_api_archive, events_api_wheels
from cvat_analytics.rendering.files import RenderedFile, fingerprint
from deploys import operations, packages, previous
from deploys.plan import Plan


def install(plan: Plan) -> None:
    """Put the program and its libraries into a directory of their own; nothing of the host's Python changes."""
    packages.distribution_s("events_api: Python", ["python3"], plan.settings)
    previous.keep(plan, "events_api", files(plan), _probe(plan))
    settings, architecture, python = plan.settings, plan.state.architecture, _python(plan)
    operations.unpacked(
        name="events_api: program",
        archive=lambda: events_api_archive.archive(settings, python, architecture),
        digest=events_api_archive.digest(python, architecture),
        directory=plan.context.paths.events_api_program,
        unit=events_api.UNIT,
    )


def configure(plan: Plan) -> None:
    """Write configuration, users, passwords and the unit."""
    operations.managed_files(name="events_api: configuration", files=files(plan), unit=events_api.UNIT)


def activate(plan: Plan) -> None:
    """Start it if needed and wait until it answers."""
    settings = plan.settings
    operations.service(
        name="events_api: service",
        unit=events_api.UNIT,
        applied=fingerprint(events_api_archive.digest(_python(plan), plan.state.architecture), *files(plan)),
        probe=_probe(plan),
        timeout=settings.health_timeout.total_seconds(),
    )


def _probe(plan: Plan) -> str:
    settings = plan.settings
    return operations.http_probe(settings.events_api_port, "/health", settings.events_api_listen_address)


def _python(plan: Plan) -> str:
    return events_api_wheels.PYTHONS[plan.state.os_id, plan.state.os_version]


def files(plan: Plan) -> list[RenderedFile]:
    """Return the files that it needs on the host."""
    return events_api.files(plan.context, plan.directory / users.FILE_NAME)

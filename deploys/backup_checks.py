"""What would keep a host from making backups, or make them worth less, asked before anything is changed."""

from __future__ import annotations

import shlex

from pyinfra import host, logger
from pyinfra.facts.server import Command

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import package_source
from cvat_analytics.operate.backup import on_hosts
from cvat_analytics.rendering.context import Context
from deploys import packages
from deploys.facts import HostState, PackageVersions
from deploys.report import tell


def refuse_unusable(context: Context, state: HostState) -> None:
    """Raise InputError for a time that never comes and for packages that cannot be had; warn of a target on the disk that it is for."""
    settings = context.settings
    schedule = shlex.quote(settings.backup_schedule)
    # a host without that program has nobody to ask
    question = (
        f"command -v systemd-analyze >/dev/null && ! systemd-analyze calendar -- {schedule} 2>&1 "
        "| grep 'Next elapse' | grep -qv never && echo bad; true"
    )
    if host.get_fact(Command, question) == "bad":
        raise InputError(
            Code.BACKUP_SCHEDULE,
            f"host {context.host}: setting 'backup_schedule': {settings.backup_schedule!r} is no time that comes, says its systemd. "
            f"See `systemd-analyze calendar {schedule}`",
        )
    needed = on_hosts.packages(settings)
    if package_source.kind(settings) == "bundle":
        there = host.get_fact(PackageVersions, packages=needed)
        offered = {file.name.partition("_")[0] for file in packages.dependencies(settings)}
        if lacking := [name for name in needed if name not in there and name not in offered]:
            raise InputError(
                Code.PACKAGE_MISSING,
                f"package_source {settings.package_source}: has no {', '.join(lacking)} ({lacking[0]}_VERSION_{state.architecture}.deb), which "
                f"host {context.host} needs for its backups ('backup_target'). Put it there: `apt-get download {' '.join(lacking)}` on such a system",
            )
    if (directory := on_hosts.directory(settings)) and "clickhouse" in context.topology.components(
        context.host
    ):
        question = (
            'place() { p=$1; while [ ! -e "$p" ]; do p=$(dirname "$p"); done; stat -c %d "$p"; }; '
            f'[ "$(place {shlex.quote(directory)})" = "$(place {context.paths.clickhouse_data})" ] && echo same; true'
        )
        if host.get_fact(Command, question) == "same":
            warning = (
                f"host {context.host}: setting 'backup_target': {directory} is on the disk of ClickHouse's own data: a disk that breaks takes "
                "both along, and backups fill the disk that events need. Give a directory on another disk, or another host"
            )
            if not tell("note", text=warning):
                logger.warning(warning)

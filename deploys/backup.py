"""Backups that a host makes by itself: restic, the agent, its settings and passwords, and the timers. Nothing of it stays without a target."""

from __future__ import annotations

from cvat_analytics.operate.backup import on_hosts, own_files
from cvat_analytics.operate.backup.keys import RECOVERY_KEY
from cvat_analytics.rendering.files import BACKUP, BACKUP_VERIFY, fingerprint
from deploys import backup_operations, moving, operations, packages
from deploys.plan import Plan, inventory_file


def install(plan: Plan) -> None:
    """Install restic, and the agent into a directory of its own; it runs on the distribution's Python."""
    moves = moving.needs_agent()
    if not (on_hosts.wanted(plan.context) or moves):
        return
    wanted = dict.fromkeys([*on_hosts.packages(plan.settings), *(["openssh-client"] if moves else [])])
    packages.distribution_s("backup: restic", list(wanted), plan.settings)
    operations.unpacked(
        name="backup: program",
        archive=on_hosts.archive,
        digest=on_hosts.digest(),
        directory=plan.context.paths.backup_program,
        unit=BACKUP,
    )


def configure(plan: Plan) -> None:
    """Write what the agent is told, passwords and units, and make the key by which the host logs in at the target."""
    context = plan.context
    if not on_hosts.wanted(context):
        return
    operations.managed_files(name="backup: configuration", files=on_hosts.files(context))
    backup_operations.places(
        name="backup: directories and key",
        state=context.paths.backup_data,
        directory=on_hosts.directory(plan.settings),
        key=on_hosts.ssh_key(context.paths),
        login=on_hosts.login(plan.settings),
        staging=on_hosts.config(context).staging,
    )
    if archive := on_hosts.config(context).inventory:
        files = own_files.gathered(inventory_file(), plan.secrets_file)
        key = context.secrets[RECOVERY_KEY]
        backup_operations.encrypted(
            name="backup: inventory and passwords, encrypted",
            file=archive,
            digest=own_files.digest(files, key),
            content=lambda: own_files.packed(files, key),
        )


def activate(plan: Plan) -> None:
    """Start the timers; where there is no target, take away all that there was, but not what was backed up."""
    context = plan.context
    if not on_hosts.wanted(context) and moving.needs_agent():
        return
    if not on_hosts.wanted(context):
        backup_operations.absent(
            name="backup: nothing is left over",
            units=[BACKUP, BACKUP_VERIFY],
            paths=[*on_hosts.left_over(context), context.paths.backup_data],
        )
        return
    files = on_hosts.files(context)
    for timer in on_hosts.timers(context):
        operations.service(
            name=f"backup: {timer}",
            unit=timer,
            applied=fingerprint(*(file for file in files if "/systemd/" in file.path)),
            probe=f"systemctl -q is-active {timer}",
            timeout=plan.settings.health_timeout.total_seconds(),
        )
    backup_operations.absent(
        name="backup: nothing is left over",
        units=[] if context.host == context.topology.clickhouse_host else [BACKUP_VERIFY],
        paths=on_hosts.left_over(context),
    )

"""Back an embedded stack up: the agent's configuration below the stack's own directory, and the agent as a process of its own."""

from __future__ import annotations

import importlib.metadata
from functools import partial
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.embedded.stack import HOST, Stack
from cvat_analytics.operate import erasure_list
from cvat_analytics.operate.backup import inventory, keys, questions, reaching, running
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.pipeline import journal

_FILES = ("stack.json", "secrets.json", "users.json", erasure_list.FILE_NAME)


def configured(stack: Stack, target: str, environment_file: str = "") -> Path:
    """Write what the agent is told of an embedded stack, and return the file."""
    context, state = stack.context(), stack.directory / "backup"
    password, login, archive = (
        state / "repository-password",
        state / "clickhouse-password",
        state / inventory.FILE_NAME,
    )
    key = context.secrets[keys.RECOVERY_KEY]
    write_atomically(password, keys.derived_password(key) + "\n")
    write_atomically(login, context.secrets["clickhouse_admin"] + "\n")
    write_atomically(state / "checks.json", questions.text())
    inventory.write(
        archive, inventory.packed([stack.directory / name for name in _FILES], stack.directory, key)
    )
    grafana = Path(stack.paths.grafana_data) / "grafana.db"
    config = Config(
        host=HOST,
        state=str(state),
        target=target,
        password_file=str(password),
        environment_file=environment_file,
        clickhouse_url=stack.access().clickhouse.url,
        clickhouse_password_file=str(login),
        database=context.settings.database,
        staging=f"{stack.paths.clickhouse_data}/backups",
        checks=str(state / "checks.json"),
        grafana_database=str(grafana) if grafana.exists() else "",
        journal=f"{stack.paths.vector_data}/journal",
        inventory=str(archive),
        versions={"cvat-analytics": importlib.metadata.version("cvat-analytics")},
    )
    file = state / "agent.json"
    write_atomically(file, config.text())
    return file


def reached(stack: Stack, target: str, environment_file: str = "") -> reaching.Reached:
    """Return the stack as what is backed up and restored. Raises InputError without a target."""
    if not target:
        raise InputError(
            Code.BACKUP_TARGET_MISSING,
            "no target: say where, as in `--to /mnt/backup/cvat`, `--at` or `--from`",
        )
    config, own = configured(stack, target, environment_file), Path(stack.paths.vector_data) / "journal"
    return reaching.Reached(
        partial(running.here, config),
        stack.access(),
        stack.directory / erasure_list.FILE_NAME,
        lambda: [(str(own), reaching.found(lambda: journal.find(own)))],
        lambda place: reaching.found(lambda: journal.find(Path(place))),
        partial(running.held_here, config),
        {HOST: partial(running.here, config)},
    )

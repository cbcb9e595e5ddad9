"""Lay out, as an Ansible author has it in a repository, what our own deploy would bring to one host.

The files are the very ones that the deploy renders, with the same owners and modes, so that both tools manage the
same things, and a host on which one has been finds the other with nothing to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from cvat_analytics.base.project import ROOT
from cvat_analytics.config import inventory
from cvat_analytics.rendering import plugin, render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import UNITS, Paths, RenderedFile
from cvat_analytics.store import migrations
from deploys import packages
from deploys.facts import STATE_DIRECTORY
from deploys.plan import clickhouse_client

# What our own deploy asks a database, in its order: what may not be there yet comes last. The rule of working time is
# asked for because that takes time; at the settings' defaults there is never anything to change in it.
_QUESTIONS = (migrations.engines_query, migrations.applied_query, migrations.working_time_query)


def write(inventory_file: Path, memory_bytes: int, architecture: str, directory: Path) -> Path:
    """Write files, variables and inventory for the one host of `inventory_file` below `directory`; return the inventory.

    The variables hold passwords, as those of a real playbook do: `directory` must be private.
    """
    stack = inventory.load(inventory_file)
    (host,) = stack.hosts
    context = Context(host.name, stack.topology, stack.secrets(), memory_bytes=memory_bytes)
    variables = {
        **_components(context, directory),
        "plugin": _plugin(context, architecture, directory),
        "dashboards": {
            "directory": context.paths.dashboards,
            "paths": [
                file.path
                for file in render.grafana_files(context)
                if file.path.startswith(f"{context.paths.dashboards}/")
            ],
        },
        "schema": _schema(context, directory),
        "vector_probe": {
            "url": f"http://127.0.0.1:{context.settings.clickhouse_http_port}",
            "database": context.settings.database,
            "password": context.secrets["clickhouse_vector"],
        },
    }
    (directory / "variables.json").write_text(json.dumps(variables, indent=2))
    return _inventory(host, directory)


def _components(context: Context, directory: Path) -> dict[str, Any]:
    settings = context.settings
    rendered = {
        "clickhouse": render.clickhouse_files(context),
        "vector": render.vector_files(context),
        "grafana": render.grafana_files(context),
    }
    health = {
        "clickhouse": f"http://127.0.0.1:{settings.clickhouse_http_port}/ping",
        "vector": f"http://{settings.vector_listen_address}:{settings.vector_port}/ping",
        "grafana": f"http://{settings.grafana_listen_address}:{settings.grafana_port}{settings.grafana_path}/api/health",
    }
    variables = {}
    seen: set[str] = set()
    for name, files in rendered.items():
        # one mirror has one key, which an author would not copy three times
        apt_files = [file for file in packages.apt_files(name, settings) if file.path not in seen]
        seen |= {file.path for file in apt_files}
        variables[name] = {
            "unit": UNITS[name],
            "health": health[name],
            "packages": [
                f"{package}={version}" for package, version in packages.versions(name, settings).items()
            ],
            "apt_files": _files(apt_files, directory),
            "directories": _directories(files, context.paths, seen),
            "files": _files([file for file in files if file.effect == "restart"], directory),
            "reread_files": _files([file for file in files if file.effect == "none"], directory),
        }
    return variables


def _files(files: Iterable[RenderedFile], directory: Path) -> list[dict[str, str]]:
    """Write `files` as they lie on the host, below `directory`/files, and return what `copy` needs of each."""
    entries = []
    for file in files:
        source = directory / "files" / file.path.lstrip("/")
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(file.content)
        entries.append(
            {
                "src": str(source),
                "dest": file.path,
                "owner": file.user,
                "group": file.group,
                "mode": file.mode,
            }
        )
    return entries


def _directories(files: list[RenderedFile], paths: Paths, seen: set[str]) -> list[dict[str, str]]:
    """Return the directories that packages do not bring: our own, units' drop-ins, Vector's. Each only once."""
    own = str(PurePosixPath(paths.secrets).parent)
    wanted = {own, paths.secrets}
    for file in files:
        parent = str(PurePosixPath(file.path).parent)
        if parent.startswith((own, paths.vector_config)) or parent.endswith(".service.d"):
            wanted.add(parent)
    new = sorted(wanted - seen)
    seen |= wanted
    return [{"path": path, "mode": "700" if path.startswith(paths.secrets) else "755"} for path in new]


def _plugin(context: Context, architecture: str, directory: Path) -> dict[str, str]:
    archive = directory / "files" / f"{plugin.NAME}.tar.gz"
    archive.write_bytes(plugin.archive(context.settings, architecture))
    return {
        "archive": str(archive),
        "digest": plugin.sha256(context.settings, architecture),
        "directory": f"{context.paths.grafana_plugins}/{plugin.NAME}",
        "note": f"{STATE_DIRECTORY}/{plugin.NAME}.sha256",
    }


def _schema(context: Context, directory: Path) -> dict[str, Any]:
    database = context.settings.database
    scripts = []
    for number, script in enumerate(migrations.read(ROOT / "clickhouse")):
        file = directory / "files" / f"{number:04}.sql"
        file.write_text(f"{script.sql.rstrip()}\n{migrations.record(script, database)}")
        scripts.append({"name": script.name, "checksum": script.checksum, "file": str(file)})
    changes = migrations.retention(context.settings, {"events": "", "events_dead_letter": ""})
    return {
        "client": clickhouse_client(context.paths),
        "database": database,
        "question": "; ".join(f"{ask(database)} FORMAT TSV" for ask in _QUESTIONS),
        "bootstrap": ";\n".join(migrations.bootstrap(database)),
        "scripts": scripts,
        "retention": [{"statement": change, "ttl": change.partition(" MODIFY ")[2]} for change in changes],
    }


def _inventory(host: inventory.Host, directory: Path) -> Path:
    """Write an inventory that reaches the host as ours does: address, user, key, known hosts."""
    options = f"-F /dev/null -o UserKnownHostsFile={host.data['ssh_known_hosts_file']} -o GlobalKnownHostsFile=/dev/null"
    variables = {
        "ansible_host": host.data["ssh_hostname"],
        "ansible_port": host.data["ssh_port"],
        "ansible_user": host.data["ssh_user"],
        "ansible_ssh_private_key_file": host.data["ssh_key"],
        "ansible_ssh_common_args": options,
        "ansible_become": host.data["_sudo"],
    }
    file = directory / "inventory.json"
    file.write_text(json.dumps({"all": {"hosts": {host.name: variables}}}, indent=2))
    return file

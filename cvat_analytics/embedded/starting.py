"""Start an embedded stack: its files written, its parts run, its database brought to the checkout's scripts.

Separate from `stack`, which finds one and says how it is: what starts one takes many libraries that nothing else needs.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import jinja2

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError, UnreachableError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.base.project import ROOT
from cvat_analytics.config import limits
from cvat_analytics.config.endpoints import LOOPBACK
from cvat_analytics.connect.access import pairs
from cvat_analytics.connect.volumes import refuse_without_room
from cvat_analytics.credentials import secrets
from cvat_analytics.embedded import engine, privacy
from cvat_analytics.embedded.processes import Part
from cvat_analytics.embedded.stack import HOST, PARTS, PORTS, Stack, find, locked, ready_url, stop, users_file
from cvat_analytics.operate import person
from cvat_analytics.rendering import events_api, render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import RenderedFile, fingerprint
from cvat_analytics.store import deployments, migrations, rebuild

FIRST_PORT, LAST_PORT, PORT_STEP = 18100, 18990, 10
START_TIMEOUT = 60.0
_PACKAGE_FILES = Path(__file__).parent / "package_files"


def up(
    directory: Path, port_base: int | None = None, tell: Callable[[str], object] = lambda text: None
) -> Stack:
    """Start the stack in `directory`, or what is missing of it, and return it when every part is ready.

    `tell` is told what takes long.

    Raises InputError when a port is taken, the directory is not usable, or the engine is not installed;
    CvatAnalyticsError when a part does not come up.
    """
    directory = directory.absolute()
    if port_base is not None and not 1024 <= port_base <= 65535 - len(PORTS):
        raise InputError(
            Code.PORTS_UNUSABLE,
            f"--port-base {port_base}: choose a number between 1024 and {65535 - len(PORTS)}",
        )
    refuse_name(directory)
    with locked(directory):
        privacy.tighten(directory, tell)
        known = find(directory).port_base if (directory / "stack.json").exists() else None
        if known is not None and port_base not in (None, known):
            stop(Stack(directory, known))
        with (
            _free_ports()
            if port_base is None and known is None
            else nullcontext(port_base or known or 0) as base
        ):
            return start(Stack(directory, base), tell=tell)


_UNUSABLE = re.compile(r"""[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"'`&<>{}\\#;*?|]""")
"""What means something of its own in one of the formats of configuration: XML, TOML, ini, and templates in them."""


def refuse_name(directory: Path) -> None:
    """Raise InputError for a directory whose path cannot stand in configuration files as it is."""
    if unusable := _UNUSABLE.search(str(directory)):
        raise InputError(
            Code.DIRECTORY_UNUSABLE,
            f"directory {str(directory)!r}: {unusable[0]!r} in its path would be misread in configuration files. Choose another with --dir; "
            "blanks and letters of any script are fine",
        )


def start(
    stack: Stack, names: Sequence[str] = PARTS, tell: Callable[[str], object] = lambda text: None
) -> Stack:
    """Write the files of `stack`, start what of its parts `names` does not run, and return it when they are ready.

    Raises as `up`, which makes the stack and lets nobody else start it meanwhile.
    """
    directory = stack.directory
    _refuse_taken_ports(stack, names)
    if "clickhouse" in names:
        engine.refuse_old()
        if warning := engine.left_open():
            tell(warning)
    secrets.init(directory / "secrets.json")
    _refuse_newer(stack)
    context = stack.context()
    parts = {part.name: part for part in _parts(stack, context, _write_files(context))}
    _write(RenderedFile(f"{directory}/netrc", _netrc(context)))
    processes = stack.processes
    # what had ended and is started again as it was is no change
    changes = sum(processes.applied(name) not in ("", parts[name].applied) for name in names)
    write_atomically(directory / "stack.json", json.dumps({"port_base": stack.port_base}))
    for name in names:
        if name == "clickhouse" and processes.pid(name) is None:
            _remove_empty_mutations(Path(stack.paths.clickhouse_data), tell)
        processes.ensure(parts[name], START_TIMEOUT)
        if name == "clickhouse":
            changes += _migrate(stack, tell)
    if changes and "clickhouse" in names:
        deployments.record(stack.access(), [HOST], changes)
    if "clickhouse" in names:
        person.apply(person.of_directory(stack.access(), directory, stack.paths), tell)
    return stack


def _refuse_newer(stack: Stack) -> None:
    """Raise InputError where a newer checkout has changed the database that runs, before anything is written for its parts.

    They would go on with the rights of this version, and the tables of the newer. A ClickHouse that does not answer is asked when it
    has been started.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    if stack.processes.pid("clickhouse") is None:
        return
    access = stack.access()
    try:
        applied = pairs(access.client(timeout=10), migrations.applied_query(access.database))
    except (UnreachableError, ClickHouseError):
        return
    migrations.pending(migrations.read(ROOT / "clickhouse"), applied)


def _remove_empty_mutations(data: Path, tell: Callable[[str], object]) -> None:
    """Remove what a mutation on a full disk has left, an empty note of itself, with which ClickHouse never starts again.

    On a host the unit of ClickHouse does it (templates/systemd/clickhouse-server.conf.j2).
    """
    for note in (data / "store").glob("*/*/mutation_*.txt"):
        if not note.stat().st_size:
            note.unlink()
            tell(
                f"removed {note}: the empty note of a DELETE or ALTER that met a full disk, which has not been carried out"
            )


def apply_users(stack: Stack) -> None:
    """Give a changed users file to the events API, which sees it at once."""
    with locked(stack.directory):
        _write_files(stack.context())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@contextmanager
def _free_ports() -> Iterator[int]:
    """Yield the first of enough free ports in a row; nobody else chooses any until the caller has taken them."""
    with (Path(tempfile.gettempdir()) / f"cvat-analytics-ports-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for base in range(FIRST_PORT, LAST_PORT, PORT_STEP):
            if all(_is_free(base + offset) for offset in range(len(PORTS))):
                yield base
                return
    raise InputError(
        Code.PORTS_UNUSABLE,
        f"no free ports between {FIRST_PORT} and {LAST_PORT}. Give others with --port-base",
    )


def _refuse_taken_ports(stack: Stack, names: Sequence[str]) -> None:
    holders = {
        "clickhouse_http_port": "clickhouse",
        "clickhouse_native_port": "clickhouse",
        "vector_port": "vector",
        "grafana_port": "viewer",
        "events_api_port": "events_api",
        "vector_large_port": "vector",
    }
    for offset, name in enumerate(PORTS):
        port, holder = stack.port_base + offset, holders[name]
        if holder in names and stack.processes.pid(holder) is None and not _is_free(port):
            raise InputError(
                Code.PORTS_UNUSABLE,
                f"port {port} ({name}) is in use by another program. Stop it, or give other ports with --port-base",
            )


def _write_files(context: Context) -> dict[str, str]:
    """Write the configuration and return, for each part, what stands for it."""
    paths, variables = context.paths, context.variables()
    package = [
        RenderedFile(
            f"{paths.clickhouse_config}/{name}",
            jinja2.Template((_PACKAGE_FILES / name).read_text()).render(variables),
        )
        for name in ("config.xml", "users.xml")
    ]
    if not shutil.which("clickhouse"):
        package += [
            RenderedFile(f"{paths.clickhouse_config}/{target}", (_PACKAGE_FILES / name).read_text())
            for name, target in engine.PACKAGE_FILES.items()
        ]
    files = {
        "clickhouse": [*package, *render.clickhouse_files(context)],
        "vector": render.vector_files(context),
        "events_api": events_api.files(context, users_file(Path(paths.root))),
        "viewer": render.grafana_files(context),
    }
    for part in files.values():
        for file in part:
            _write(file)
            if file.path.startswith(paths.secrets) and file.path.count("/") > paths.secrets.count("/") + 1:
                # what LoadCredential= does on a host
                unit, name = file.path.split("/")[-2:]
                _write(
                    RenderedFile(f"{paths.root}/credentials/{unit}.service/{name}", file.content, mode="600")
                )
    for directory in (
        paths.clickhouse_data,
        paths.vector_data,
        paths.grafana_data,
        paths.grafana_logs,
        paths.grafana_plugins,
        paths.events_api_data,
    ):
        Path(directory).mkdir(parents=True, exist_ok=True)
    # the library, unlike a server, does not look whether its users have changed
    users = "" if shutil.which("clickhouse") else f"{paths.clickhouse_config}/users.d/"
    return {
        name: fingerprint(
            *(file for file in part if file.effect == "restart" or (users and file.path.startswith(users)))
        )
        for name, part in files.items()
    }


def _netrc(context: Context) -> str:
    """Return the administrator's login in the form that curl reads, so that no password stands in a command line."""
    return f"machine {LOOPBACK} login admin password {context.secrets['clickhouse_admin']}\n"


def _write(file: RenderedFile) -> None:
    path = Path(file.path)
    if not path.exists() or path.read_text() != file.content:
        write_atomically(path, file.content)


def _parts(stack: Stack, context: Context, applied: dict[str, str]) -> list[Part]:
    paths, settings = stack.paths, context.settings
    config = f"{paths.clickhouse_config}/config.xml"
    vector_config = f"{paths.vector_config}/vector.toml"
    grafana_config = f"{paths.grafana_config}/cvat-analytics.ini"
    vector, grafana = shutil.which("vector"), shutil.which("grafana")
    substitute = [sys.executable, "-m"]
    return [
        Part(
            "clickhouse",
            engine.command(config),
            ready_url("clickhouse", settings.clickhouse_http_port),
            applied.get("clickhouse", ""),
        ),
        Part(
            "vector",
            [vector, "--config", vector_config]
            if vector
            else [
                *substitute, "cvat_analytics.embedded.vector_substitute", "--config", vector_config,
                "--disk-reserve", str(settings.disk_reserve // 2),
            ],
            ready_url("vector", settings.vector_port),
            applied.get("vector", ""),
            limits.VECTOR_ENVIRONMENT | {"VECTOR_GRACEFUL_SHUTDOWN_LIMIT_SECS": "10"},
        ),
        Part(
            "events_api",
            [*substitute, "cvat_analytics.api", "--config", f"{paths.events_api_config}/events-api.ini"],
            ready_url("events_api", settings.events_api_port),
            applied.get("events_api", ""),
        ),
        Part(
            "viewer",
            [grafana, "server", "--homepath", str(Path(grafana).resolve().parent.parent), "--config", grafana_config]
            if grafana
            else [
                *substitute, "cvat_analytics.embedded.viewer", "--config", grafana_config,
                "--clickhouse-http-port", str(settings.clickhouse_http_port), "--no-login",
            ],
            ready_url("viewer", settings.grafana_port),
            applied.get("viewer", ""),
        ),
    ]  # fmt: skip


def _migrate(stack: Stack, tell: Callable[[str], object]) -> int:
    """Bring the database to the checkout's scripts and the settings' retention, as the deploy does on a host.

    Return the number of changes. `tell` is told what takes long.
    """
    access = stack.access()
    database, settings = access.database, access.clickhouse.settings
    client = access.client()
    for statement in migrations.bootstrap(database):
        client.command(statement)
    client.database = database
    scripts = migrations.read(ROOT / "clickhouse")
    applied = pairs(client, migrations.applied_query(database))
    migrations.refuse_stock_table(database, applied, pairs(client, migrations.engines_query(database)))
    pending = migrations.pending(scripts, applied)
    rebuilt = rebuild.pending(scripts, applied)
    if pending or rebuilt:
        refuse_without_room(stack.volumes(), "a change of the schema")
    if rebuilt:
        for statement in rebuild.steps(scripts, database, rebuild.asking(client), tell):
            client.command(statement)
    migrations.apply(pending, database, client.command)
    engines = pairs(client, migrations.engines_query(database))
    changes = migrations.ways_in_anew(database, applied, engines, scripts)
    changes += migrations.new_columns(settings, engines) + migrations.retention(settings, engines)
    changes += migrations.working_time(
        settings, pairs(client, migrations.working_time_query(database)), scripts
    )
    if changes:
        refuse_without_room(stack.volumes(), "a change of the retention or of the rule of working time")
    for statement in changes:
        client.command(statement)
    return rebuilt + len(pending) + len(changes)

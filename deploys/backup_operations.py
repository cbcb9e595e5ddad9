"""The operations that are of backups alone: their places and the key to them, and their end."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable, Sequence

from pyinfra import host
from pyinfra.api import FileUploadCommand, operation

from deploys.facts import STATE_DIRECTORY, Existing, FileText, digest_note
from deploys.operations import Commands
from deploys.report import tell


@operation()
def places(state: str, directory: str, key: str, login: str, staging: str) -> Commands:
    """Make the agent's own directory, the target where it is one of this host, and the key by which root logs in at it elsewhere.

    + state: the agent's own directory
    + directory: the target; empty where it is elsewhere
    + key: the file with the key
    + login: who logs in with it where; empty where nobody does
    + staging: ClickHouse's directory for backups, which is its own; empty on a host without it
    """
    wanted = [state, *([directory] if directory else [])]
    there = host.get_fact(Existing, paths=[*wanted, key, *([staging] if staging else [])])
    missing = [path for path in wanted if path not in there]
    if missing:
        yield f"install -d -m 700 {' '.join(map(shlex.quote, missing))}"
    if lacking := bool(staging) and staging not in there:
        # before the agent's unit is first started, which may write in it only where it is there
        yield f"install -d -o clickhouse -g clickhouse -m 750 {shlex.quote(staging)}"
    if login and key not in there:
        name = shlex.quote(f"cvat-analytics-backup of {host.name}")
        # what was cut off leaves no half of a pair
        yield f"rm -f {key}.new*; ssh-keygen -q -t ed25519 -N '' -C {name} -f {key}.new && mv {key}.new.pub {key}.pub && mv {key}.new {key}"
    if not missing and not lacking and not (login and key not in there):
        host.noop("all is there")
    if state in missing and host.state.is_executing:
        tell("backup begins", host=host.name)
    if login and host.state.is_executing:
        public = host.get_fact(FileText, path=f"{key}.pub").strip()
        if public:
            tell("backup key", host=host.name, login=login, key=public, new="" if key in there else "yes")


@operation()
def encrypted(file: str, digest: str, content: Callable[[], bytes]) -> Commands:
    """Make `file` hold what `digest` stands for, which is encrypted differently each time.

    + file: where it is on the host; its digest lies beside it
    + digest: identifies what is in it
    + content: returns the encrypted bytes; called only when they are needed
    """
    note = f"{file}.digest"
    if file in host.get_fact(Existing, paths=[file]) and host.get_fact(FileText, path=note).strip() == digest:
        host.noop("already there")
        return
    yield f"rm -f {note}"
    upload = f"{STATE_DIRECTORY}/{digest[:16]}.age"
    yield f"install -d -m 755 {STATE_DIRECTORY}"
    yield FileUploadCommand(io.BytesIO(content()), upload)
    yield f"install -m 600 {upload} {file} && rm -f {upload} && echo {digest} > {note}"


@operation()
def absent(units: Sequence[str], paths: Sequence[str]) -> Commands:
    """Take away `units` (names without suffix, each with a service and a timer) and `paths`, files and directories.

    + units: stopped and disabled where one of their files is there
    + paths: removed
    """
    notes = [f"{STATE_DIRECTORY}/{unit}.timer.applied" for unit in units]
    notes += [digest_note(path) for path in paths if path.startswith("/opt/")]
    there = host.get_fact(Existing, paths=[*paths, *notes])
    if not there:
        host.noop("nothing is there")
        return
    for unit in units:
        yield f"systemctl disable --now -q {unit}.timer 2>/dev/null; systemctl stop {unit}.service 2>/dev/null; true"
    yield f"rm -rf {' '.join(map(shlex.quote, there))}"
    yield "systemctl daemon-reload"

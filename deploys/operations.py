"""The deploy's own operations. All file writes and all service starts go through here.

`managed_files` decides what differs; `service` alone decides whether a restart is needed. Between the two stands a
note on the host of what a service was last started with, so that a run that was cut off in between is completed by
the next one, and a run that changes nothing restarts nothing.
"""

from __future__ import annotations

import base64
import difflib
import io
import shlex
import tarfile
from collections.abc import Callable, Generator, Mapping, Sequence
from hashlib import sha256
from pathlib import PurePosixPath

from pyinfra import host, logger
from pyinfra.api import FileUploadCommand, StringCommand, operation

from cvat_analytics.config.topology import ClickHouseEndpoint
from cvat_analytics.config.versions import PREVIOUS
from cvat_analytics.rendering import made, programs
from cvat_analytics.rendering.files import UNITS, Paths, RenderedFile
from deploys import tls
from deploys.facts import (
    STATE_DIRECTORY,
    DirectoryEntries,
    Files,
    FileState,
    FileText,
    Unit,
    UnpackedDigest,
    digest_note,
)
from deploys.tls import STATUS_200

DATA = {
    "vector": tuple(f"{Paths().vector_data}/{each}" for each in ("buffer", "substitute")),
    "grafana": (f"{Paths().grafana_data}/grafana.db*",),
}
"""By component: what of its data is kept when it stops for another version, as patterns of sh."""

Commands = Generator[str | StringCommand | FileUploadCommand, None, None]


def differs(file: RenderedFile, state: FileState | None) -> bool:
    """Return whether a file on the host, `state` there or not, is another than is wanted."""
    expected = FileState(sha256(file.content.encode()).hexdigest(), file.mode, file.user, file.group)
    return state != expected


def undated(files: Sequence[RenderedFile], states: Mapping[str, FileState]) -> list[str]:
    """Return the paths of the `files` that an earlier version dated 1970, as it did with all, and whose service goes by the time.

    Such a service may not have seen what is in them. One that is restarted when they change has.
    """
    return [
        file.path
        for file in files
        if file.effect == "none" and file.path in states and states[file.path].seconds == 0
    ]


def _show_difference(file: RenderedFile, installed: FileState | None) -> None:
    """Log what changes in `file`; of a secret file only that it changes."""
    verb = "change" if installed else "create"
    host.log(f"{verb} {file.path}", logger.info)
    if file.secret or not installed or not host.state.config.DIFF:
        return
    before = host.get_fact(FileText, path=file.path)
    for line in difflib.unified_diff(
        before.splitlines(), file.content.splitlines(), "on the host", "wanted", lineterm=""
    ):
        host.log(f"    {line}", logger.info)


def packed(files: Sequence[RenderedFile]) -> str:
    """Return `files`, each under its `unfinished` name, as a base64 text of a tar archive with their owners and modes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in files:
            content = file.content.encode()
            entry = tarfile.TarInfo(unfinished(file.path).lstrip("/"))
            entry.size, entry.mode, entry.uname, entry.gname = (
                len(content),
                int(file.mode, 8),
                file.user,
                file.group,
            )
            archive.addfile(entry, io.BytesIO(content))
    return base64.encodebytes(buffer.getvalue()).decode()


def unfinished(path: str) -> str:
    """Return the name that a file has until all of it is there: one that no service reads, in the same directory."""
    place = PurePosixPath(path)
    return str(place.with_name(f".{place.name}.new"))


def written(files: Sequence[RenderedFile], root: str = "/") -> StringCommand:
    """Return the command that puts `files` onto the host, each dated with the moment at which it is written.

    ClickHouse looks at a file again only when its modification time is another (src/Common/Config/ConfigReloader.cpp,
    src/Server/CertificateReloader.cpp), and systemd at a unit only when it is younger than what it has read: no file may come
    with a date of the archive's, or with that of the one before it, which on a file system that counts whole seconds it could.
    A service that looks while this goes on finds the old file or the new one, never none and never half of one.
    """
    names = " ".join(shlex.quote(root + file.path.lstrip("/")) for file in files)
    return StringCommand(
        f"base64 -d | tar -xzpm --no-overwrite-dir -C {shlex.quote(root)} && for file in {names}; do "
        'new="${file%/*}/.${file##*/}.new"; '
        'if [ -e "$file" ] && [ "$(stat -c %.9Y "$new")" = "$(stat -c %.9Y "$file")" ]; then '
        'touch -d "@$(($(stat -c %Y "$file") + 1))" "$new"; fi; mv -fT "$new" "$file" || exit 1; done',
        _stdin=packed(files).splitlines(),
    )


@operation()
def stage() -> Commands:
    """Let no host go on before every host has come to here; change nothing.

    pyinfra keeps the order of operations on each host, but between hosts only where they share an operation: this one.
    """
    host.noop("everybody is here")
    yield from ()


@operation()
def managed_files(
    files: Sequence[RenderedFile],
    unit: str | None = None,
    directory: str | None = None,
    absent: Sequence[str] = (),
    replacing: Sequence[RenderedFile] = (),
) -> Commands:
    """Make `files` be on the host exactly as given, and the paths in `absent` not.

    + files: what must be there, with owner and mode
    + unit: the service that must be restarted when a file whose effect is `restart` changes
    + directory: one that belongs to `files` alone: whatever else is in it is removed
    + absent: paths of files to remove
    + replacing: files that are written only where the host has one of that path

    The content travels on standard input, so that secrets never stand in a command line or in a temporary file.
    """
    if directory:
        managed = {file.path for file in files}
        entries = (f"{directory}/{name}" for name in host.get_fact(DirectoryEntries, path=directory))
        absent = [*absent, *(path for path in entries if path not in managed)]
    paths = [file.path for file in (*files, *replacing)] + list(absent)
    states = host.get_fact(Files, paths=paths)
    files = [*files, *(file for file in replacing if file.path in states)]
    changed = [file for file in files if differs(file, states.get(file.path))]
    removed = [path for path in absent if path in states]
    dateless = undated([file for file in files if file not in changed], states)
    if not changed and not removed and not dateless:
        host.noop(f"{len(files)} files are already right")
        return
    for file in changed:
        _show_difference(file, states.get(file.path))
    for path in removed:
        host.log(f"remove {path}", logger.info)
    if dateless:
        host.log(f"date {', '.join(dateless)}", logger.info)
        yield StringCommand("touch", "-c", *map(shlex.quote, dateless))
    if unit and any(file.effect == "restart" for file in changed):
        yield _forget(unit)
    if removed:
        yield StringCommand("rm", "-f", *[shlex.quote(path) for path in removed])
    if changed:
        yield made.noted(file.path for file in changed)
        # Directories of secret files are for root alone; the others are the packages' or plain ones
        for directory in sorted({str(PurePosixPath(file.path).parent) for file in changed}):
            secret = any(
                file.secret and file.mode == "600"
                for file in changed
                if str(PurePosixPath(file.path).parent) == directory
            )
            yield f"[ -d {shlex.quote(directory)} ] || install -d -m {'700' if secret else '755'} {shlex.quote(directory)}"
        yield written(changed)


def _forget(unit: str) -> StringCommand:
    """Return the command that marks `unit` as running with something else than what is wanted."""
    return StringCommand("rm", "-f", f"{STATE_DIRECTORY}/{unit}.applied")


@operation()
def unpacked(archive: Callable[[], bytes], digest: str, directory: str, unit: str) -> Commands:
    """Make `directory` hold exactly what the tar.gz `archive` holds.

    + archive: returns the archive; called only when it is needed
    + digest: identifies the archive; noted on the host
    + directory: replaced as a whole
    + unit: the service that must be restarted afterwards
    """
    note = digest_note(directory)
    if host.get_fact(UnpackedDigest, note=note, directory=directory) == digest:
        host.noop("already there")
        return
    content = archive()
    yield _forget(unit)
    yield made.noted(trees=[directory])
    upload = f"{STATE_DIRECTORY}/{digest[:16]}.tar.gz"
    yield f"install -d -m 755 {STATE_DIRECTORY} {PurePosixPath(directory).parent}"
    yield FileUploadCommand(io.BytesIO(content), upload)
    new = f"{directory}.new"
    yield (
        f"rm -rf {new} && mkdir {new} && tar -xzmf {upload} --no-same-owner -C {new} && rm -rf {directory} && mv {new} {directory} && "
        f"rm -f {upload} && echo {digest} > {note}"
    )


@operation()
def service(unit: str, applied: str, probe: str, timeout: float) -> Commands:
    """Make `unit` run, be enabled, and have been started with what the fingerprint `applied` stands for.

    + unit: the systemd unit's name without suffix
    + applied: fingerprint of everything that needs a restart when it changes
    + probe: shell command that succeeds when the service is healthy
    + timeout: how long, in seconds, to wait for that after a start
    """
    yield from started(
        unit,
        applied,
        f"{stopped(unit)} || exit 1; systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit} || {{ {log_tail(unit)}; exit 1; }}",
        wait_until(
            probe,
            timeout,
            f"{unit} did not become healthy within {timeout:.0f} s; its last lines:",
            log_tail(unit),
        ),
    )


def stopped(unit: str) -> str:
    """Return the command that stops `unit` where it is about to run another version for the first time, and keeps what it has by then.

    `stopped` is dated with the moment from which on the new version may have written what the old one cannot read (deploys/previous.py). It
    fails where nothing is kept: nobody may start the new version then.
    """
    place = f"{PREVIOUS}/{unit}"
    component = next((name for name in programs.PACKAGES if UNITS[name] == unit), "")
    if not component:
        return "true"
    package = programs.PACKAGES[component]
    complaint = f"{unit}: what it has could not be kept in {place} (is the disk full?); it is stopped, and its new version is not started"
    return (
        f"{{ [ ! -e {place}/open ] || [ -e {place}/stopped ] || {{ "
        # somebody else has started it already: what is there now is not of before
        f"if {programs.has_run(unit, package, f'{place}/open')}; then systemctl stop {unit} && touch -r {programs.listed(package)} {place}/stopped; "
        f"else systemctl stop {unit}{_copied(place, DATA.get(component, ()))} && touch {place}/stopped; fi; "
        f"}} || {{ echo {shlex.quote(complaint)} >&2; false; }}; }}"
    )


def _copied(place: str, paths: Sequence[str]) -> str:
    """Return what follows a command to copy `paths`, patterns of sh, into the directory `data` of `place`: all of it, or that stays as it is."""
    if not paths:
        return ""
    part = f"{place}/data.part"
    return (
        f" && rm -rf {part} && mkdir {part} && ( for each in {' '.join(paths)}; do "
        f'[ ! -e "$each" ] || cp -a "$each" {part}/ || exit 1; done ) && rm -rf {place}/data && mv {part} {place}/data'
    )


def started(
    unit: str, applied: str, *commands: str
) -> Generator[str | StringCommand | FileUploadCommand, None, bool]:
    """Run `commands`, which bring `unit` up, unless it runs with what `applied` stands for; note that it does.

    Returns whether there was anything to run them for.
    """
    state = host.get_fact(Unit, unit=unit)
    if state.runs_with(applied):
        if not state.enabled:
            yield f"systemctl enable {unit}"
        else:
            host.noop(f"{unit} runs with what is wanted")
        return False
    yield "systemctl daemon-reload"
    if unit.startswith("cvat-analytics-"):
        yield made.noted(made.OF_SYSTEMD)
    if not state.enabled:
        yield f"systemctl enable {unit}"
    yield from commands
    yield f"install -d -m 755 {STATE_DIRECTORY} && echo {applied} > {STATE_DIRECTORY}/{unit}.applied"
    return True


@operation()
def insert_probe(
    unit: str,
    applied: str,
    endpoint: ClickHouseEndpoint,
    database: str,
    password_file: str,
    authority: str,
    timeout: float,
) -> Commands:
    """Prove, before `unit` is started with something new, that Vector's user may insert into its tables.

    + unit, applied: as for `service`; when nothing is to be restarted nothing is asked
    + endpoint, database: ClickHouse as this host reaches it
    + password_file: root-only file with the password of the user `vector`
    + authority: file with the certificate that ClickHouse's is verified with, where it is reached through TLS
    + timeout: how long to wait, in seconds; ClickHouse takes some to notice a changed password

    An INSERT of no rows needs the same rights and the same table as one of many.
    """
    state = host.get_fact(Unit, unit=unit)
    if state.runs_with(applied):
        host.noop("nothing is to be restarted")
        return
    for table in ("incoming_events", "incoming_dead_letters", "pipeline_metrics"):
        answer = f"{STATE_DIRECTORY}/probe"
        query = f"INSERT+INTO+{database}.{table}+FORMAT+JSONEachRow"
        request = insert_request(endpoint.address, query, password_file)
        where = endpoint.address, endpoint.http_port
        if endpoint.tls:
            request = f"{request} | {tls.connection(*where, authority)} > {answer}; {STATUS_200} {answer}"
        else:
            request = f"exec 3<>/dev/tcp/{where[0]}/{where[1]} && {request} >&3 && cat <&3 > {answer}; {STATUS_200} {answer}"
        probe = f"timeout 5 bash -c {shlex.quote(request)} 2>/dev/null"
        complaint = f"ClickHouse at {where[0]}:{where[1]} does not let the user vector insert into {database}.{table}; {unit} keeps what it has. Its answer:"
        yield f"install -d -m 755 {STATE_DIRECTORY}"
        yield wait_until(probe, timeout, complaint, f"tail -n 3 {answer} >&2")
        yield f"rm -f {answer}"


def insert_request(address: str, query: str, password_file: str) -> str:
    """Return a command that writes the request of Vector's user to ClickHouse at `address`.

    The password goes through the shell's own printf: it never stands in a command line.
    """
    return (
        f"printf 'POST /?query=%s HTTP/1.0\\r\\nHost: {address}\\r\\nX-ClickHouse-User: vector\\r\\n"
        f'X-ClickHouse-Key: %s\\r\\nContent-Length: 0\\r\\n\\r\\n\' {query} "$(cat {shlex.quote(password_file)})"'
    )


def log_tail(unit: str) -> str:
    """Return a command that shows the last lines of a unit's log."""
    return f"journalctl -u {unit} -n 20 --no-pager -o cat >&2"


def wait_until(probe: str, timeout: float, complaint: str, otherwise: str = "true") -> str:
    """Return a command that repeats `probe` until it succeeds, and fails with `complaint` after `timeout` seconds."""
    return (
        f"end=$(($(date +%s) + {int(timeout)})); until {probe}; do "
        f'[ "$(date +%s)" -lt "$end" ] || {{ echo {shlex.quote(complaint)} >&2; {otherwise}; exit 1; }}; sleep 0.3; done'
    )


def http_probe(port: int, path: str, address: str = "127.0.0.1") -> str:
    """Return a command that succeeds when `path` answers 200. Needs nothing that a bare Debian lacks."""
    request = f"exec 3<>/dev/tcp/{address}/{port} && printf 'GET {path} HTTP/1.0\\r\\nHost: {address}\\r\\n\\r\\n' >&3 && {STATUS_200} <&3"
    return f"timeout 5 bash -c {shlex.quote(request)} 2>/dev/null"

"""How a changed configuration comes to a running Vector: proven first, then by reload or restart, else the old one again.

Vector takes a reload only where ports come or go, for nobody who sends to a port that stays is to be cut off, and whether a reload
has come to anything is seen by its ports, whatever Vector's log calls it. A changed sink would have to end first, and one that
waits for a ClickHouse that refuses it never ends (src/topology/running.rs): the reload would hang with the sources closed
already. Global options and credentials need a restart anyway (GlobalOptionsChanged in the same file; LoadCredential=).
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import RenderedFile
from deploys import operations
from deploys.facts import STATE_DIRECTORY, Files, FileText, Unit
from deploys.operations import Commands

CANDIDATE = "/run/cvat-analytics/vector-candidate"
PREVIOUS = f"{STATE_DIRECTORY}/vector.previous.tar"
"""What Vector ran with before this deploy. It holds passwords: for root only."""
CHANGE = f"{STATE_DIRECTORY}/vector.change"
"""`reload` or `restart`: how the configuration that was written last is to be applied."""

_RELOADABLE = ("sources", "transforms")
_RELOAD_SECONDS = 30
"""For how long a reload may take. One that hangs has closed the ports already."""


def change(before: str, after: str) -> str:
    """Return how Vector gets from one configuration (TOML) to another: `reload` or `restart`."""
    try:
        old, new = tomllib.loads(before), tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        return "restart"
    gone, come = _addresses(old) - _addresses(new), _addresses(new) - _addresses(old)
    if not gone | come or _ports(gone) & _ports(come):
        return "restart"  # nothing would show whether a reload was done: 127.0.0.1 answers for 0.0.0.0 too
    for document in (old, new):
        for name in _RELOADABLE:
            document.pop(name, None)
    return "reload" if old == new else "restart"


def _addresses(document: dict[str, Any]) -> set[str]:
    return {each["address"] for each in document.get("sources", {}).values() if "address" in each}


def _ports(addresses: set[str]) -> set[str]:
    return {address.rpartition(":")[2] for address in addresses}


def candidates(context: Context, files: Sequence[RenderedFile]) -> list[RenderedFile]:
    """Return Vector's configuration, tests and credentials as they are tried: all below one directory for root only."""
    paths = context.paths
    tried = []
    for file in files:
        place = PurePosixPath(file.path)
        if file.secret:
            tried.append(replace(file, path=f"{CANDIDATE}/credentials/{place.name}"))
        elif file.path == paths.authority:
            tried.append(replace(file, path=f"{CANDIDATE}/{place.name}"))
        elif place.parent == PurePosixPath(paths.vector_config) and place.suffix == ".toml":
            content = file.content.replace(paths.vector_credentials, f"{CANDIDATE}/credentials")
            content = content.replace(paths.authority, f"{CANDIDATE}/{PurePosixPath(paths.authority).name}")
            tried.append(replace(file, path=f"{CANDIDATE}/{place.name}", content=content, mode="600"))
    return tried


@operation()
def proven(context: Context, files: Sequence[RenderedFile], unit: str) -> Commands:
    """Let Vector itself validate and test a changed configuration before anything on the host is touched.

    + context, files: what is wanted, as render.vector_files gives it
    + unit: the systemd unit; what it runs with now is kept, so that `applied` can go back to it
    """
    managed = [file for file in files if file.effect == "restart" or file.path.endswith("/tests.toml")]
    states = host.get_fact(Files, paths=[file.path for file in managed])
    if not any(operations.differs(file, states.get(file.path)) for file in managed):
        host.noop("the configuration is the one that was proven")
        return
    configuration = next(file for file in managed if file.path.endswith("/vector.toml"))
    others = [file for file in managed if file is not configuration and file.effect == "restart"]
    state = host.get_fact(Unit, unit=unit)
    reloadable = (
        state.active
        and state.applied
        # a reload would go on with the program of before
        and not state.older
        and not any(operations.differs(file, states.get(file.path)) for file in others)
        and change(host.get_fact(FileText, path=configuration.path), configuration.content) == "reload"
    )
    yield f"rm -rf {CANDIDATE} && install -d -m 700 {CANDIDATE} {CANDIDATE}/credentials"
    yield operations.written(candidates(context, files))
    toml, tests = f"{CANDIDATE}/vector.toml", f"{CANDIDATE}/tests.toml"
    refused = "vector: Vector refuses the new configuration. What runs now was not touched. Its reason:"
    yield (
        f"said=$(vector validate --skip-healthchecks {toml} 2>&1 && vector test {toml} {tests} 2>&1) || "
        f'{{ echo {shlex.quote(refused)} >&2; echo "$said" | tail -n 20 >&2; rm -rf {CANDIDATE}; exit 1; }}; rm -rf {CANDIDATE}'
    )
    kept = " ".join(shlex.quote(file.path) for file in managed if file.path in states)
    yield f"install -d -m 755 {STATE_DIRECTORY}"
    if state.active and state.applied and kept:
        yield f"( umask 077 && tar -cpPf {PREVIOUS} {kept} )"
    # otherwise a deploy was cut off after this step: what was kept then is still what runs, or nothing is
    yield f"echo {'reload' if reloadable else 'restart'} > {CHANGE}"


@operation()
def applied(
    unit: str, configuration: str, fingerprint: str, probes: Sequence[str], timeout: float
) -> Commands:
    """Make `unit` run with what was written, or with what it ran with before, and then fail with the reason.

    + unit: the systemd unit's name without suffix
    + configuration: path of Vector's configuration
    + fingerprint: of everything that the service was to be started with
    + probes: shell commands that all succeed when the service is healthy
    + timeout: how long, in seconds, to wait for that
    """
    if (
        yield from operations.started(
            unit, fingerprint, _script(unit, configuration, " && ".join(probes), timeout)
        )
    ):
        yield f"rm -f {PREVIOUS} {CHANGE}"


def _script(unit: str, configuration: str, probe: str, timeout: float) -> str:
    words = operations.log_tail(unit)
    healthy = operations.wait_until(
        f"{{ {probe}; }}",
        timeout,
        f"{unit} did not become healthy within {timeout:.0f} s; its last lines:",
        words,
    )
    listens = operations.wait_until(
        f"sed -n 's/^address = \"\\(.*\\):\\([0-9]*\\)\"$/\\1 \\2/p' {configuration} | tr -d '[]' | "
        'while read -r address port; do timeout 5 bash -c "exec 3<>/dev/tcp/$address/$port" 2>/dev/null || exit 1; done',
        timeout,
        f"{unit} does not listen with its old configuration either; its last lines:",
        words,
    )
    addresses = "sed -n 's/^address = \"\\(.*\\):\\([0-9]*\\)\"$/\\1 \\2/p' | tr -d '[]'"
    seconds = min(timeout, _RELOAD_SECONDS)
    return f"""
start() {{ {operations.stopped(unit)} || exit 1; systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit} || {{ {words}; return 1; }}; ( {healthy} ); }}
addresses() {{ {addresses}; }}
listens() {{ timeout 5 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; }}
all() {{ echo "$1" | while read -r address port; do [ -z "$port" ] || listens "$address" "$port" || exit 1; done; }}
none() {{ echo "$1" | while read -r address port; do [ -z "$port" ] || ! listens "$address" "$port" || exit 1; done; }}
reload() {{
  old=$(tar -xOPf {PREVIOUS} {configuration} 2>/dev/null | addresses)
  gone=$(echo "$old" | grep -vxF "$(addresses < {configuration})")
  systemctl reload {unit} || return 1
  end=$(($(date +%s) + {seconds:.0f}))
  until {{ {probe}; }} && none "$gone"; do
    [ "$(date +%s)" -ge "$end" ] || {{ sleep 0.3; continue; }}
    if all "$old"; then echo '{unit} goes on with what it had; its last lines:' >&2; {words}; return 1; fi
    echo '{unit} has closed its ports and its reload does not end; restarting it' >&2; how=restart; start; return
  done
}}
how=$(cat {CHANGE} 2>/dev/null || echo restart)
if [ "$how" = reload ] && systemctl -q is-active {unit}; then reload; else how=restart; start; fi && exit 0
[ -e {PREVIOUS} ] || {{ echo '{unit}: there is no earlier configuration to go back to' >&2; exit 1; }}
tar -xpmPf {PREVIOUS} && systemctl daemon-reload || exit 1
if {{ [ "$how" = reload ] && systemctl -q is-active {unit}; }} || {{ systemctl restart {unit} && ( {listens} ); }}; then
  echo "{unit}: the $how with the new configuration failed (the reason stands above). The old configuration is at work again" >&2
else
  echo '{unit}: neither the new configuration nor the old one comes up; events wait at their senders' >&2
fi
exit 1
"""


def tcp_probe(port: int, address: str) -> str:
    """Return a command that succeeds when something listens; where TLS is on, bash cannot say more."""
    connect = f"exec 3<>/dev/tcp/{address}/{port}"
    return f"timeout 5 bash -c {shlex.quote(connect)} 2>/dev/null"

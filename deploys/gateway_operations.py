"""Operations for units of our own: one that may have to go again, and one that is asked by its port."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from deploys.facts import STATE_DIRECTORY, Files, Unit
from deploys.operations import Commands, log_tail, started, wait_until


@operation()
def retired(unit: str, files: Sequence[str]) -> Commands:
    """Make `unit` and its `files` be gone, when a setting does not ask for it any more.

    + unit: a unit that this project has written
    + files: absolute paths, the unit's own file among them
    """
    present = host.get_fact(Files, paths=list(files))
    state = host.get_fact(Unit, unit=unit)
    if not present and not state.active:
        host.noop(f"{unit} is not there")
        return
    host.log(f"remove {unit}", logger.info)
    yield f"systemctl disable -q --now {shlex.quote(unit)} || true"
    yield StringCommand("rm", "-f", f"{STATE_DIRECTORY}/{unit}.applied", *map(shlex.quote, files))
    yield "systemctl daemon-reload"


@operation()
def rules(unit: str, applied: str, probe: str, timeout: float) -> Commands:
    """Make `unit` have loaded the firewall's rules that the fingerprint `applied` stands for.

    Old rules are replaced by new ones in one step: a restart would take the old ones away first, and leave the ports open for
    that moment, or for good where the new ones cannot be loaded.

    + unit, applied, probe, timeout: as for operations.service
    """
    yield from started(
        unit,
        applied,
        f"systemctl reset-failed {unit} 2>/dev/null; systemctl reload-or-restart {unit} || {{ {log_tail(unit)}; exit 1; }}",
        wait_until(probe, timeout, f"{unit} has not loaded its rules; its last lines:", log_tail(unit)),
    )


def gateway_probe(https_port: int, http_port: int, address: str, authority: str) -> str:
    """Return a command that succeeds when it is the gateway that answers at both ports.

    A port that takes connections is not enough: while nginx waits for one port that another program holds, it has the other.
    What speaks TLS refuses a plain request (400); HTTP is sent on to `authority`.
    """
    urls = [
        f"exec 3<>/dev/tcp/{address}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '{answer}' <&3"
        for port, answer in ((https_port, "^HTTP/1.1 400 "), (http_port, f"^Location: https://{authority}/"))
    ]
    return " && ".join(f"timeout 5 bash -c {shlex.quote(request)} 2>/dev/null" for request in urls)

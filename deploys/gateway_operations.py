"""Operations for what is not one of the vendors' packages: Debian's own programs, and units that may have to go again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra import host, logger
from pyinfra.api import StringCommand, operation

from deploys.facts import STATE_DIRECTORY, Files, PackageVersions, Unit
from deploys.operations import Commands


@operation()
def program(package: str, masked: Sequence[str] = ()) -> Commands:
    """Install the distribution's `package` for its program alone.

    + package: its name, in whatever version the distribution has
    + masked: units of it that must not start, now or ever; a package that is there already keeps its units as they are

    Raises nothing: when apt cannot install it, its own message says why.
    """
    if package in host.get_fact(PackageVersions, packages=[package]):
        host.noop(f"{package} is installed")
        return
    host.log(f"install {package} of the distribution", logger.info)
    for unit in masked:
        yield f"systemctl mask -q {shlex.quote(unit)}"
    yield "apt-get -q update"
    yield (
        "DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 --no-install-recommends "
        f"install {shlex.quote(package)}"
    )


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


def port_probe(port: int, address: str) -> str:
    """Return a command that succeeds when something takes connections at `address` and `port`."""
    if address in ("0.0.0.0", "::"):  # noqa: S104 - what the setting may say; the probe then asks loopback
        address = "127.0.0.1" if address == "0.0.0.0" else "::1"  # noqa: S104
    return f"timeout 5 bash -c {shlex.quote(f'exec 3<>/dev/tcp/{address}/{port}')} 2>/dev/null"

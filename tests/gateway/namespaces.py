"""A host with the firewall's rules and somebody outside, as two network namespaces of this machine's own kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from cvat_analytics.gateway import gateway
from cvat_analytics.rendering.context import Context
from tests.missing import give_up

HOST, VISITOR, CVAT = "10.254.7.1", "10.254.7.2", "10.254.7.3"


def run(*command: str) -> str:
    """Run a command and return what it says; what it complains of is the failure's message."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def inside(namespace: str) -> tuple[str, ...]:
    """Return what a command begins with that runs in a namespace."""
    return ("ip", "netns", "exec", namespace)


def load(namespace: str, rendered: Context) -> None:
    """Load the rules in a namespace, as the unit does."""
    rules = next(file for file in gateway.firewall_files(rendered) if file.path.endswith(".nft"))
    subprocess.run([*inside(namespace), "nft", "-f", "-"], input=rules.content, text=True, check=True)


@contextmanager
def namespaces(rendered: Context) -> Iterator[tuple[str, str]]:
    """Yield the names of two namespaces: the host's (HOST), where the rules are loaded, and another one (VISITOR, CVAT)."""
    for program in ("ip", "nft"):
        if not shutil.which(program):
            give_up(f"{program} is not installed: run tests/hosts/prepare as root")
    if os.geteuid():
        give_up("network namespaces and firewall rules are for root: run the tests as root")
    host, outside = (f"{name}{uuid.uuid4().hex[:8]}" for name in ("h", "o"))
    try:
        for name in (host, outside):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(*f"ip link add {host} netns {host} type veth peer name {outside} netns {outside}".split())
        for name, addresses in ((host, [HOST]), (outside, [VISITOR, CVAT])):
            for address in addresses:
                run("ip", "-n", name, "address", "add", f"{address}/24", "dev", name)
            run("ip", "-n", name, "link", "set", name, "up")
        if gateway.has_rules(rendered):
            for _ in range(2):  # loading them again replaces them
                load(host, rendered)
        yield host, outside
    finally:
        for name in (host, outside):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

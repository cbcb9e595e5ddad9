"""Who gets a connection where the firewall's rules are loaded: the kernel's own nftables between two network namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cvat_analytics.config import topology
from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.credentials import secrets
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering.context import Context
from tests.missing import give_up

HOST, VISITOR, CVAT = "10.254.7.1", "10.254.7.2", "10.254.7.3"

# What listens on the host
LISTEN = """
    import selectors, socket, sys
    selector = selectors.DefaultSelector()
    for port in map(int, sys.argv[1:]):
        selector.register(socket.create_server(("10.254.7.1", port), backlog=500), selectors.EVENT_READ)
    print("ready", flush=True)
    kept = []
    while True:
        kept += [key.fileobj.accept()[0] for key, _ in selector.select()]
"""
# What a visitor does: as many connections as possible, all at once; prints their number
CONNECT = """
    import socket, sys
    source, port, count, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    kept = []
    for _ in range(count):
        try:
            kept.append(socket.create_connection(("10.254.7.1", port), timeout=patience, source_address=(source, 0)))
        except (ConnectionRefusedError, TimeoutError):
            break
    print(len(kept))
"""

Connect = Callable[..., int]

LET_IN = 30.0
"""Seconds that a connection may take which the rules allow; one that they do not is waited for a second."""


def run(*command: str) -> str:
    """Run a command and return what it says; what it complains of is the failure's message."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def context(**settings: object) -> Context:
    values = {
        "firewall": True, "grafana_root_url": "https://analytics.example.org/", "gateway_listen_address": "0.0.0.0",
        "vector_listen_address": "0.0.0.0", "vector_allowed_addresses": [CVAT], **settings,
    }  # fmt: skip
    described = topology.build(dict.fromkeys(COMPONENTS, ("a",)), {"a": values}, where="test")
    return Context("a", described, secrets.generate())


@contextmanager
def guarded(rendered: Context) -> Iterator[Connect]:
    """Load the rules in a namespace that stands for the host; yield a way to connect to it from another one."""
    for program in ("ip", "nft"):
        if not shutil.which(program):
            give_up(f"{program} is not installed: run tests/hosts/prepare as root")
    if os.geteuid():
        give_up("network namespaces and firewall rules are for root: run the tests as root")
    host, outside = (f"{name}{uuid.uuid4().hex[:8]}" for name in ("h", "o"))
    rules = next(file for file in gateway.firewall_files(rendered) if file.path.endswith(".nft"))
    listener = None
    try:
        for name in (host, outside):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip",
            "link",
            "add",
            host,
            "netns",
            host,
            "type",
            "veth",
            "peer",
            "name",
            outside,
            "netns",
            outside,
        )
        for name, addresses in ((host, [HOST]), (outside, [VISITOR, CVAT])):
            for address in addresses:
                run("ip", "-n", name, "address", "add", f"{address}/24", "dev", name)
            run("ip", "-n", name, "link", "set", name, "up")
        for _ in range(2):  # loading them again replaces them
            subprocess.run(
                ["ip", "netns", "exec", host, "nft", "-f", "-"], input=rules.content, text=True, check=True
            )
        settings = rendered.settings
        ports = [str(port) for part in settings.listening_ports().values() for port in part.values()]
        listener = subprocess.Popen(
            ["ip", "netns", "exec", host, sys.executable, "-c", textwrap.dedent(LISTEN), *ports],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert listener.stdout
        assert listener.stdout.readline() == "ready\n"

        def connect(source: str, port: int, count: int, patience: float = LET_IN) -> int:
            arguments = (source, str(port), str(count), str(patience))
            program = [sys.executable, "-c", textwrap.dedent(CONNECT), *arguments]
            return int(run("ip", "netns", "exec", outside, *program))

        yield connect
    finally:
        if listener:
            listener.kill()
            listener.communicate()
        for name in (host, outside):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture(scope="module")
def closed() -> Iterator[Connect]:
    with guarded(context()) as connect:
        yield connect


@pytest.mark.parametrize(
    ("source", "port", "expected"),
    [
        (CVAT, 8282, 1),
        (VISITOR, 8282, 0),
        (CVAT, 8123, 0),
        (CVAT, 9000, 0),
        (VISITOR, 3000, 0),
        (VISITOR, 8283, 0),
        (VISITOR, 443, 1),
        (VISITOR, 80, 1),
    ],
)
def test_a_port_is_open_to_whom_the_settings_allow(
    closed: Connect, source: str, port: int, expected: int
) -> None:
    assert closed(source, port, 1, LET_IN if expected else 1.0) == expected


def test_nobody_takes_all_connections_of_the_gateway_by_opening_them_and_saying_nothing(
    closed: Connect,
) -> None:
    limit = gateway.CONNECTIONS_PER_ADDRESS
    assert closed(VISITOR, 443, limit + 10) in range(
        limit - 5, limit + 1
    )  # those of other tests may still count
    # somebody else comes in meanwhile
    assert closed(CVAT, 443, 1) == 1


def test_a_proxy_speaks_for_many_and_is_not_limited() -> None:
    with guarded(context(gateway_trusted_proxies=[CVAT])) as connect:
        assert (
            connect(CVAT, 443, gateway.CONNECTIONS_PER_ADDRESS + 10) == gateway.CONNECTIONS_PER_ADDRESS + 10
        )

"""Who gets a connection where the firewall's rules are loaded: the kernel's own nftables between two network namespaces."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cvat_analytics.config import topology
from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.credentials import secrets
from cvat_analytics.rendering.context import Context

from .namespaces import CVAT, VISITOR, inside, load, namespaces, run

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
    print(len(kept), flush=True)
    sys.stdin.read()
"""

Connect = Callable[..., int]

LET_IN = 30.0
"""Seconds that a connection may take which the rules allow; one that they do not is waited for a second."""


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
    with namespaces(rendered) as (host, outside), listening(host, rendered):

        def connect(source: str, port: int, count: int, patience: float = LET_IN) -> int:
            return int(run(*visitor(outside, source, port, count, patience)))

        yield connect


@contextmanager
def listening(host: str, rendered: Context) -> Iterator[None]:
    """Listen on all of the stack's ports."""
    ports = [str(port) for part in rendered.settings.listening_ports().values() for port in part.values()]
    listener = subprocess.Popen(
        [*inside(host), sys.executable, "-c", textwrap.dedent(LISTEN), *ports],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert listener.stdout
        assert listener.stdout.readline() == "ready\n"
        yield
    finally:
        listener.kill()
        listener.communicate()


def visitor(outside: str, source: str, port: int, count: int, patience: float = LET_IN) -> tuple[str, ...]:
    """Return the command of somebody who connects, says how often they could, and keeps that until there is no more input."""
    arguments = (source, str(port), str(count), str(patience))
    return (*inside(outside), sys.executable, "-c", textwrap.dedent(CONNECT), *arguments)


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


def test_the_gateways_connections_are_counted_where_no_other_port_is_closed() -> None:
    limit = 40
    with guarded(context(firewall=False, gateway_connections_per_address=limit)) as connect:
        # only what is established counts, and nobody's connections are somebody else's
        assert connect(VISITOR, 443, limit + 10) == limit
        assert connect(CVAT, 443, 1) == 1
        assert connect(VISITOR, 3000, limit + 10) == limit + 10


def test_rules_that_are_loaded_again_know_who_has_connections() -> None:
    limit = 40
    rendered = context(gateway_connections_per_address=limit)
    with namespaces(rendered) as (host, outside), listening(host, rendered):
        holder = subprocess.Popen(
            visitor(outside, VISITOR, 443, limit + 10),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert holder.stdout
            assert int(holder.stdout.readline()) == limit
            # as a deploy does that changes them
            load(host, context(gateway_connections_per_address=limit, vector_allowed_addresses=[VISITOR]))
            assert int(run(*visitor(outside, VISITOR, 443, limit))) == 0
            assert int(run(*visitor(outside, CVAT, 443, 1))) == 1
            assert int(run(*visitor(outside, VISITOR, 8282, 1))) == 1, "the new rules hold"
            assert int(run(*visitor(outside, CVAT, 8282, 1, 1.0))) == 0, "and the old ones do not"
            # another limit holds at once
            load(host, context(gateway_connections_per_address=limit // 2))
            assert int(run(*visitor(outside, VISITOR, 443, limit))) == limit // 2
        finally:
            holder.kill()
            holder.communicate()


def test_a_proxy_speaks_for_many_and_is_not_limited() -> None:
    limit = 40
    proxied = context(gateway_trusted_proxies=[CVAT], gateway_connections_per_address=limit)
    with guarded(proxied) as connect:
        assert connect(CVAT, 443, limit + 10) == limit + 10


def test_a_hundred_people_behind_one_address_have_six_connections_each() -> None:
    # on a host of its own, where they keep nobody else out
    with guarded(context()) as connect:
        assert connect(VISITOR, 443, 600) == 600

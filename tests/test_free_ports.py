"""The ports that tests start servers on are theirs: two test processes at a time ask the kernel for some all the while."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.clickhouse import free_ports, free_row


@pytest.mark.parametrize("choose", [lambda: free_ports(1)[0], free_row], ids=["any", "in a row"])
def test_a_free_port_refuses_connections_and_takes_the_server_that_it_is_for(
    choose: Callable[[], int],
) -> None:
    port = choose()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for _ in range(2):  # a server may end and come back
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass


@pytest.mark.parametrize("choose", [lambda: free_ports(1)[0], free_row], ids=["any", "in a row"])
def test_a_free_port_is_given_to_nobody_else(choose: Callable[[], int]) -> None:
    port = choose()
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("127.0.0.1", port))

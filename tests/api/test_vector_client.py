"""What is said of events that Vector may not have taken."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from cvat_analytics.api import vector
from cvat_analytics.api.config import VectorConfig
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.vector import Vector


def send(listener: socket.socket) -> None:
    """Send an event to who listens there."""

    async def sending() -> None:
        client = Vector(VectorConfig(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        try:
            await client.send([{"scope": "load:cvat"}])
        finally:
            await client.close()

    asyncio.run(sending())


@pytest.mark.parametrize(("closed_first", "stored"), [(0, True), (1, True), (2, False)])
def test_a_kept_connection_that_vector_has_closed_is_no_failure(closed_first, stored):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in range(2):
            with listener.accept()[0] as connection:
                connection.recv(65536)
                if number >= closed_first:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        if stored:
            send(listener)
        else:
            with pytest.raises(Problem, match="not stored"):
                send(listener)
        thread.join(10)


def test_of_a_vector_that_does_not_answer_in_time_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(vector, "TIMEOUT_SECONDS", 0.2)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(Problem, match="not known whether") as caught,
    ):
        send(listener)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "5")

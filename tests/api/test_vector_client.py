"""What is said of events that Vector may not have taken."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from cvat_analytics.api import vector
from cvat_analytics.api.config import VectorConfig
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.vector import NotStored, Vector


def send(port: int) -> None:
    """Send an event to who listens there."""

    async def sending() -> None:
        client = Vector(VectorConfig(f"http://127.0.0.1:{port}/"))
        try:
            await client.send([{"scope": "load:cvat"}])
        finally:
            await client.close()

    asyncio.run(sending())


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
AWAY = None


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([OK], ""),
        # a kept connection that Vector has closed is no failure
        ([b"", OK], ""),
        # Vector may have taken them before it broke off, whatever it says afterwards
        ([b"", b""], "not known whether"),
        ([b"", REFUSED], "not known whether"),
        ([b"", AWAY], "not known whether"),
        ([REFUSED], "are not stored"),
        ([AWAY], "are not stored"),
    ],
)
def test_what_is_said_is_known(answers: list[bytes | None], outcome: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number, answer in enumerate(answers):
            if answer is AWAY:
                return
            connection = listener.accept()[0]
            if answers[number + 1 :] == [AWAY]:
                listener.close()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    port = listener.getsockname()[1]
    if answers == [AWAY]:
        listener.close()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        if outcome:
            with pytest.raises(Problem, match=outcome) as caught:
                send(port)
            assert isinstance(caught.value, NotStored) == (outcome == "are not stored")
        else:
            send(port)
        thread.join(10)
    finally:
        listener.close()


def test_of_a_vector_that_does_not_answer_in_time_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vector, "TIMEOUT_SECONDS", 1.0
    )  # also for connecting, which must not be what takes too long

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(Problem, match="not known whether") as caught,
    ):
        send(listener.getsockname()[1])
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "5")

"""The password of those who send to Vector changes while they do: of the substitute and of Vector itself."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from logstash_async.transport import HttpTransport

from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.connect.access import Access
from cvat_analytics.credentials import secrets
from cvat_analytics.operate import rotation
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from tests.clickhouse import free_ports
from tests.vector.configuration import context
from tests.vector.fake_clickhouse import fake_clickhouse
from tests.vector.running import Substitute
from tests.waiting import PATIENCE, until


class Stack:
    """A Vector that wants a password, below `root`, with a secrets file as an inventory has one."""

    def __init__(self, root: Path, clickhouse_port: int, program: str) -> None:
        self.path = root / "secrets.json"
        secrets.init(self.path)
        port, large = free_ports(2)
        self._context = context(
            root,
            vector_port=port,
            vector_large_port=large,
            clickhouse_http_port=clickhouse_port,
            vector_username="cvat",
        )
        (root / "var/lib/vector/journal").mkdir(parents=True)
        self.vector = Substitute(
            root, port, Path(self._context.paths.vector_config) / "vector.toml", program=program
        )
        self._write()
        self.vector.start()

    def _write(self) -> None:
        now = Context("h", self._context.topology, secrets.load(self.path), self._context.paths)
        for file in render.vector_files(now):
            path = Path(file.path)
            if path.parent.name == "vector" and file.secret:  # what systemd hands to the unit
                path = Path(now.paths.vector_credentials) / path.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content)

    def apply(self) -> None:
        """Do as a deploy does: the unit gets other credentials by a restart only."""
        self._write()
        self.vector.stop()
        self.vector.start()

    def access(self) -> Access:
        endpoint = Endpoint("127.0.0.1", self.vector.port, self._context.settings)
        return Access(endpoint, endpoint, endpoint, secrets=secrets.load(self.path))

    def admits(self, password: str) -> bool:
        return rotation.login(self.access(), rotation.INGEST, password) == 200


@contextmanager
def sending(port: int, password: list[str]) -> Iterator[list[str]]:
    """Send with CVAT's own transport and the last `password`, each event until it is taken, as its queue does; yield what was."""
    taken, stop = list[str](), threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set():
            event = {"scope": "load:cvat", "timestamp": 1733480873, "obj_name": f"sent {number}"}
            transport = HttpTransport(
                "127.0.0.1", port, timeout=60, ssl_enable=False, username="cvat", password=password[-1]
            )
            try:
                transport.send([json.dumps(event)])
            except Exception:  # whatever a sender may meet: it keeps the event
                stop.wait(0.05)
                continue
            taken.append(f"sent {number}")
            number += 1
            stop.wait(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join(PATIENCE)


def test_both_are_taken_until_it_is_finished_and_no_event_is_lost(program: str, tmp_path: Path) -> None:
    with fake_clickhouse() as clickhouse:
        stack = Stack(tmp_path, clickhouse.port, program)

        def names() -> list[str]:
            return [row["obj_name"] for row in clickhouse.rows()]

        def more(taken: list[str]) -> Any:
            count = len(taken)
            return until(lambda: len(taken), "more is taken", lambda now: now > count + 3)

        try:
            old = secrets.load(stack.path)["vector_ingest"]
            used = [old]
            change = rotation.Rotation(
                rotation.INGEST,
                stack.path,
                stack.apply,
                lambda: nullcontext(stack.access()),
                lambda text: None,
            )
            with sending(stack.vector.port, used) as taken:
                more(taken)
                assert not change.run(finish=False)
                new = secrets.load(stack.path)["vector_ingest"]
                assert (new != old, stack.admits(old), stack.admits(new)) == (True, True, True)
                more(taken)  # who has not been told yet
                # a large one, which comes back by the password of the configuration
                large = json.dumps(
                    [{"scope": "x", "timestamp": 1733480873, "obj_name": "large", "payload": "x" * 600_000}]
                )
                assert stack.vector.request("POST", body=large, headers=_login(old))[0] == 200
                used.append(new)
                more(taken)
                assert change.run(finish=True)
                more(taken)
            assert (stack.admits(old), stack.admits(new)) == (False, True)
            until(lambda: set(names()), "all that was taken", lambda seen: {*taken, "large"} <= seen)
            assert set(json.loads(stack.path.read_text())) == set(secrets.NAMES)
            assert [each for each in (old, new) if each in stack.vector.log] == []
        finally:
            stack.vector.stop()


def _login(password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'cvat:{password}'.encode()).decode()}"}

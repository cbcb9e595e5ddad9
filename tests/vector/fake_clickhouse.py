"""A ClickHouse that only stores inserted rows, recognises a repeated block, and answers as it is told to."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.serving import served

_STORED = {"incoming_events": "events", "incoming_dead_letters": "events_dead_letter"}
"""Where what is inserted into a table is found."""


@dataclass
class FakeClickHouse:
    """What was inserted, by table; `answers` are given first, one to each request, before all is well."""

    port: int = 0
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    answers: list[tuple[int, str]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    blocks: set[str] = field(default_factory=set)
    server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = fake.take(self.path, self.headers["Authorization"], body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port

    def take(self, url: str, authorization: str, body: bytes) -> tuple[int, str]:
        parameters = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        if " pipeline_metrics " in parameters["query"]:
            # they come all the time: no test that counts requests or scripts answers means them
            self.tables.setdefault("pipeline_metrics", []).extend(map(json.loads, body.splitlines()))
            return 200, ""
        self.requests.append(parameters | {"authorization": authorization})
        if self.answers:
            return self.answers.pop(0)
        block = hashlib.sha256(body).hexdigest()
        if block not in self.blocks:
            self.blocks.add(block)
            rows = [json.loads(line) for line in body.splitlines()]
            self.batches.append(len(rows))
            table = _STORED[parameters["query"].split()[2]]
            self.tables.setdefault(table, []).extend(rows)
        return 200, ""

    def rows(self, table: str = "events") -> list[dict[str, Any]]:
        return self.tables.get(table, [])


@contextmanager
def fake_clickhouse(port: int = 0) -> Iterator[FakeClickHouse]:
    fake = FakeClickHouse(port)
    with served(fake.server):
        yield fake

"""What the service's log has of a request: neither its query nor what it is proved by, however it ends."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.api.harness import FakeVector, running_api
from tests.clickhouse import Store
from tests.waiting import PATIENCE, until

SECRETS = ("querysecret", "refererecret", "cookiesecret", "tokensecret", "password-of-boss", "typosecret")


def test_no_query_and_no_credential_is_logged_however_a_request_ends(
    tmp_path: Path, store: Store, vector: FakeVector
) -> None:
    # nothing listens where its ClickHouse should be: what needs that fails
    with running_api(tmp_path, store, vector.url, clickhouse_port=1) as api:
        headers = {
            "Referer": f"{api.url}/?a=refererecret",
            "Cookie": "sessionid=cookiesecret",
            "X-Request-Id": "as-it-was-sent",
        }
        with api.client("boss", headers=headers) as boss:
            statuses = {
                path: boss.get(f"{path}{'&' if '?' in path else '?'}token=querysecret").status_code
                for path in (
                    "/api/events",
                    "/api/events?format=csv&include=all",
                    "/api/events?job_id=querysecret",
                    "/api/events?query_id=querysecret",
                    "/api/events/docs",
                    "/nothing",
                    "/gateway/authorize",
                )
            }
            assert min(statuses.values()) >= 200, statuses
            query = boss.get("/api/events?filename=querysecret.csv").json()["query_id"]
            until(
                lambda: boss.get("/api/events", params={"query_id": query}).status_code,
                "the export fails",
                lambda status: status != 202,
            )
            boss.post("/api/events?token=querysecret", content=b"{")
        with api.client() as nobody:
            nobody.get("/api/events?token=querysecret", auth=("boss", "typosecret"))
            nobody.get("/api/events", headers={"Authorization": "Token tokensecret"})
        for request in (
            b"GET /api/events?token=querysecret HTTP/9.9\r\n\r\n",
            b"GET /api/events?token=querysecret HTTP/1.1\r\nBad header: querysecret\r\n\r\n",
            b"querysecret\r\n\r\n",
            b"POST /api/events?token=querysecret HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nquerysecret\r\n",
        ):
            with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as visitor:
                visitor.sendall(request)
                visitor.shutdown(socket.SHUT_WR)
                while visitor.recv(65536):
                    pass
        log = until(lambda: api.log, "the last is logged", lambda log: "Invalid HTTP request" in log)
    assert [word for word in SECRETS if word in log] == []
    # and what an operator needs is
    assert 'request_id=as-it-was-sent method=GET path="/api/events" status=' in log

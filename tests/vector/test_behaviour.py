"""What is promised of the pipeline, of the substitute and of Vector itself where one is on PATH: the same tests for both."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pipeline.reloading import answers, marked
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.pipeline import events
from tests.clickhouse import free_ports
from tests.vector.configuration import write_configuration
from tests.vector.fake_clickhouse import FakeClickHouse, fake_clickhouse
from tests.vector.running import Substitute, substitute
from tests.waiting import until


def event(name: str, **fields: Any) -> str:
    return json.dumps({"scope": "load:cvat", "timestamp": "1733480873.184401", "obj_name": name} | fields)


def names(clickhouse: FakeClickHouse) -> list[str]:
    return [row["obj_name"] for row in clickhouse.rows()]


def post(vector: Substitute, *names: str) -> None:
    assert vector.request("POST", body=f"[{','.join(map(event, names))}]")[0] == 200


def listened_on(port: int) -> list[str]:
    """Return the IPv4 addresses at which anybody listens on `port`, as the kernel has them (proc(5), /proc/net/tcp)."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state = line.split()[:4]
        address, _, number = local.partition(":")
        if state == "0A" and int(number, 16) == port:  # 0A: LISTEN
            found.append(socket.inet_ntoa(int(address, 16).to_bytes(4, sys.byteorder)))
    return found


def test_what_is_no_event_becomes_a_dead_letter_and_is_answered_200(
    vector: Substitute, clickhouse: FakeClickHouse
) -> None:
    before = len(clickhouse.rows("events_dead_letter"))
    name = f"neighbour by {vector.program}"
    body = f"[{event(name)}, {event('bad', task_id=-1)}]"
    assert vector.request("POST", body=body)[0] == 200
    assert vector.request("POST", body=b"<html>")[0] == 200
    until(
        lambda: len(clickhouse.rows("events_dead_letter")),
        "two dead letters",
        lambda seen: seen == before + 2,
    )
    reasons = {letter["reason"] for letter in clickhouse.rows("events_dead_letter")[before:]}
    assert reasons == {"bad task_id", "not JSON"}
    until(lambda: names(clickhouse), "the neighbour", lambda seen: name in seen)


def test_the_insert_has_what_the_store_relies_on(vector: Substitute, clickhouse: FakeClickHouse) -> None:
    post(vector, f"insert by {vector.program}")
    until(lambda: names(clickhouse), "the row", lambda seen: f"insert by {vector.program}" in seen)
    insert = clickhouse.requests[-1]
    assert insert["query"] == "INSERT INTO incoming_events FORMAT JSONEachRow"
    assert (insert["async_insert"], insert["input_format_skip_unknown_fields"]) == ("0", "0")
    assert insert["authorization"] == "Basic dmVjdG9yOnBhc3Mgd29yZA=="  # vector:pass word


ANSWERS = {
    "poison": (400, "Code: 27. DB::Exception: Cannot parse input"),
    "wrong password": (403, "Code: 516. DB::Exception: vector: Authentication failed"),
    "no right": (403, "Code: 497. DB::Exception: vector: Not enough privileges"),
    "no table": (404, "Code: 60. DB::Exception: Table cvat.events does not exist"),
    "time-out": (408, "Code: 159. DB::Exception: Timeout exceeded"),
    "too many": (429, ""),
    "an unknown column": (500, "Code: 117. DB::Exception: Unknown field"),
    "read-only": (500, "Code: 164. DB::Exception: Cannot execute query in readonly mode"),
    "not implemented": (501, "Code: 48. DB::Exception: not implemented"),
    "overloaded": (503, ""),
    "elsewhere": (302, ""),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_whatever_clickhouse_answers_the_batch_is_sent_until_it_is_taken(
    answer: tuple[int, str], vector: Substitute, clickhouse: FakeClickHouse
) -> None:
    name = f"kept {answer} by {vector.program}"
    inserts = len(clickhouse.requests)
    clickhouse.answers += [answer]
    post(vector, name)
    until(lambda: names(clickhouse), "the row", lambda seen: name in seen)
    assert not clickhouse.answers
    assert len(clickhouse.requests) == inserts + 2, "refused once, then taken"
    assert names(clickhouse).count(name) == 1


def test_kill_9_loses_nothing_and_doubles_nothing(program: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    accepted: list[str] = []
    with substitute(tmp_path, port, program) as vector:
        for round_ in range(3):  # ClickHouse is away
            for number in range(5):
                sent = [f"{round_} {number} {index}" for index in range(10)]
                post(vector, *sent)
                accepted += sent
            vector.kill()
            vector.start()
        with fake_clickhouse(port) as clickhouse:
            clickhouse.answers += [(503, "busy")]
            until(lambda: set(names(clickhouse)), "all rows", lambda seen: set(accepted) <= seen)
            assert sorted(names(clickhouse)) == sorted(accepted)


def test_a_stop_with_clickhouse_away_keeps_what_waits(program: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with substitute(tmp_path, port, program) as vector:
        post(vector, "waiting")
        vector.stop()
        with fake_clickhouse(port) as clickhouse:
            vector.start()
            until(lambda: names(clickhouse), "the row", lambda seen: seen == ["waiting"])


def test_the_port_moves_without_a_loss(program: str, tmp_path: Path) -> None:
    (new,) = free_ports(1)
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port, program) as vector:
        here = {"clickhouse_http_port": clickhouse.port}
        old = vector.port
        post(vector, "before the move")
        write_configuration(tmp_path, vector_port=new, vector_extra_ports=[old], **here)
        vector.reload()
        post(vector, "to the old port")
        vector.port = new
        post(vector, "to the new port")
        write_configuration(tmp_path, vector_port=new, **here)
        vector.reload()
        until(lambda: not answers(old), "the old port is closed")
        post(vector, "last")
        until(lambda: names(clickhouse), "the last row", lambda seen: "last" in seen)
        assert {"before the move", "to the old port", "to the new port"} <= set(names(clickhouse))


def test_a_port_is_listened_on_everywhere_and_at_one_address_again(program: str, tmp_path: Path) -> None:
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port, program) as vector:
        here = {"clickhouse_http_port": clickhouse.port, "vector_port": vector.port}
        for address in ("0.0.0.0", "127.0.0.1"):
            write_configuration(tmp_path, vector_listen_address=address, **here)
            vector.reload()
            # while both are listened on, who connects may meet the old one, and is reset when it is closed
            until(lambda: listened_on(vector.port), f"listens on {address} only", [address].__eq__)
            post(vector, address)
        until(lambda: names(clickhouse), "the last row", lambda seen: "127.0.0.1" in seen)


DAMAGE = {
    "half a file": lambda text: text[: len(text) // 2],
    "an unknown option": lambda text: text.replace(
        "[sinks.journal]", "[sinks.journal]\nno_such_option = true"
    ),
    "a program that does not compile": lambda text: text.replace('"unknown"\n', "unknown\n"),
    "a global option": lambda text: text.replace("remove_trailing_whitespace = true", ""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_configuration_that_cannot_be_had_leaves_the_old_one_at_work(
    damage: str, program: str, clickhouse: FakeClickHouse, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    with substitute(tmp_path, clickhouse.port, program) as vector:
        text = vector.config.read_text()
        broken = DAMAGE[damage](marked(text, port))
        assert broken != marked(text, port)
        vector.config.write_text(broken)
        assert vector.process
        vector.process.send_signal(signal.SIGHUP)
        for number in range(5):
            post(vector, f"{program}, {damage} {number}")
        until(lambda: names(clickhouse), "the row", lambda seen: f"{program}, {damage} 4" in seen)
        # a good one is taken up after it
        vector.config.write_text(text)
        vector.reload()
        assert not answers(port)


def test_tls_and_a_password(program: str, tmp_path: Path) -> None:
    with fake_clickhouse() as clickhouse:
        _tls_and_a_password(program, clickhouse, tmp_path)


def _tls_and_a_password(program: str, clickhouse: FakeClickHouse, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    pair = authority.issue("vector", ["127.0.0.1"])
    files: dict[str, Any] = {
        "vector_tls_certificate": tmp_path / "certificate.pem",
        "vector_tls_key": tmp_path / "key.pem",
    }
    files["vector_tls_certificate"].write_text(pair.certificate)
    files["vector_tls_key"].write_text(pair.key)
    login = base64.b64encode(b"cvat:in gest").decode()
    (port,) = free_ports(1)
    config = write_configuration(
        tmp_path, vector_port=port, clickhouse_http_port=clickhouse.port, vector_username="cvat", **files
    )
    (tmp_path / "var/lib/vector").mkdir(parents=True, exist_ok=True)
    tls_context = ssl.create_default_context(cafile=authority.certificate_file)
    vector = Substitute(tmp_path, port, config, tls=tls_context, program=program)
    vector.start()
    try:
        for login_header, status in ((None, 401), ("Basic bm9ib2R5Og==", 401), (f"Basic {login}", 200)):
            headers = {"Authorization": login_header} if login_header else {}
            assert vector.request("POST", body=event(f"as {login_header}"), headers=headers)[0] == status
        until(lambda: names(clickhouse), "the row", lambda seen: f"as Basic {login}" in seen)
        assert "as None" not in names(clickhouse)
        events.send(
            [json.loads(event("client"))], "127.0.0.1", port, login=("cvat", "in gest"), tls=tls_context
        )
        with pytest.raises(
            UnreachableError, match=r"https://127.0.0.1:\d+ did not accept events \(it answered HTTP 401\)"
        ):
            events.send([{}], "127.0.0.1", port, login=("cvat", "wrong"), tls=tls_context)
        until(lambda: names(clickhouse), "the row", lambda seen: "client" in seen)
    finally:
        vector.stop()


def test_what_is_counted_is_stored_and_shown_to_prometheus(program: str, tmp_path: Path) -> None:
    page, port = free_ports(2)
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port, program) as vector:
        vector.stop()
        vector.config = write_configuration(
            tmp_path,
            reads_every=1,
            vector_port=port,
            clickhouse_http_port=clickhouse.port,
            vector_metrics_port=page,
        )
        vector.port = port
        vector.start()
        post(vector, "first")
        post(vector, "second")

        def latest() -> dict[tuple[str, str, str], float]:
            return {
                (row["name"], row["component"], row["tags"].get("status", "")): row["value"]
                for row in clickhouse.rows("pipeline_metrics")
            }

        # what `status`, the dashboard and the alerts read
        expected = {
            ("component_received_events_total", f"cvat_{port}", ""): 2,
            ("component_sent_events_total", "events", ""): 2,
            ("buffer_size_events", "events", ""): 0,
            ("buffer_max_size_bytes", "events", ""): 2**30,
        }
        until(lambda: latest().items(), "metrics of the events", lambda seen: expected.items() <= seen)
        assert latest()["http_client_responses_total", "events", "200"] >= 1
        until(
            lambda: {name for name, _, _ in latest()},
            "the disk's",
            lambda names: "filesystem_free_bytes" in names,
        )
        connection = http.client.HTTPConnection("127.0.0.1", page, timeout=60)
        connection.request("GET", "/metrics")
        shown = connection.getresponse().read().decode()
        connection.close()
        assert "vector_component_received_events_total{" in shown


def test_a_port_keeps_its_count_when_it_is_no_longer_the_first(program: str, tmp_path: Path) -> None:
    with (
        fake_clickhouse() as clickhouse,
        substitute(tmp_path, clickhouse.port, program, reads_every=1) as vector,
    ):
        old, (new,) = vector.port, free_ports(1)

        def counted() -> dict[str, float]:
            rows = clickhouse.rows("pipeline_metrics")
            latest = {
                row["component"]: row["value"]
                for row in rows
                if row["name"] == "component_received_events_total"
            }
            return {name: latest[name] for name in latest if name.startswith("cvat")}

        post(vector, "first")
        post(vector, "second")
        until(counted, "the old port's requests", lambda seen: seen == {f"cvat_{old}": 2})
        write_configuration(
            tmp_path,
            reads_every=1,
            vector_port=new,
            vector_extra_ports=[old],
            clickhouse_http_port=clickhouse.port,
        )
        vector.reload()
        post(vector, "third, to the old port")
        vector.port = new
        post(vector, "first, to the new port")
        until(counted, "each port's own", lambda seen: seen == {f"cvat_{old}": 3, f"cvat_{new}": 1})

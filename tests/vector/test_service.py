"""The substitute as a service: several ports, TLS, a password, its own metrics, a reload, a buffer that is full.

These tests say nothing about Vector.
"""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.pipeline.reloading import answers
from tests.clickhouse import free_ports
from tests.vector.configuration import write_configuration
from tests.vector.fake_clickhouse import FakeClickHouse, fake_clickhouse
from tests.vector.running import substitute
from tests.waiting import until


@pytest.fixture(scope="module")
def clickhouse() -> Iterator[FakeClickHouse]:
    with fake_clickhouse() as fake:
        yield fake


def event(name: str) -> str:
    return json.dumps({"scope": "load:cvat", "timestamp": "1733480873.184401", "obj_name": name})


def names(clickhouse: FakeClickHouse) -> list[str]:
    return [row["obj_name"] for row in clickhouse.rows()]


def metrics(port: int) -> dict[str, float]:
    """Return what the substitute shows to Prometheus; of the tags only those that tell series apart here."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    found = {}
    for line in filter(None, connection.getresponse().read().decode().splitlines()):
        series, _, value = line.rpartition(" ")
        name, _, tags = series.partition("{")
        kept = [tag for tag in tags.rstrip("}").split(",") if not tag.startswith("host=")]
        found[name + "{" + ",".join(kept) + "}"] = float(value)
    connection.close()
    return found


def test_the_port_moves_without_a_loss(clickhouse: FakeClickHouse, tmp_path: Path) -> None:
    old, new, page = free_ports(3)
    with substitute(tmp_path, clickhouse.port) as vector:
        here = {"clickhouse_http_port": clickhouse.port, "vector_metrics_port": page}
        assert vector.request("POST", body=event("before the move"))[0] == 200
        old = vector.port
        write_configuration(tmp_path, vector_port=new, vector_extra_ports=[old], **here)
        vector.reload()
        assert vector.request("POST", body=event("to the old port"))[0] == 200
        vector.port = new
        for number in range(3):
            assert vector.request("POST", body=event(f"to the new port {number}"))[0] == 200
        until(lambda: names(clickhouse), "the last row", lambda seen: "to the new port 2" in seen)
        assert {"before the move", "to the old port"} <= set(names(clickhouse))
        write_configuration(
            tmp_path, vector_port=new, vector_extra_ports=[old], **here, vector_buffer_size="300MiB"
        )
        vector.reload()  # a reload takes a sample
        expected = {
            'vector_component_sent_events_total{component_id="journal"}': 5,
            'vector_buffer_max_size_bytes{component_id="events"}': 300 * 2**20,
        }
        until(lambda: metrics(page).items(), "a sample of all that", lambda seen: expected.items() <= seen)
        vector.port = old
        assert vector.request("POST", body=event("once more to the old port"))[0] == 200
        vector.port = new
        both = [
            f'vector_component_received_events_total{{component_id="cvat_{port}"}}' for port in (old, new)
        ]

        def received() -> list[float]:
            found = metrics(page)
            return [found.get(each, 0) for each in both]

        until(received, "each port is counted by itself, whichever is the first", lambda seen: seen == [3, 3])
        write_configuration(tmp_path, vector_port=new, **here)
        vector.reload()
        until(lambda: not answers(old), "the old port is closed")


DAMAGE = {
    "an unknown option": ('method = "post"', 'method = "put"', "sinks.events: option method = 'put'"),
    "an unknown global": ("data_dir", "timezone = 'local'\ndata_dir", "the configuration: option timezone"),
    "a global option": ("remove_trailing_whitespace = true", "", "global options have changed"),
    "a program that does not compile": ('"unknown"\n', "unknown\n", "option source does not compile"),
    "a port that is taken": (
        "[transforms.split]",
        '[sources.more]\ntype = "http_server"\naddress = "127.0.0.1:TAKEN"\nframing.method = "bytes"\n'
        'decoding.codec = "bytes"\n[transforms.split]',
        "cannot listen on 127.0.0.1 port",
    ),
}


@pytest.mark.parametrize(("old", "new", "reason"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_cannot_be_had_leaves_the_old_configuration_at_work(
    old: str, new: str, reason: str, clickhouse: FakeClickHouse, tmp_path: Path
) -> None:
    with substitute(tmp_path, clickhouse.port) as vector:
        text = vector.config.read_text()
        assert old in text
        vector.config.write_text(text.replace(old, new.replace("TAKEN", str(clickhouse.port)), 1))
        assert vector.process
        vector.process.send_signal(signal.SIGHUP)
        until(lambda: vector.log, "it says why not", lambda seen: reason in seen)
        name = f"after {reason}"
        assert vector.request("POST", body=event(name))[0] == 200
        until(lambda: names(clickhouse), "the row", lambda seen: name in seen)


def test_a_full_buffer_is_answered_503_until_there_is_room(tmp_path: Path) -> None:
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port) as vector:
        vector.stop()
        text = vector.config.read_text()
        vector.config.write_text(text.replace("buffer.max_size = 1073741824", "buffer.max_size = 2000"))
        clickhouse.answers += [(404, "Code: 60. DB::Exception: no table")] * 1000
        vector.start()
        answers = [vector.request("POST", body=event(f"number {number}"))[0] for number in range(20)]
        kept = answers.index(503)
        assert 1 < kept < 20
        assert set(answers[kept:]) == {503}
        assert b"is full" in vector.request("POST", body=event("more"))[1]
        clickhouse.answers.clear()
        until(lambda: len(names(clickhouse)), "what was answered 200", lambda seen: seen == kept)
        until(lambda: vector.request("POST", body=event("later"))[0], "room", lambda seen: seen == 200)
        until(lambda: names(clickhouse), "the row", lambda seen: "later" in seen)


def test_its_metrics_are_stored_and_leave_the_events_alone(tmp_path: Path) -> None:
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port) as vector:
        assert vector.request("POST", body=event("first"))[0] == 200
        until(lambda: names(clickhouse), "the row", lambda seen: seen == ["first"])
        write_configuration(tmp_path, vector_port=vector.port, clickhouse_http_port=clickhouse.port)
        vector.reload()

        def latest() -> dict[tuple[str, str, str], float]:
            return {
                (row["name"], row["component"], json.dumps(row["tags"])): row["value"]
                for row in clickhouse.rows("pipeline_metrics")
            }

        expected = {
            ("component_received_events_total", f"cvat_{vector.port}", "{}"): 1,
            ("component_sent_events_total", "events", "{}"): 1,
            ("http_client_responses_total", "events", '{"status": "200"}'): 1,
            ("http_server_responses_sent_total", f"cvat_{vector.port}", '{"status": "200"}'): 1,
            ("buffer_size_events", "events", "{}"): 0,
        }
        # the row is there before the sink has heard that it is: a sample may be of before or after
        until(lambda: latest().items(), "metrics of the event", lambda seen: expected.items() <= seen)
        until(
            lambda: {name for name, _, _ in latest()},
            "the disk's",
            lambda names: "filesystem_free_bytes" in names,
        )
        written = sum(file.stat().st_size for file in (tmp_path / "var/lib/vector/journal").iterdir())
        assert written > 0
        until(
            lambda: latest().get(("journal_size_bytes", "journal", "{}"), 0) >= written, "the journal's size"
        )
        assert {key for row in clickhouse.rows("pipeline_metrics") for key in row} == {
            "time", "host", "name", "component", "tags", "value",
        }  # fmt: skip

"""A running stack on a real host is operated: its port moves while events come, and the journal brings back what is gone."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.pipeline import events
from tests.waiting import PATIENCE, until

from .command import cvat_analytics, deploy
from .host import Host
from .packages import default_versions
from .test_deploy import sql

SLUG = "moving"


@dataclass
class Producer:
    """Sends numbered events with CVAT's own client; each until it is acknowledged, as CVAT's queue does."""

    host: str
    port: int
    acknowledged: list[int] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for number in itertools.count():
            event = {
                "scope": "draw:object", "source": "client", "timestamp": f"{time.time():.6f}", "obj_id": number, "org_slug": SLUG,
                "user_id": 4711, "user_name": "mover",
            }  # fmt: skip
            while not self.stop.is_set():
                try:
                    events.send([event], self.host, self.port, timeout=5)
                    self.acknowledged.append(number)
                    break
                except UnreachableError:
                    self.stop.wait(0.1)
            if self.stop.wait(0.02):
                return


@contextmanager
def producing(host: Host, port: int) -> Iterator[Producer]:
    producer = Producer(host.ip, port)
    thread = threading.Thread(target=producer.run)
    thread.start()
    try:
        yield producer
    finally:
        producer.stop.set()
        thread.join(PATIENCE)


def stored(host: Host, expected: int) -> tuple[int, int]:
    """Return how many events are stored, as rows that a reader sees and as different ones, once there are as many as expected."""
    query = f"SELECT count(), uniqExact(obj_id) FROM cvat.events FINAL WHERE org_slug = '{SLUG}'"
    rows, different = until(
        lambda: [int(number) for number in sql(host, query).split()],
        f"{expected} rows",
        lambda found: found[0] >= expected,
    )
    return rows, different


def passwords(inventory: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((inventory.parent / "secrets.json").read_text())
    return found


def login(host: Host, user: str, password: str) -> str:
    """Return the status of ClickHouse's answer to that login."""
    request = (
        f"GET /?query=SELECT+1 HTTP/1.0\r\nX-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {password}\r\n\r\n"
    )
    host.write("/root/request", request)
    return host.run(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/8123; cat /root/request >&3; head -n 1 <&3'"
    ).output.split()[1]


def test_the_port_moves_under_load_and_the_journal_brings_back_what_is_gone(
    deployed_host: Host, inventory: Callable[..., Path]
) -> None:
    host = deployed_host
    listening = {"vector_listen_address": host.ip}
    first = deploy(inventory(host, **listening))
    assert f"  DJANGO_LOG_SERVER_HOST={host.ip}  (was 127.0.0.1)\n" in first.output

    with producing(host, 8282) as producer:
        path = inventory(host, **listening, vector_port=9282, vector_extra_ports=[8282])
        second = deploy(path)
        told = second.output.partition("Tell CVAT")[2].splitlines()[1:-1]
        assert told == ["  DJANGO_LOG_SERVER_PORT=9282  (was 8282)"]
        before = len(producer.acknowledged)
        producer.port = 9282  # CVAT is told
        found = cvat_analytics("status", "--inventory", path, "--json")
        assert found.exit_code == 0, found.text
        third = deploy(inventory(host, **listening, vector_port=9282))
        assert "Tell CVAT" not in third.output
        old = passwords(path)
        store = host.units("clickhouse-server")
        rotated = cvat_analytics("secrets", "rotate", "vector", "--inventory", path)
        assert rotated.exit_code == 0, rotated.text
        assert host.units("clickhouse-server") == store
    sent = len(producer.acknowledged)
    assert 20 < before < sent
    assert stored(host, sent) == (sent, sent)

    new = passwords(path)
    assert {name for name in new.keys() | old.keys() if new.get(name) != old.get(name)} == {
        "clickhouse_vector"
    }
    assert [login(host, "vector", values["clickhouse_vector"]) for values in (old, new)] == ["403", "200"]

    report = json.loads(found.output)
    assert (report["clickhouse"], report["vector"], report["grafana"]) == ("running",) * 3
    assert [port["port"] for port in report["pipeline"]["ports"]] == [9282, 8282]
    assert {part["name"]: part["version"] for part in report["parts"]}["clickhouse"] == default_versions()[
        "clickhouse-server"
    ]
    noted = f"SELECT count(), min(changes) > 0 FROM cvat.deployments WHERE host = '{host.name}'"
    assert sql(host, noted).split() == ["3", "1"]

    sql(host, f"DELETE FROM cvat.events WHERE org_slug = '{SLUG}' AND obj_id % 2 = 0")
    lost = sent - stored(host, 0)[0]
    assert lost > 10
    since = (datetime.now(UTC) - timedelta(hours=1)).date()  # midnight may have passed meanwhile
    replay = cvat_analytics("replay", "--inventory", path, "--since", since)
    assert replay.exit_code == 0, replay.text
    assert f"{lost:,} inserted" in replay.output
    assert stored(host, sent) == (sent, sent)

    shown = cvat_analytics("person", "show", "mover", "--inventory", path, "--json")
    assert shown.exit_code == 0, shown.text
    rows = {each["place"]: each["rows"] for each in json.loads(shown.output)["found"]}
    assert (rows["events"], rows["journal"] >= sent) == (sent, True)
    answer = path.parent / "answer.zip"
    given = cvat_analytics("person", "export", "4711", "--inventory", path, "--output", answer)
    assert given.exit_code == 0, given.text
    assert answer.stat().st_mode & 0o777 == 0o600
    requests = [json.loads(line) for line in (path.parent / "person-requests.jsonl").read_text().splitlines()]
    assert [each["command"] for each in requests] == ["show", "export"]

    them, stranger = 4711, 4712
    journal, packed = (
        "/var/lib/vector/journal",
        f"events-{datetime.now(UTC) - timedelta(days=2):%Y-%m-%dT%H}.jsonl",
    )
    lines = [
        json.dumps({"scope": "draw:object", "timestamp": "2026-01-02 03:00:00.000", "user_id": user}, separators=(",", ":"))
        for user in (them, stranger, them)
    ]  # fmt: skip
    host.write(f"{journal}/{packed}", "\n".join([*lines, ""]))
    host.run(f"zstd -q --rm {journal}/{packed}")
    erased = cvat_analytics("person", "erase", "mover", "--inventory", path, "--yes")
    assert erased.exit_code == 0, erased.text
    taken = {line[14:]: line[:12] for line in erased.output.splitlines() if line.startswith("   ")}
    assert int(taken["lines of the journal"].replace(",", "")) >= sent + 2
    assert "events of their own" in taken
    left = f"SELECT count() FROM cvat.events WHERE user_id = {them}"
    assert sql(host, left) == "0"
    assert host.run(f"zstd -dcq {journal}/{packed}.zst").output.splitlines() == [lines[1]]
    assert host.run(f"grep -c '\"user_id\":{them}' {journal}/*.jsonl", check=False).exit_code == 1
    again = cvat_analytics("person", "erase", them, "--inventory", path, "--yes")
    assert (again.exit_code, again.output) == (
        0,
        f"id {them}: nothing of them is stored. Nothing was changed.\n",
    )

    # a colleague has no list, somebody has put an event past it, and taken away the view behind what Vector inserts into
    listed = path.with_name("erasures.json")
    before_deploy = listed.read_text()
    listed.unlink()
    sql(
        host,
        f"INSERT INTO cvat.events (scope, source, timestamp, user_id) VALUES ('a', 'b', '2026-01-02', {them})",
    )
    sql(host, "DROP TABLE cvat.judged_events_let_in SYNC")
    events.send(
        [
            {
                "scope": "draw:object",
                "source": "client",
                "timestamp": f"{time.time():.6f}",
                "user_id": stranger,
            }
        ],
        host.ip,
        9282,
    )
    failing = cvat_analytics("status", "--inventory", path)
    assert failing.exit_code == 1, failing.text
    assert (
        "nothing comes into cvat.events: the view cvat.judged_events_let_in, which hands on what is inserted, is missing"
        in failing.text
    )
    mended = deploy(path)
    assert f"{listed} has 1 erasures now" in mended.output
    assert "People who were erased before were taken out again: 1" in mended.output
    assert (listed.read_text(), sql(host, left)) == (before_deploy, "0")
    until(
        lambda: sql(host, f"SELECT count() FROM cvat.events FINAL WHERE user_id = {stranger}"),
        "the event that was refused",
        lambda count: count == "1",
    )
    host.run(f"grep -q '\"user_id\":{stranger}' {journal}/*.jsonl")

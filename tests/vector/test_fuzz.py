"""Whatever bytes are sent: 2xx or 4xx with a short reason, at once, and each event in them is stored or a dead letter.

Bodies are made by hypothesis, sent to the running substitute over connections that stay open, and counted in a real
ClickHouse at the end: each event carries a tag, which must be found once, and the rows of all bodies must add up.

    pytest tests/vector/test_fuzz.py --fuzz-bodies 1000000     as many, with a new seed (0: until interrupted)
"""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import math
import random
import re
import socket
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvat_analytics.config import limits
from cvat_analytics.embedded import stack, starting
from tests.waiting import until

# the stack's processes outlive whoever starts them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TOGETHER = 16
"""Bodies that are sent at once: the substitute commits together what arrives together."""
IN_CI = 2_048
PATIENCE = 60.0
TAG = re.compile(rb"fz\d+z")
_NUMBER = re.compile(r"-?\d[\d.e]*")
_WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""What Unicode calls so."""
_numbers = itertools.count(1)


@dataclass
class Sent:
    """What was sent and accepted."""

    tags: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    bodies: int = 0
    answers: Counter[int] = field(default_factory=Counter)


@dataclass
class Target:
    """The running stack, connections to its Vector, and what was sent there."""

    port: int
    client: Client
    log: Path
    sent: Sent = field(default_factory=Sent)
    local: threading.local = field(default_factory=threading.local)
    opened: list[http.client.HTTPConnection] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, body: bytes, headers: dict[str, str], rows: int | None) -> int:
        """Send one body and check the answer; `rows` is how many events are in it if it is accepted (None: one)."""
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                self.local.connection = connection
                self.opened.append(connection)
            try:
                connection.request("POST", "/", body, headers)
                response = connection.getresponse()
                answer = response.read()
                break
            except (ConnectionError, http.client.BadStatusLine):
                # the server may close a connection that it has used
                self.local.connection = None
                assert attempt == 1, f"no answer to {body[:200]!r}"
        if response.will_close:
            self.local.connection = None
        assert 200 <= response.status < 300 or 400 <= response.status < 500, (
            response.status,
            answer[:300],
            body[:500],
        )
        assert len(answer) < 300, answer[:400]
        assert response.status < 300 or answer, f"{response.status} without a reason"
        with self.lock:
            self.sent.bodies += 1
            self.sent.answers[response.status] += 1
            if response.status < 300:
                self.sent.rows += 1 if rows is None else rows
                self.sent.tags.update(tag.decode() for tag in TAG.findall(plain(body, headers)))
        return int(response.status)

    def check(self) -> None:
        """Wait until everything that was sent is readable, and compare it with what was sent."""
        want = []
        # what is large takes another way
        for padding in ("", " " * limits.DIRECT_BODY):
            sentinels = [tagged({"scope": "x", "timestamp": 1733480873}), tagged({"scope": "x"})]
            self.post(f"[{','.join(sentinels)}{padding}]".encode(), {}, 2)
            want += [match.group().decode() for each in sentinels for match in TAG.finditer(each.encode())]
        query = "SELECT count() FROM seen ARRAY JOIN tags AS tag WHERE tag IN {tags:Array(String)}"
        until(
            lambda: self.client.query(query, parameters={"tags": want}).result_rows[0][0],
            "all four are delivered",
            lambda count: count == 4,
            told=lambda: self.log.read_text()[-3000:],
        )
        rows = self.client.query(
            "SELECT tag, count() FROM seen ARRAY JOIN tags AS tag GROUP BY tag"
        ).result_rows
        found = Counter({tag: int(count) for tag, count in rows})
        lost, extra = self.sent.tags - found, found - self.sent.tags
        assert (list(lost.items())[:10], list(extra.items())[:10]) == ([], []), f"of {self.sent.tags.total()}"
        assert self.client.query("SELECT count() FROM seen").result_rows[0][0] == self.sent.rows
        for table, name in [
            ("events_dead_letter", "original"),
            ("events_dead_letter", "message"),
            ("events", "scope"),
            ("events", "payload"),
        ]:
            bad = f"SELECT count() FROM {table} WHERE NOT isValidUTF8(ifNull({name}, ''))"
            assert self.client.query(bad).result_rows == [(0,)], (table, name)
        reasons = self.client.query("SELECT DISTINCT reason FROM cvat.events_dead_letter").result_rows
        assert ("internal error",) not in reasons


def plain(body: bytes, headers: dict[str, str]) -> bytes:
    """Return the body as Vector sees it."""
    encoding = headers.get("Content-Encoding", "identity")
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("fuzz") / "stack"
    running = starting.up(directory)
    for part in set(stack.PARTS) - {"clickhouse", "vector"}:
        running.processes.stop(part)
    client = running.access().client()
    client.database = "cvat"
    # what arrives, before anything is merged or read once only
    client.command("CREATE TABLE seen (tags Array(String)) ENGINE = MergeTree ORDER BY tuple()")
    for table, text in (("events", "ifNull(obj_name, '')"), ("events_dead_letter", "original")):
        client.command(
            f"CREATE MATERIALIZED VIEW seen_{table} TO seen DEFINER = admin SQL SECURITY DEFINER AS SELECT extractAll({text}, 'fz[0-9]+z') AS tags FROM {table}"
        )
    target = Target(running.access().vector.port, client, running.processes.log("vector"))
    yield target
    for connection in target.opened:
        connection.close()
    stack.down(directory)


def tagged(event: dict[str, Any] | str) -> str:
    """Return the text of an event with a tag of its own, which no field before it can take away."""
    text = event if isinstance(event, str) else json.dumps(event)
    return f'{text[:-1]}{", " if len(text) > 2 else ""}"obj_name": "fz{next(_numbers)}z"}}'


# The texts of values, as JSON allows them and some that it does not quite
numbers = st.sampled_from(
    [
        "0",
        "-0",
        "-1",
        "1.5",
        "1e2",
        "1e400",
        "-1e400",
        "65536",
        "4294967295",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1" * 400,
        "0.1" + "0" * 300 + "1",
    ]
) | st.integers(-(2**70), 2**70).map(str)
strings = st.sampled_from(
    [
        '""',
        '"12"',
        '"-1"',
        '"1733480873.184401"',
        '"2024-12-06T10:27:53Z"',
        '"\\u0000"',
        '"a\\u0000b"',
        '"\\ud83d\\ude00"',
        '"' + "x" * 5000 + '"',
        '"' + "é" * 700 + '"',
        '"\\"}]"',
        '"\\\\"',
        '"NaN"',
        '"{\\"a\\": 1}"',
        '"[1, {}]"',
        '"{"',
    ]
) | st.text(max_size=12).map(lambda text: json.dumps(text.encode(errors="replace").decode()))
deep = st.tuples(st.integers(1, 1000), st.sampled_from([("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")])).map(
    lambda choice: choice[1][0] * choice[0] + "1" + choice[1][1] * choice[0]
)
scalars = st.sampled_from(["null", "true", "false"]) | numbers | strings
nested = (
    st.sampled_from(["[]", "{}", "[[]]", "[1, [2, [3]]]", '{"a": {"b": [null]}}', '{"a": 1, "a": 2}']) | deep
)
values = scalars | nested
NAMES = [
    "scope",
    "timestamp",
    "source",
    "payload",
    "count",
    "duration",
    "job_id",
    "task_id",
    "user_id",
    "org_id",
]
NAMES += [
    "obj_id",
    "obj_val",
    "user_name",
    "org_slug",
    "access_token_id",
    "api_token",
    "path",
    "message",
    "",
    "\\u0000",
    "a.b",
]
fields = st.tuples(st.sampled_from(NAMES), values).map(lambda field: f'"{field[0]}": {field[1]}')
GOOD = '"scope": "save:job", "timestamp": "1733480873.184401"'
objects = st.tuples(st.booleans(), st.lists(fields, max_size=3)).map(
    # the good beginning may be repeated by the fields: duplicate keys
    lambda parts: tagged("{" + ", ".join([*([GOOD] if parts[0] else []), *parts[1]]) + "}")
)
elements = objects | objects | scalars | nested


@dataclass(frozen=True)
class Body:
    data: bytes
    headers: dict[str, str]
    rows: int | None


def array(texts: Sequence[str]) -> Body:
    """Return the array of `texts`, whose events are as many as it has elements.

    A bare number that no float can hold is no JSON for Vector: the array is one dead letter, as a whole.
    """
    readable = all(math.isfinite(float(text)) for text in texts if _NUMBER.fullmatch(text))
    return Body(f"[{', '.join(texts)}]".encode(), {}, len(texts) if readable else None)


def lines(texts: Sequence[str]) -> Body:
    """Return `texts` line by line, the first of which is a good event."""
    return Body(
        "\n".join([tagged({"scope": "x", "timestamp": 1733480873}), *texts, ""]).encode(), {}, 1 + len(texts)
    )


def garbage(data: bytes) -> Body:
    """Return what is no JSON: one dead letter, or nothing when it is blank."""
    return Body(data, {}, None if data.decode(errors="replace").strip(_WHITE_SPACE) else 0)


def truncated(choice: tuple[Body, float]) -> Body:
    body, share = choice
    return garbage(body.data[: int((len(body.data) - 1) * share)])


def compressed(choice: tuple[Body, str]) -> Body:
    body, encoding = choice
    data = gzip.compress(body.data, 1) if encoding == "gzip" else zlib.compress(body.data, 1)
    return Body(data, {"Content-Encoding": encoding}, body.rows)


def with_other_bytes(choice: tuple[Sequence[str], bytes, bool]) -> Body:
    """Return a request of events of which every other one has bytes that are no UTF-8."""
    texts, other, as_lines = choice
    each = [
        text[:-1].encode() + b', "x": "%s"}' % (other if number % 2 else b"")
        for number, text in enumerate(texts)
    ]
    return Body(b"\n".join(each) if as_lines else b"[%s]" % b",".join(each), {}, len(each))


plain_objects = st.builds(lambda: tagged("{" + GOOD + "}"))
arrays = st.lists(elements, max_size=5).map(array)
broken = st.sampled_from(
    [
        "NaN",
        "Infinity",
        "01",
        "1.",
        "'x'",
        "{",
        "[",
        '"',
        '"\\x"',
        "undefined",
        "{1: 2}",
        '"\t"',
        "tru",
        '{"a": NaN}',
        "\\",
    ]
)
bodies = st.one_of(
    arrays,
    arrays,
    st.lists(elements.filter(lambda text: "\n" not in text), max_size=4).map(lines),
    objects.map(lambda text: Body(text.encode(), {}, 1)),
    st.tuples(arrays, st.floats(0, 1)).map(truncated),
    st.tuples(
        st.lists(plain_objects, min_size=1, max_size=4),
        st.sampled_from([b"\xe9", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f"]),
        st.booleans(),
    ).map(with_other_bytes),
    st.tuples(arrays, st.sampled_from(["gzip", "deflate"])).map(compressed),
    # one element that is no JSON makes the whole body one dead letter, its neighbours in it
    st.tuples(st.lists(objects, max_size=3), broken).map(
        lambda parts: Body(f"[{', '.join([*parts[0], parts[1]])}]".encode(), {}, None)
    ),
    st.binary(max_size=60).filter(lambda data: b"\n" not in data and not data.strip().isalnum()).map(garbage),
    objects.map(lambda text: Body(text.encode("utf-16"), {}, None)),
    objects.map(lambda text: garbage(b"\xff\xfe" + text.encode("latin-1", "replace") + b"\xe9")),
    st.sampled_from(["{", "}", "[", "[[", "[1,", ",", "{]", '[{"a":', "<html></html>", "[1] [2]"]).map(
        lambda text: garbage(text.encode())
    ),
    st.tuples(st.binary(max_size=40), st.sampled_from(["gzip", "deflate", "br", "snappy", "no such", ""])).map(
        lambda choice: Body(b"\0" + choice[0], {"Content-Encoding": choice[1]}, None)
    ),
)  # fmt: skip


def test_every_event_of_every_body_is_stored_or_a_dead_letter(
    target: Target, request: pytest.FixtureRequest
) -> None:
    wanted = request.config.getoption("--fuzz-bodies")
    examples = IN_CI if wanted is None else wanted or 10**9

    @settings(
        max_examples=-(-examples // TOGETHER),
        derandomize=wanted is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(bodies, min_size=TOGETHER, max_size=TOGETHER))
    def send(several: list[Body]) -> None:
        for _ in pool.map(lambda body: target.post(body.data, body.headers, body.rows), several):
            pass

    with ThreadPoolExecutor(TOGETHER) as pool:
        send()
    assert target.sent.bodies >= min(examples, IN_CI)
    assert target.sent.answers[200] > 0.7 * target.sent.bodies, target.sent.answers
    target.check()


MEGABYTE = 2**20


def event(**more: str) -> str:
    return tagged("{" + ", ".join([GOOD, *(f'"{name}": {text}' for name, text in more.items())]) + "}")


HUGE: dict[str, tuple[Callable[[], Body], set[int]]] = {
    "120 MB": (lambda: Body(b"[" + b" " * 120 * MEGABYTE + b"]", {}, 0), {413}),
    "20 MB of nothing": (lambda: Body(b"[" + b" " * 20 * MEGABYTE + b"]", {}, None), {200}),
    "20 MB of ones": (lambda: Body(b"[" + b"1," * 10 * MEGABYTE + b"1]", {}, None), {200}),
    "a string of 20 MB, a neighbour": (lambda: array([event(), event(payload='"' + "x" * 20 * MEGABYTE + '"')]), {200}),
    "nested 100 000 deep, a neighbour": (lambda: array([event(payload="[" * 10**5 + "]" * 10**5), event()]), {200}),
    "an array nested 100 000 deep": (lambda: garbage(b"[" * 10**5), {200}),
    "20 000 events": (lambda: array([event() for _ in range(20_000)]), {200}),
    "a gzip bomb": (lambda: Body(gzip.compress(b"[" + b"0," * 150 * MEGABYTE), {"Content-Encoding": "gzip"}, None), {413}),
    "a gzip bomb in a gzip bomb": (
        lambda: Body(gzip.compress(gzip.compress(b" " * 100 * MEGABYTE)), {"Content-Encoding": "gzip"}, None), {200, 422}
    ),
    "a deflate bomb": (lambda: Body(zlib.compress(b" " * 300 * MEGABYTE), {"Content-Encoding": "deflate"}, None), {413}),
    "half of a gzip": (lambda: Body(gzip.compress(random.Random(1).randbytes(999))[:500], {"Content-Encoding": "gzip"}, None), {400, 422}),
    "a gzip with something behind": (lambda: Body(gzip.compress(b"[]") + b"x", {"Content-Encoding": "gzip"}, None), {400, 422}),
    "zstd that is none": (lambda: Body(b"[]", {"Content-Encoding": "zstd"}, None), {400, 415, 422}),
    "a column name of 1 MB": (lambda: array([event(**{"n" * MEGABYTE: "1"}), event()]), {200}),
    "900 unknown columns": (lambda: array([event(**{f"n{i}": "1" for i in range(900)}), event()]), {200}),
    "2 000 unknown columns": (lambda: array([event(**{f"n{i}": "1" for i in range(2_000)}), event()]), {200}),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_what_is_huge_is_taken_or_refused_at_once(target: Target, name: str) -> None:
    make, expected = HUGE[name]
    body = make()
    assert target.post(body.data, body.headers, body.rows) in expected
    assert target.post(array([event()]).data, {}, 1) == 200
    target.check()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[{",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{\"a\"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n[]",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n[]",
        b"POST / HTTP/9\r\n\r\n",
        b"\0\1\2\3\r\n\r\n",
        b"GET " + b"/a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    ],
)  # fmt: skip
def test_a_request_that_is_none_or_breaks_off_stores_nothing_and_hinders_nobody(
    target: Target, request_bytes: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(request_bytes)
            with suppress(OSError):  # not connected any more: refused, and closed, before we were through
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b""
    assert not answer or re.match(rb"HTTP/1\.[01] 4\d\d ", answer), answer
    assert target.post(array([event()]).data, {}, 1) == 200
    target.check()

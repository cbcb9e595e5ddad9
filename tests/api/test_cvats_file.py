"""The file is the one that CVAT 2.42 gives out of the same table, byte for byte; what it leaves out can be had by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.export import cvats_way
from cvat_analytics.store.event_columns import COLUMNS
from tests.api.test_exports import download
from tests.clickhouse import Store

Event = dict[str, Any]
FAR = 10**6
"""Ids that no other test looks for begin here."""
_windows = itertools.count()

texts = st.none() | st.text(st.sampled_from("\",\r\n\t;' a山\\\x00")) | st.text()
numbers = st.none() | st.integers(FAR, 2**64 - 1)


@pytest.fixture(scope="module")
def cvat_server(store: Store) -> Iterator[Client]:
    """Return the connection that a CVAT server has: its own user's."""
    client = clickhouse_connect.get_client(
        host="127.0.0.1",
        port=store.http_port,
        database=store.context.settings.database,
        username="cvat",
        password=store.context.secrets["clickhouse_cvat"],
        tz_mode="aware",  # as it was in 0.6.8, which CVAT 2.42 has
    )
    yield client
    client.close()


rows = st.fixed_dictionaries(
    {
        "scope": st.sampled_from(["save:job", "update:job", "send:exception", 'odd, "scope"']),
        "source": st.sampled_from(["client", "server", "client", "unknown", ""]),
        "count": st.none() | st.integers(0, 65535),
        "duration": st.integers(0, 2**32 - 1),
        **dict.fromkeys(("obj_name", "obj_val", "user_name", "user_email", "org_slug", "payload"), texts),
        **dict.fromkeys(
            ("obj_id", "project_id", "task_id", "job_id", "user_id", "org_id", "access_token_id"), numbers
        ),
    }
)


def placed(events: list[Event], steps: list[int]) -> tuple[list[Event], str, str]:
    """Return the events in a minute of their own, at different times, and its first and last moment."""
    begin = datetime(2015, 1, 1, tzinfo=UTC) + timedelta(minutes=next(_windows))
    moments = itertools.accumulate(steps[: len(events)], initial=0)
    stamped = [
        event | {"timestamp": f"{begin + timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S.%f}"[:-3]}
        for event, ms in zip(events, moments, strict=False)
    ]
    return stamped, f"{begin:%Y-%m-%d %H:%M:%S}.000", f"{begin:%Y-%m-%d %H:%M}:59.999"


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(rows, max_size=12),
    # whole seconds among them: Python writes these without a fraction
    steps=st.lists(st.sampled_from([1, 10, 999, 1000, 123]), min_size=12, max_size=12),
)
def test_the_file_is_cvats_own_byte_for_byte(
    store: Store,
    as_: Callable[..., httpx.Client],
    cvat_server: Client,
    tmp_path: Path,
    events: list[Event],
    steps: list[int],
) -> None:
    stamped, first, last = placed(events, steps)
    if stamped:
        store.insert(stamped)
    cvats_way.export(cvat_server, "events", first, last, tmp_path / "cvat.csv")
    answer = as_("root").get("/api/events", params={"from": first, "to": last, "format": "csv"})
    expected = (tmp_path / "cvat.csv").read_bytes()
    if (
        expected == b"\r\n"
    ):  # of no events CVAT's library does not learn the columns; ours has its header all the same
        expected = ",".join(COLUMNS).encode() + expected
    assert answer.content == expected


def test_in_steps_and_by_name_it_is_the_same_file(
    store: Store, as_: Callable[..., httpx.Client], cvat_server: Client, tmp_path: Path
) -> None:
    common = {"user_id": FAR, "job_id": FAR, "duration": 0}
    stamped, first, last = placed(
        [
            common | {"scope": "save:job", "source": "client", "payload": '{"a": 1}'},
            common
            | {"scope": "send:exception", "source": "client", "payload": '{"request": {"id": "rq-x"}}'},
            common | {"scope": "send:exception", "source": "server", "payload": None},
            common | {"scope": "debug:info", "source": "unknown", "access_token_id": 5},
            common | {"scope": "update:job", "source": "server", "access_token_id": 5},
        ],
        [500] * 4,
    )
    store.insert(stamped)
    cvats_way.export(cvat_server, "events", first, last, tmp_path / "cvat.csv")
    expected = (tmp_path / "cvat.csv").read_bytes().decode()
    assert [line.split(",")[0] for line in expected.split("\r\n")] == ["scope", "save:job", "update:job", ""]
    assert expected.split("\r\n")[0].split(",")[-2:] == ["payload", "access_token_id"]
    client = as_("root")
    period = {"from": first, "to": last}
    assert download(client, **period) == expected

    def scopes(**more: Any) -> list[str]:
        page = client.get("/api/events", params=period | {"format": "json"} | more)
        assert page.status_code == 200, page.text
        return [each["scope"] for each in page.json()["events"]]

    assert scopes() == ["save:job", "update:job"]
    everything = [each["scope"] for each in stamped]
    assert scopes(include="all") == everything
    assert download(client, **period, include="all").count("\r\n") == 1 + len(everything)
    assert scopes(scope="send:exception") == ["send:exception"] * 2
    assert scopes(scope=["debug:info", "update:job"]) == ["debug:info", "update:job"]
    assert scopes(request_id="rq-x") == ["send:exception"]
    refused = client.get("/api/events", params={"include": "some"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "include")

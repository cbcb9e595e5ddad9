"""`adopt apply`, killed (SIGKILL) in the middle of each of its steps and run again, while CVAT sends to both sides: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adopting.killed import Runs
from tests.adopting.stock_compose import STOCK, Cvat, StockCompose
from tests.clickhouse import Store, free_ports
from tests.dashboards.grafana_stand_in import StandIn
from tests.importing.samples import content
from tests.waiting import until


@pytest.fixture
def runs(
    store: Store, own_grafana: tuple[StandIn, tuple[str, int]], compose: StockCompose, tmp_path: Path
) -> Iterator[Runs]:
    started = Runs.start(store, own_grafana[1], tmp_path, compose.path)
    yield started
    started.close()


def test_killed_in_each_step_and_run_again_nothing_is_lost_and_nothing_doubled(
    runs: Runs,
    side: list[object],
    compose: StockCompose,
    stock: Store,
    store: Store,
    own_grafana: tuple[StandIn, Any],
    tmp_path: Path,
) -> None:
    output = tmp_path / "output"
    files = tmp_path / "files"
    arguments = ["adopt", "apply", *side, "--yes", "--quiet", 0.5, "--files", files]

    def begin(point: str, given: list[object] = arguments) -> None:
        output.unlink(missing_ok=True)
        runs.begin(point, given, output)

    def dies_at(point: str, given: list[object] = arguments) -> None:
        begin(point, given)
        assert runs.end() == -signal.SIGKILL, f"{point}: {output.read_text()}"

    with Cvat(compose, stock, store) as cvat:
        for point in ("copy", "a file", "a dashboard", "the wait"):
            dies_at(point)
        assert (files / "docker-compose.analytics.yml").exists()
        compose.switch("cvat_server")
        # events come to both sides now: the worker was not started with the override yet
        begin("rest")
        until(
            lambda: output.exists() and output.read_text(),
            "it says who still sends there",
            lambda text: "  cvat_worker_import still send" in str(text),
        )
        before = dict(cvat.sent)
        until(
            lambda: dict(cvat.sent),
            "both sides get events",
            lambda sent: all(sent[way] > before[way] for way in sent),
        )
        assert compose.running() == list(STOCK)
        compose.switch("cvat_worker_import")
        assert runs.end() == -signal.SIGKILL, output.read_text()
        assert compose.running() == ["cvat_clickhouse", "cvat_grafana"]
        # somebody starts it again
        compose.put("cvat_vector", runs=True)
        for point in ("cvat_vector", "compared", "noted", "cvat_grafana"):
            dies_at(point)
        dies_at("cvat_clickhouse")
        assert compose.running() == []
        # the stock ClickHouse answers no more
        begin(
            "", ["adopt", "apply", "--from", f"http://127.0.0.1:{free_ports(1)[0]}", *arguments[4:], "--json"]
        )
        assert runs.end() == 0, output.read_text()
        assert json.loads(output.read_text().splitlines()[-1])["ended_before"]

    assert (cvat.refused, cvat.waiting) == ([], 0)
    assert sum(cvat.sent.values()) == cvat.recorded > 0
    there, here = (
        {json.dumps(each) for each in content(one, table)}
        for one, table in ((stock, "cvat.events"), (store, f"{store.database}.events"))
    )
    assert there - here == set()
    sent_here = cvat.sent["here"]
    assert len(here) == len(there) + sent_here
    assert int(store.rows("SELECT count() AS n FROM events")[0]["n"]) == len(here)
    assert [words[-1] for words in compose.changes()] == [
        "cvat_vector",
        "cvat_vector",
        "cvat_grafana",
        "cvat_clickhouse",
    ]
    assert own_grafana[0].messages == ["cvat-analytics adopt apply"] * 2

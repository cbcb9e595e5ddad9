"""Many people at once: the viewer keeps below what ClickHouse lets its user run, and whoever comes beyond that waits."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cvat_analytics.dashboards import load
from cvat_analytics.embedded.viewer import config
from cvat_analytics.embedded.viewer.app import Viewer as Application
from cvat_analytics.embedded.viewer.clickhouse import BusyError, ClickHouse
from tests.clickhouse import ENDLESS, Store
from tests.waiting import PATIENCE, until


@pytest.fixture(scope="module")
def empty(shared_engine: Store) -> Iterator[Store]:
    """Return an engine with nothing in it: what many ask costs little."""
    with shared_engine.another() as engine:
        yield engine


Asking = Callable[..., ClickHouse]


@pytest.fixture
def asking(empty: Store, ini: Path) -> Asking:
    """Return a function that makes the viewer's way to ClickHouse."""

    def made(wait: float, connections: int | None = None) -> ClickHouse:
        source = replace(config.read(ini).datasource, database=empty.database)
        assert source.connections < empty.context.settings.grafana_max_queries
        return ClickHouse(
            replace(source, connections=connections or source.connections), empty.http_port, wait=wait
        )

    return made


def asked(ini: Path, clickhouse: ClickHouse, paths: list[str]) -> list[httpx.Response]:
    """Return the answers to all `paths`, asked for at the same moment."""
    settings = config.read(ini)
    application = Application(settings, clickhouse, open_pages=True).application()

    async def answers() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(
            transport=transport, base_url=f"http://127.0.0.1:{settings.port}"
        ) as people:
            return await asyncio.gather(*(people.get(path) for path in paths))

    return asyncio.run(answers())


def test_twenty_people_who_open_pipeline_at_once_see_no_error(ini: Path, asking: Asking) -> None:
    (pipeline,) = (each for each in load() if each.title == "Pipeline")
    paths = [
        f"/data/{pipeline.uid}/{what}?from=now-6h&to=now"
        for what in (
            *(f"panels/{panel.id}" for panel in pipeline.panels),
            *(f"variables/{name}" for name in pipeline.variables),
            "annotations",
        )
    ]
    answers = asked(ini, asking(PATIENCE), paths * 20)
    assert Counter((each.status_code, each.text[:100] * (each.status_code != 200)) for each in answers) == {
        (200, ""): 20 * len(paths)
    }


def test_a_query_waits_while_others_of_its_user_have_all_the_places(empty: Store, asking: Asking) -> None:
    """As when Grafana reads with the same user: a limit of ClickHouse's refuses, and the viewer asks again."""

    most = empty.context.settings.grafana_max_queries
    others = [threading.Thread(target=empty.ask_without_end, args=["grafana"]) for _ in range(most)]
    for each in others:
        each.start()

    def running() -> str:
        return empty.post(
            f"SELECT count() FROM system.processes WHERE user = 'grafana' AND query = '{ENDLESS}' FORMAT TSV"
        ).strip()

    try:
        until(running, "they run", lambda number: number == str(most))
        with pytest.raises(BusyError, match=r"no room for this query within 0\.3 s"):
            asking(0.3).query("SELECT 1")
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.append(asking(PATIENCE).query("SELECT 1").rows))
        waiting.start()
    finally:
        empty.post("KILL QUERY WHERE user = 'grafana' SYNC")
        for each in others:
            each.join()
    waiting.join()
    assert found == [[[1]]]


def test_who_has_waited_in_vain_is_told_so(ini: Path, asking: Asking) -> None:
    (board, *_) = load()
    clickhouse = asking(0.1, connections=1)
    with clickhouse._turn():
        (answer,) = asked(ini, clickhouse, [f"/data/{board.uid}/panels/{board.panels[0].id}"])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert answer.json()["message"] == (
        "ClickHouse had no room for this query within 0.1 s (1 run at the same time). Try again, or see "
        "docs/how-to/too-many-queries.md"
    )

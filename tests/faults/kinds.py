"""Every kind of fault, by name. A fault returns when it is over; what it has killed, the harness starts again."""

from __future__ import annotations

from collections.abc import Callable

from tests.faults import proxy
from tests.faults.harness import Fault, Scene

MEET = 60.0
"""Seconds within which a request of Vector's must have met a fault of the proxy: its longest pause between tries is 30."""

FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    """Register a kind of fault."""

    def register(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return register


@fault("kill -9 Vector")
def _kill_vector(scene: Scene) -> None:
    scene.stage.kill("vector")
    scene.pause()


@fault("kill -9 ClickHouse")
def _kill_clickhouse(scene: Scene) -> None:
    scene.stage.kill("clickhouse")
    scene.pause()


@fault("kill -9 both, Vector comes back first")
def _kill_both(scene: Scene) -> None:
    for part in scene.random.sample(("vector", "clickhouse"), 2):
        scene.stage.kill(part)
    scene.pause(0.5)
    scene.stage.start("vector")
    scene.pause(0.5)


@fault("kill -9 the client")
def _kill_client(scene: Scene) -> None:
    scene.client.kill()
    scene.pause(0.5)
    scene.client.start()
    scene.pause(0.5)


@fault("stop ClickHouse")
def _stop_clickhouse(scene: Scene) -> None:
    scene.stage.stop("clickhouse")
    scene.pause(2)


@fault("stop Vector")
def _stop_vector(scene: Scene) -> None:
    scene.stage.stop("vector")
    scene.pause()


@fault("kill -9 Vector while ClickHouse is away")
def _kill_vector_in_outage(scene: Scene) -> None:
    scene.stage.stop("clickhouse")
    scene.pause(0.5)
    scene.stage.kill("vector")
    scene.stage.start("vector")
    scene.pause(0.5)


@fault("the disk is full")
def _full_disk(scene: Scene) -> None:
    with scene.stage.full_disk():
        scene.pause()


@fault("the disk is full while ClickHouse is away, kill -9 Vector")
def _full_disk_in_outage(scene: Scene) -> None:
    scene.stage.stop("clickhouse")
    with scene.stage.full_disk():
        scene.pause(0.5)
        scene.stage.kill("vector")
    scene.stage.start("vector")
    scene.pause(0.5)


@fault("the table is renamed away and back")
def _rename(scene: Scene) -> None:
    scene.stage.sql("RENAME TABLE events TO events_away")
    try:
        scene.pause()
    finally:
        scene.stage.sql("RENAME TABLE events_away TO events")


def _met(mode: str, during: Fault | None = None) -> Fault:
    def play(scene: Scene) -> None:
        hits = scene.stage.proxy.hits[mode]
        scene.stage.proxy.set(mode)
        try:
            met = scene.stage.proxy.wait_for_hit(mode, hits, MEET)
            scene.pause()
            if during:
                during(scene)
        finally:
            scene.stage.proxy.set("")
        assert met, f"no request came in {MEET:.0f} s"

    return play


for _mode in proxy.MODES:
    FAULTS[f"ClickHouse {_mode}"] = _met(_mode)
FAULTS["ClickHouse inserts, never answers, kill -9 Vector"] = _met(
    "inserts, never answers", lambda scene: scene.stage.kill("vector")
)

"""Every kind of fault, by name. A fault returns when it is over; what it has killed, the harness starts again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks.pipeline.reloading import answers, marked
from tests.clickhouse import free_ports
from tests.faults import proxy
from tests.faults.client import TIMEOUT as CLIENT_TIMEOUT
from tests.faults.client import is_malformed
from tests.faults.harness import Fault, Scene
from tests.waiting import until

MEET = 60.0
"""Seconds within which a request of Vector's must have met a fault of the proxy: its longest pause between tries is 30."""

REQUEST_TIMEOUT = 60.0
"""Seconds after which Vector gives an insert up (request.timeout_secs)."""

TOLD = 120.0
"""Seconds within which `status` must name a sink that is refused; twice that on a machine that has other work too."""

TIMEOUT = "ClickHouse inserts, never answers, Vector runs into its time-out"
AWAY = "ClickHouse is away for two minutes"
REFUSED = "a batch that ClickHouse refuses for good"
LONG = (TIMEOUT, AWAY, REFUSED)
"""Faults that take minutes."""
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


def _more_than(scene: Scene, taken: int) -> bool:
    return len(scene.ledger.snapshot()) > taken


@fault("kill -9 Vector three times, each as soon as it has answered")
def _kill_vector_after_answers(scene: Scene) -> None:
    for _ in range(3):
        taken = len(scene.ledger.snapshot())
        until(partial(_more_than, scene, taken), "Vector acknowledges events")
        scene.stage.kill("vector")
        scene.stage.start("vector")


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


@fault("Vector hangs until the client gives up and sends again")
def _hang_vector(scene: Scene) -> None:
    with scene.stage.hanging("vector"):
        time.sleep(CLIENT_TIMEOUT + 1)


@fault("ClickHouse hangs")
def _hang_clickhouse(scene: Scene) -> None:
    with scene.stage.hanging("clickhouse"):
        scene.pause()


@fault("the disk is full")
def _full_disk(scene: Scene) -> None:
    with scene.stage.full_disk():
        # the client sends when it has gathered enough, which on a busy machine may be later than the fault would last
        refused = scene.ledger.refused
        until(lambda: scene.ledger.refused > refused, "a request meets the full disk")
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


@fault("the client's network loses Vector's answers")
def _lose_answers(scene: Scene) -> None:
    scene.ledger.lose_answers = True
    try:
        _wait_for_requests(scene)
        scene.pause()
    finally:
        scene.ledger.lose_answers = False


@fault("the client's network cuts requests in half")
def _cut_requests(scene: Scene) -> None:
    scene.ledger.cut_requests = True
    try:
        _wait_for_requests(scene)
        scene.pause()
    finally:
        scene.ledger.cut_requests = False


def _wait_for_requests(scene: Scene) -> None:
    hits = scene.ledger.hits
    until(lambda: scene.ledger.hits > hits, "the client meets its bad network")


@fault("Vector reloads a changed configuration")
def _reload(scene: Scene) -> None:
    stage = scene.stage
    text = stage.vector_config.read_text()
    changed = text.replace("batch.max_events = 20000", "batch.max_events = 20")
    assert changed != text, "the configuration has no batch.max_events = 20000 to change"
    (port,) = free_ports(1)
    try:
        stage.vector_config.write_text(marked(changed, port))
        stage.reload_vector()
        until(lambda: answers(port), "the new configuration's port answers")
        scene.pause()
    finally:
        stage.vector_config.write_text(text)
        stage.reload_vector()
        until(lambda: not answers(port), "the port of the changed configuration is closed again")


@fault("Vector is asked to reload a broken configuration")
def _reload_broken(scene: Scene) -> None:
    stage = scene.stage
    text = stage.vector_config.read_text()
    (port,) = free_ports(1)
    broken = marked(text, port).replace("[sinks.journal]", "[sinks.journal]\nno_such_option = true")
    try:
        stage.vector_config.write_text(scene.random.choice((broken, text[: len(text) // 2])))
        stage.reload_vector()
        taken = len(scene.ledger.snapshot())
        scene.pause()
        until(lambda: len(scene.ledger.snapshot()) > taken, "the old configuration takes events")
        assert not answers(port), "a configuration that is broken is at work"
    finally:
        stage.vector_config.write_text(text)


@fault("Vector reloads, kill -9 Vector")
def _reload_and_kill(scene: Scene) -> None:
    scene.stage.reload_vector()
    time.sleep(scene.random.uniform(0, 0.3))
    scene.stage.kill("vector")


@fault("the port changes and changes back, both are open for a while")
def _change_port(scene: Scene) -> None:
    stage = scene.stage
    old = stage.settings.vector_port
    (new,) = free_ports(1)
    for port, former in ((new, old), (old, new)):
        stage.change(vector_port=port, vector_extra_ports=(former,))
        stage.start()
        scene.ledger.aim(stage.targets)
        scene.pause(0.5)
        scene.ledger.aim(stage.targets[:1])
        stage.change(vector_extra_ports=())
        stage.start()


@fault("the password of vector is rotated")
def _rotate(scene: Scene) -> None:
    scene.stage.rotate()


@fault("the events are lost, restored from a backup and replayed from the journal")
def _restore(scene: Scene) -> None:
    scene.stage.back_up()
    scene.pause()
    scene.stage.lose_events()
    scene.stage.restore()
    scene.stage.replay()


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


@fault(TIMEOUT)
def _time_out(scene: Scene) -> None:
    stage = scene.stage
    hits = stage.proxy.hits["inserts, never answers"]
    stage.proxy.set("inserts, never answers")
    try:
        assert stage.proxy.wait_for_hit("inserts, never answers", hits, MEET), "no request came"
        again = stage.proxy.wait_for_hit("inserts, never answers", hits + 1, REQUEST_TIMEOUT + MEET)
    finally:
        stage.proxy.set("")
    assert again, "Vector waits for an answer for ever"


@fault(AWAY)
def _away(scene: Scene) -> None:
    scene.stage.stop("clickhouse")
    time.sleep(120)


@fault(REFUSED)
def _refused(scene: Scene) -> None:
    stage = scene.stage
    until(scene.ledger.snapshot, "a first event is acknowledged")
    # an event that is to come and is a good one
    poison = max(scene.ledger.snapshot()) + 101
    poison += is_malformed(poison)
    stage.sql(f"ALTER TABLE events ADD CONSTRAINT IF NOT EXISTS poison CHECK ifNull(obj_id, 0) != {poison}")
    try:
        until(lambda: poison in scene.ledger.snapshot(), "the event is acknowledged")
        until(lambda: "events" in stage.refused(), "`status` names the sink", patience=2 * TOLD)
        scene.pause()
        stage.set_aside("events")
        later = len(scene.ledger.snapshot())
        until(lambda: len(scene.ledger.snapshot()) > later, "events are taken")
    finally:
        stage.sql("ALTER TABLE events DROP CONSTRAINT IF EXISTS poison")
    # until then it is a dead letter
    stage.retry_refused()

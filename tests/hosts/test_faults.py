"""The fault harness (tests/faults) against a deployed host, where systemd restarts what is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults import harness
from tests.faults.harness import Fault, Scene
from tests.faults.kinds import FAULTS
from tests.faults.on_host import OnHost

from .command import deploy
from .host import Host


def _reload(scene: Scene) -> None:
    scene.stage.reload()
    scene.pause(0.5)


COMMON = (
    "kill -9 Vector",
    "kill -9 ClickHouse",
    "kill -9 the client",
    "stop ClickHouse",
    "stop Vector",
    "kill -9 Vector while ClickHouse is away",
    "the client's network loses Vector's answers",
)
ON_HOST: dict[str, Fault] = {name: FAULTS[name] for name in COMMON} | {"systemctl reload vector": _reload}


def test_every_acknowledged_event_is_there_once_whatever_happens_to_the_units(
    deployed_host: Host, inventory: Callable[..., Path]
) -> None:
    host = deployed_host
    deploy(inventory(host, vector_listen_address=host.ip))
    outcome = harness.run(OnHost(host), ON_HOST, seed=6, rate=40, hold=(0.3, 1.0), patience=180)
    print(outcome.text())
    assert outcome.passed, outcome.text()
    assert set(outcome.faults) == set(ON_HOST)
    _pack(host)


def _pack(host: Host) -> None:
    """Let the journal's timer pack an hour that is over, and prove that nothing but its form has changed."""
    place = "/var/lib/vector/journal"
    host.run(
        f"cd {place} && cat events-*.jsonl > /tmp/before && install -o vector -g vector -m 640 /tmp/before events-2026-01-31T10.jsonl "
        "&& touch -d '1 hour ago' events-2026-01-31T10.jsonl"
    )
    host.run("systemctl start cvat-analytics-journal.service")
    packed = "events-2026-01-31T10.jsonl.zst"
    assert packed in host.run(f"ls -A {place}").output.split()
    assert packed.removesuffix(".zst") not in host.run(f"ls -A {place}").output.split()
    host.run(f"zstd -qdc {place}/{packed} | cmp - /tmp/before")
    assert host.run(f"stat -c '%U:%G %a' {place}/{packed}").output.strip() == "vector:vector 640"

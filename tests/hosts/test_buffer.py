"""On a real host a batch that ClickHouse refuses for good is named, set aside over SSH and accounted for; no deploy hangs on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from cvat_analytics.pipeline import events
from tests.waiting import until

from .command import cvat_analytics, deploy
from .host import Host
from .test_deploy import sql

TOLD = 120.0


def test_a_refused_batch_is_set_aside(deployed_host: Host, inventory: Callable[..., Path]) -> None:
    host = deployed_host
    settings = {"vector_listen_address": "0.0.0.0", "health_timeout": "20s"}
    path = inventory(host, **settings)
    deploy(path)

    def send(*names: str) -> None:
        batch = [{"scope": "load:cvat", "timestamp": time.time(), "obj_name": name} for name in names]
        events.send(batch, host.ip, 8282)

    def refused() -> list[str]:
        report = json.loads(cvat_analytics("status", "--inventory", path, "--json").output)
        return [each["sink"] for each in (report["pipeline"] or {}).get("refusals", [])]

    send("before")
    sql(host, "ALTER TABLE cvat.events ADD CONSTRAINT poison CHECK ifNull(obj_name, '') != 'poison'")
    send("waits", "poison")
    until(refused, "`status` names the sink", lambda sinks: sinks == ["events"], patience=2 * TOLD)
    status = cvat_analytics("status", "--inventory", path)
    assert status.exit_code == 1
    assert f"cvat-analytics buffer set-aside events --inventory {path}" in status.output

    # a deploy goes through meanwhile: another port beside the old one, and a sink that differs
    for more in ({"vector_extra_ports": [8383]}, {"vector_buffer_size": "300MiB"}):
        path = inventory(host, **settings, **more)
        deploy(path)
    send("later")

    done = cvat_analytics("buffer", "set-aside", "events", "--inventory", path, "--yes")
    assert done.exit_code == 0, done.text
    assert "1 that ClickHouse refuses are dead letters now" in done.output
    send("last")
    query = "SELECT arrayStringConcat(arraySort(groupArray(obj_name)), ' ') FROM cvat.events FINAL WHERE obj_name != ''"
    until(
        lambda: sql(host, query),
        "what waited and what comes",
        lambda found: found == "before last later waits",
    )
    sql(host, "ALTER TABLE cvat.events DROP CONSTRAINT poison")
    retry = cvat_analytics("dead-letters", "retry", "--inventory", path)
    assert retry.exit_code == 0, retry.text
    assert sql(host, query) == "before last later poison waits"
    kept = json.loads(cvat_analytics("buffer", "list", "--inventory", path, "--json").output)
    assert [(each["sink"], each["state"]) for each in kept] == [("events", "inserted")]
    assert (
        host.run(f"stat -c %a:%U /var/lib/vector/buffer-set-aside/{kept[0]['name']}").output.strip()
        == "700:root"
    )
    assert cvat_analytics("buffer", "purge", kept[0]["name"], "--inventory", path, "--yes").exit_code == 0
    assert host.run("ls -A /var/lib/vector/buffer-set-aside").output.strip() == ""

"""The section pipeline of the benchmark: what it sends, what it changes, and how it reckons."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from benchmarks import pipeline
from benchmarks.pipeline.delay import delays
from benchmarks.pipeline.rig import body
from cvat_analytics.rendering import render
from tests.vector.configuration import context


def test_a_body_has_events_as_cvat_sends_them() -> None:
    events = json.loads(body(5, 3))
    assert [event["obj_id"] for event in events] == [5, 6, 7]
    assert json.loads(events[0]["payload"])["is_active"] is True
    assert abs(float(events[0]["timestamp"])) > 1.7e9


def test_without_the_journal_the_configuration_is_otherwise_the_same() -> None:
    text = render.render("vector.toml.j2", context(Path("/")).variables())
    whole, bare = tomllib.loads(text), tomllib.loads(pipeline.without_journal(text))
    assert whole["sinks"].pop("journal")["type"] == "file"
    assert bare == whole


def test_delays_follow_from_what_was_sent_and_seen() -> None:
    sent = [0.0, 0.1, 0.2, 0.3]
    seen = [(0.05, 0), (0.5, 1), (0.6, 3), (0.7, 3), (1.0, 4), (1.1, 4)]
    assert [round(each, 3) for each in delays(sent, seen)] == [0.5, 0.5, 0.4, 0.7]

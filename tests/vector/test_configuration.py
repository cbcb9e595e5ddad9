"""The rendered configuration, and that the substitute refuses what it could not honour."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import limits
from cvat_analytics.credentials import secrets
from cvat_analytics.embedded.vector_substitute import config
from cvat_analytics.embedded.vector_substitute.metrics import Metrics
from cvat_analytics.embedded.vector_substitute.pipeline import Pipeline
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Paths
from tests.vector.configuration import context, write_configuration

REFUSALS = {
    "unknown component": ('type = "file"', 'type = "kafka"', "sinks.journal: option type = 'kafka' is not"),
    "unknown option": ('method = "post"', 'method = "post"\npayload_prefix = "x"', "sinks.events: option payload_prefix"),
    "unknown value": ('buffer.when_full = "block"', 'buffer.when_full = "overflow"', "sinks.events: option buffer.when_full = 'overflow'"),
    "a disk buffer that drops": ('buffer.when_full = "block"', 'buffer.when_full = "drop_newest"', "sinks.events: option buffer.when_full must be block where buffer.type is 'disk'"),
    "a memory buffer that is waited for": ("acknowledgements.enabled = false", "acknowledgements.enabled = true", "sinks.metrics: option acknowledgements.enabled must be False where buffer.type is 'memory'"),
    "a percent sign in the address": ("INSERT+INTO", "INSERT%20INTO", "sinks.events: option uri = "),
    "another collector": ('collectors = ["filesystem"]', 'collectors = ["cpu"]', "sources.disks: option collectors = ['cpu']"),
    "a journal that is held back": ('compression = "none"', 'compression = "gzip"', "sinks.journal: option compression = 'gzip' is not"),
    "wrong type": ("batch.timeout_secs = 1", "batch.timeout_secs = 0.5", "sinks.events: option batch.timeout_secs = 0.5"),
    "missing option": ('auth.user = "vector"', "", "sinks.events: option auth.user must be given where auth.strategy is 'basic'"),
    "unknown global": ("[acknowledgements]\nenabled = true", "acknowledgements.enabled = true\ntimezone = 'local'", "the configuration: option timezone"),
    "no acknowledgements": ("enabled = true", "enabled = false", "the configuration: option acknowledgements.enabled = False"),
    "unknown input": ('inputs = ["split"]', 'inputs = ["splits"]', "normalise: option inputs names 'splits'"),
    "unknown secret": ("SECRET[credentials.clickhouse_password]", "SECRET[credentials.nothing]", "events: SECRET[credentials.nothing] cannot be read"),
    "a condition that does not compile": ("!by_browser", "!by_anybody", "sources.cvat_8282: option auth.source does not compile"),
    "program that does not compile": ('row.source = "unknown"', "row.source = unknown", "transforms.normalise: option source does not compile"),
    "not TOML": ("[sinks.journal]", "[sinks.journal", "vector.toml: "),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusal(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write_configuration(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(config.ConfigError) as refusal:
        Pipeline(config.load(path), Metrics())
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_setting_reaches_the_configuration(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "vector_listen_address": "10.1.2.3",
        "vector_port": 8383,
        "clickhouse_http_port": 8124,
        "database": "analytics",
        "vector_buffer_size": "300MiB",
    }
    document = tomllib.loads(write_configuration(tmp_path, **values).read_text())
    assert document["sources"]["cvat_8383"]["address"] == "10.1.2.3:8383"
    tables = {
        "events": "incoming_events",
        "dead_letters": "incoming_dead_letters",
        "metrics": "pipeline_metrics",
    }
    for name, table in tables.items():
        uri = document["sinks"][name]["uri"]
        assert uri.startswith(
            f"http://127.0.0.1:8124/?database=analytics&query=INSERT+INTO+{table}+FORMAT+JSONEachRow&"
        )
        assert "%" not in uri, "Vector reads a time format into it"
    assert document["sinks"]["events"]["buffer"]["max_size"] == 300 * 2**20


def test_whatever_clickhouse_answers_the_batch_is_kept(document: dict[str, Any]) -> None:
    for name in ("events", "dead_letters"):
        sink = document["sinks"][name]
        assert sink["retry_strategy"] == {"type": "all"}
        assert sink["buffer"]["type"] == "disk"
        assert sink["buffer"]["when_full"] == "block"
        assert "retry_attempts" not in sink["request"], "for ever is Vector's default"
        assert sink.get("acknowledgements", {}).get("enabled", True)


def test_what_watches_the_pipeline_cannot_hold_it_up(tmp_path: Path) -> None:
    document = tomllib.loads(write_configuration(tmp_path, vector_metrics_port=9598).read_text())
    inputs = {
        name: part["inputs"] for kind in ("transforms", "sinks") for name, part in document[kind].items()
    }
    sources = {name: part["type"] for name, part in document["sources"].items()}
    for name in ("metrics", "prometheus"):
        assert document["sinks"][name]["acknowledgements"] == {"enabled": False}
        found, seen = list(inputs[name]), set()
        while found:
            seen.add(component := found.pop())
            found += inputs.get(component, [])
        assert not [component for component in seen if sources.get(component) == "http_server"]
    assert document["sinks"]["metrics"]["buffer"] == {
        "type": "memory",
        "max_events": 2000,
        "when_full": "drop_newest",
    }
    assert document["sinks"]["prometheus"]["address"] == "127.0.0.1:9598"


def test_every_port_has_a_source_that_is_counted_by_itself(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "vector_port": 8383,
        "vector_extra_ports": [8282, 8484],
        "vector_large_port": 8284,
    }
    document = tomllib.loads(write_configuration(tmp_path, **values).read_text())
    listening = {name: part["address"] for name, part in document["sources"].items() if "address" in part}
    assert listening == {
        "cvat_8383": "127.0.0.1:8383",
        "cvat_8282": "127.0.0.1:8282",
        "cvat_8484": "127.0.0.1:8484",
        "large": "127.0.0.1:8284",
    }
    assert document["transforms"]["split"]["inputs"] == ["cvat_8383", "cvat_8282", "cvat_8484"]
    assert document["sinks"]["large_bodies"]["uri"] == "http://127.0.0.1:8284/"


def test_what_is_large_comes_alone_into_every_disk_buffer(document: dict[str, Any]) -> None:
    """Vector joins what is ready at a time; only what goes the direct way is small enough for that."""
    types = {name: part["type"] for name, part in document["transforms"].items()}
    durable = {
        name: sink["inputs"]
        for name, sink in document["sinks"].items()
        if sink.get("buffer", {}).get("type") == "disk"
    }
    assert durable.keys() == {"events", "dead_letters", "large_bodies"}
    for name, inputs in durable.items():
        together = [each for each in inputs if types[each] != "throttle"]
        assert together == {"events": ["normalise"], "large_bodies": ["wake"]}.get(name, []), name
    assert document["transforms"]["normalise"]["inputs"] == ["split"]
    assert limits.WORST_RECORD < limits.RECORD * 3 // 4
    assert limits.VECTOR_BODY < limits.RECORD * 19 // 20


def test_a_large_body_is_never_sent_a_second_time_while_the_first_is_under_way(
    document: dict[str, Any],
) -> None:
    sink = document["sinks"]["large_bodies"]
    assert sink["request"]["timeout_secs"] > 86400
    assert (sink["request"]["concurrency"], sink["batch"]["max_events"]) == (1, 1)
    assert sink["retry_strategy"] == {"type": "all"}


def test_a_port_cannot_be_had_twice() -> None:
    with pytest.raises(InputError, match=r"vector_extra_ports\[1\].*port 8123 .* 'clickhouse_http_port'"):
        context(Path("/"), vector_extra_ports=[8484, 8123])
    with pytest.raises(InputError, match=r"vector_metrics_port.*port 8282 .* 'vector_port'"):
        context(Path("/"), vector_metrics_port=8282)


def test_tls_and_a_password_are_credentials_of_the_unit(tmp_path: Path) -> None:
    for name in ("certificate", "key"):
        (tmp_path / name).write_text(f"the {name}\n")
    stack = context(
        tmp_path,
        vector_username="cvat",
        vector_tls_certificate=tmp_path / "certificate",
        vector_tls_key=tmp_path / "key",
        vector_extra_ports=[8484],
    )
    files = {Path(file.path).name: file for file in render.vector_files(stack)}
    document = tomllib.loads(files["vector.toml"].content)
    for source in ("cvat_8282", "cvat_8484"):
        assert document["sources"][source]["auth"]["strategy"] == "custom"
        assert '"cvat:SECRET[credentials.ingest_password]"' in document["sources"][source]["auth"]["source"]
        assert document["sources"][source]["tls"] == {
            "enabled": True,
            "crt_file": f"{stack.paths.vector_credentials}/tls_certificate",
            "key_file": f"{stack.paths.vector_credentials}/tls_key",
        }
    handed_over = re.findall(
        r"^LoadCredential=(\w+):(.+)$", files["cvat-analytics.conf"].content, re.MULTILINE
    )
    for name, path in handed_over:
        assert (files[name].path, files[name].mode, files[name].secret) == (path, "600", True)
    assert {name for name, _ in handed_over} == {
        "clickhouse_password",
        "large_bodies",
        "ingest_password",
        "tls_certificate",
        "tls_key",
    }
    with pytest.raises(
        InputError, match="'vector_tls_certificate' and 'vector_tls_key': give both or neither"
    ):
        context(tmp_path, vector_tls_key=tmp_path / "key")
    with pytest.raises(InputError, match="'vector_tls_key': there is no file"):
        context(tmp_path, vector_tls_certificate=tmp_path / "key", vector_tls_key=tmp_path / "none")


@pytest.mark.parametrize("suffix", ["_next", "_previous", "_gone"])
def test_while_a_password_changes_the_unit_hands_over_both(tmp_path: Path, suffix: str) -> None:
    stack = context(tmp_path, vector_username="cvat")
    values = secrets.Secrets(dict(stack.secrets) | {f"vector_ingest{suffix}": "the-other"})
    files = {
        Path(file.path).name: file
        for file in render.vector_files(Context("h", stack.topology, values, stack.paths))
    }
    source = tomllib.loads(files["vector.toml"].content)["sources"]["cvat_8282"]["auth"]["source"]
    named = set(re.findall(r"SECRET\[credentials\.(\w+)\]", source))
    handed_over = set(
        re.findall(r"^LoadCredential=(\w+):", files["cvat-analytics.conf"].content, re.MULTILINE)
    )
    both = {"ingest_password", "other_ingest_password"}
    assert named == (both if suffix != "_gone" else {"ingest_password"})
    assert named == handed_over & both
    assert {files[name].content for name in named} == {
        values["vector_ingest"],
        *["the-other"] * (suffix != "_gone"),
    }


def test_an_ipv6_address_is_bracketed(tmp_path: Path) -> None:
    document = tomllib.loads(write_configuration(tmp_path, vector_listen_address="::1").read_text())
    assert document["sources"]["cvat_8282"]["address"] == "[::1]:8282"


def test_the_password_is_only_in_the_secret(tmp_path: Path) -> None:
    stack = context(tmp_path)
    files = [file for file in render.vector_files(stack) if not file.secret]
    assert files
    assert not [file.path for file in files if stack.secrets["clickhouse_vector"] in file.content]


def test_the_unit_starts_whatever_clickhouse_does() -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    text = render.render("systemd/vector.conf.j2", context(Path("/")).variables() | {"paths": Paths()})
    unit.read_string(text)
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["LoadCredential"].startswith(
        "clickhouse_password:/etc/cvat-analytics/secrets/vector/"
    )
    lines = text.splitlines()
    start = "ExecStartPre=/usr/bin/vector validate --skip-healthchecks /etc/vector/vector.toml"
    assert lines[lines.index(start) - 1] == "ExecStartPre="


def test_the_journal_holds_nothing_back(tmp_path: Path) -> None:
    sink = tomllib.loads(write_configuration(tmp_path).read_text())["sinks"]["journal"]
    assert (sink["compression"], sink["path"].rpartition("/")[2]) == ("none", "events-%Y-%m-%dT%H.jsonl")


def test_the_journal_is_kept_as_long_as_the_setting_says() -> None:
    variables = context(Path("/"), journal_retention="2d").variables() | {"paths": Paths()}
    line = render.render("vector/journal-tmpfiles.conf.j2", variables).splitlines()[-1]
    assert line.split() == ["d", "/var/lib/vector/journal", "0750", "vector", "vector", "172800s"]

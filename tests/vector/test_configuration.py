"""The rendered configuration, and that the substitute refuses what it could not honour."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics import render
from cvat_analytics.embedded.vector_substitute import config, remap
from tests.vector.conftest import context, write_configuration

REFUSALS = {
    "unknown component": ('type = "file"', 'type = "kafka"', "sinks.journal: option type = 'kafka' is not"),
    "unknown option": ("skip_unknown_fields = false", "insert_random_shard = true", "sinks.events: option insert_random_shard"),
    "unknown value": ('buffer.when_full = "block"', 'buffer.when_full = "drop_newest"', "sinks.events: option buffer.when_full = 'drop_newest'"),
    "wrong type": ("batch.timeout_secs = 1", "batch.timeout_secs = 0.5", "sinks.events: option batch.timeout_secs = 0.5"),
    "missing option": ('auth.user = "vector"', "", "sinks.events: option auth.user is missing"),
    "unknown global": ("[acknowledgements]\nenabled = true", "acknowledgements.enabled = true\ntimezone = 'local'", "the configuration: option timezone"),
    "no acknowledgements": ("enabled = true", "enabled = false", "the configuration: option acknowledgements.enabled = False"),
    "unknown input": ('inputs = ["split"]', 'inputs = ["splits"]', "normalise: option inputs names 'splits'"),
    "unknown secret": ("SECRET[credentials.clickhouse_password]", "SECRET[credentials.nothing]", "events: SECRET[credentials.nothing] cannot be read"),
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
        remap.compile_all(config.load(path).transforms)
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
    assert document["sources"]["cvat"]["address"] == "10.1.2.3:8383"
    events, letters = document["sinks"]["events"], document["sinks"]["dead_letters"]
    assert events["endpoint"] == letters["endpoint"] == "http://127.0.0.1:8124"
    assert events["database"] == letters["database"] == "analytics"
    assert events["buffer"]["max_size"] == 300 * 2**20


def test_an_ipv6_address_is_bracketed(tmp_path: Path) -> None:
    document = tomllib.loads(write_configuration(tmp_path, vector_listen_address="::1").read_text())
    assert document["sources"]["cvat"]["address"] == "[::1]:8282"


def test_the_password_is_only_in_the_secret(tmp_path: Path) -> None:
    stack = context(tmp_path)
    files = [file for file in render.vector_files(stack) if not file.secret]
    assert files
    assert not [file.path for file in files if stack.secrets["clickhouse_vector"] in file.content]


def test_the_unit_starts_whatever_clickhouse_does() -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    text = render.render("systemd/vector.conf.j2", context(Path("/")).variables() | {"paths": render.Paths()})
    unit.read_string(text)
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["LoadCredential"].startswith(
        "clickhouse_password:/etc/cvat-analytics/secrets/vector/"
    )
    lines = text.splitlines()
    start = "ExecStartPre=/usr/bin/vector validate --skip-healthchecks /etc/vector/vector.toml"
    assert lines[lines.index(start) - 1] == "ExecStartPre="


def test_the_journal_is_kept_as_long_as_the_setting_says() -> None:
    variables = context(Path("/"), journal_retention="2d").variables() | {"paths": render.Paths()}
    line = render.render("vector/journal-tmpfiles.conf.j2", variables).splitlines()[-1]
    assert line.split() == ["d", "/var/lib/vector/journal", "0750", "vector", "vector", "172800s"]

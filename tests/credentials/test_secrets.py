"""Passwords: generated once, private, and shown nowhere."""

import json
import stat
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.credentials import secrets


def test_init_writes_every_password_once_and_privately(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secrets.json"
    assert secrets.init(path) == list(secrets.NAMES)
    first = secrets.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secrets.init(path) == []
    assert dict(secrets.load(path)) == dict(first)
    assert len(set(first.values())) == len(secrets.NAMES)
    assert all(len(value) >= 32 for value in first.values())


def test_init_adds_what_a_newer_version_needs_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"clickhouse_admin": "kept"}))
    path.chmod(0o600)
    assert "clickhouse_admin" not in secrets.init(path)
    assert secrets.load(path)["clickhouse_admin"] == "kept"


def test_a_preview_has_every_password_and_writes_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secrets.json"
    assert secrets.init(path, dry=True) == list(secrets.NAMES)
    assert set(secrets.preview(path)) == set(secrets.NAMES)
    assert not path.parent.exists()
    secrets.init(path)
    assert dict(secrets.preview(path)) == dict(secrets.load(path))
    without = {name: value for name, value in secrets.load(path).items() if name != "vector_ingest"}
    path.write_text(json.dumps(without))
    assert {name for name, _ in secrets.preview(path).items() - without.items()} == {"vector_ingest"}
    path.chmod(0o644)
    with pytest.raises(InputError, match=r"other users may read it \(mode 0644\)"):
        secrets.preview(path)


def test_passwords_are_not_printed() -> None:
    generated = secrets.generate()
    assert not any(value in repr(generated) or value in str(generated) for value in generated.values())
    assert generated.mask(f"login with {generated['grafana_admin']}") == "login with ***"


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (None, 0o600, "there is none. Restore it from your password store"),
        ("{}", 0o600, "lacks clickhouse_admin"),
        ("not json", 0o600, "cannot be read"),
        ("{}", 0o644, "other users may read it (mode 0644)"),
    ],
)
def test_an_unusable_file_is_refused_with_its_name(
    tmp_path: Path, content: str | None, mode: int, reason: str
) -> None:
    path = tmp_path / "secrets.json"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(InputError) as caught:
        secrets.load(path)
    assert str(caught.value).startswith(f"secrets file {path}: ")
    assert reason in str(caught.value)


def test_the_password_of_another_system_is_kept_beside_the_generated_ones(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    secrets.init(path)
    generated = dict(secrets.load(path))
    secrets.give(path, "smtp_password", "first")
    secrets.give(path, "smtp_password", "pass;word#1")
    assert dict(secrets.load(path)) == {**generated, "smtp_password": "pass;word#1"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secrets.init(path) == [], "and is not taken for one that is missing"
    assert secrets.load(path)["smtp_password"] == "pass;word#1"


@pytest.mark.parametrize(
    ("name", "value"), [("clickhouse_admin", "x"), ("smtp_password", ""), ("smtp_password", "a\nb")]
)
def test_what_cannot_be_given(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "secrets.json"
    secrets.init(path)
    before = path.read_text()
    with pytest.raises(InputError) as caught:
        secrets.give(path, name, value)
    assert path.read_text() == before
    assert not value or value not in str(caught.value)

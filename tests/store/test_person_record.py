"""Who has asked about a person, and when, is on record; about whom is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.operate import person_record
from cvat_analytics.operate.person_record import Entry


def test_each_request_is_a_line_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "olga")
    path = person_record.write(tmp_path, Entry("show"))
    assert person_record.write(tmp_path, Entry("export")) == path
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["command"], second["command"]) == ("show", "export")
    assert first["by"].startswith("olga")
    assert first["reference"] != second["reference"]
    assert set(first) == {"command", "at", "by", "reference"}, "nothing about the person"


def test_what_cannot_be_put_on_record_is_not_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the record of requests cannot be written"):
        person_record.write(tmp_path / "nowhere", Entry("show"))

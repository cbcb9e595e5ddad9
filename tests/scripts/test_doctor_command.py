"""The command `doctor`: its exit codes, its words, and where its bundle may go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics.checks.doctor import examination
from cvat_analytics.checks.finding import Finding
from cvat_analytics.checks.status import Report
from cvat_analytics.credentials import secrets
from scripts import doctor
from scripts.cli import main


def test_of_a_stack_that_does_not_run_the_doctor_says_so(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    secrets.init(tmp_path / "secrets.json")
    result = CliRunner().invoke(main, ["doctor", "--dir", str(tmp_path), "--json"])
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert found["worst"] == "now"
    stopped = [each for each in found["findings"] if each["why"].startswith("clickhouse stopped")]
    assert [(each["weight"], each["next"]) for each in stopped] == [
        ("now", "docs/how-to/a-part-does-not-do-its-work.md")
    ]
    shown = CliRunner().invoke(main, ["doctor", "--dir", str(tmp_path)])
    assert shown.stdout.startswith("wrong now\n  part           clickhouse stopped")


@pytest.mark.parametrize(
    ("weight", "unknown", "code", "words"),
    [
        ("", (), 0, "nothing is wrong\n"),
        ("", ("open ports: away",), 3, "nothing is wrong in what could be looked at\n"),
        ("know", ("open ports: away",), 3, "worth knowing\n"),
        ("now", ("open ports: away",), 1, "wrong now\n"),
        ("know", (), 0, "worth knowing\n"),
    ],
    ids=["well", "unknown", "worth knowing", "wrong", "all known"],
)  # fmt: skip
def test_what_could_not_be_looked_at_is_not_well(
    weight: Any,
    unknown: tuple[str, ...],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    findings = [Finding(weight, "part", "x", "y")] if weight else []
    answer: Any = (Report([], None), examination.Diagnosis(findings, (), unknown), {})
    monkeypatch.setattr(doctor, "examined", lambda target, with_bundle=False: answer)
    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    result = CliRunner().invoke(main, ["doctor", "--dir", str(tmp_path)])
    assert (result.exit_code, result.stdout.startswith(words)) == (code, True), result.output
    assert CliRunner().invoke(main, ["doctor", "--dir", str(tmp_path), "--json"]).exit_code == code


def test_a_bundle_that_cannot_be_written_is_refused_before_anybody_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bool] = []

    def examined(target: Any, with_bundle: bool = False) -> Any:
        asked.append(with_bundle)
        return Report([], None), examination.Diagnosis([]), {"README.txt": "x"}

    monkeypatch.setattr(doctor, "examined", examined)
    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    for file in (tmp_path / "misspelt" / "help.zip", tmp_path / "stack.json" / "help.zip"):
        refused = CliRunner().invoke(main, ["doctor", "--dir", str(tmp_path), "--bundle", str(file)])
        assert (refused.exit_code, asked) == (2, [])
        assert f": {file}: there is no directory {file.parent}. " in refused.output
    assert not (tmp_path / "misspelt").exists()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor, "write_atomically", full)
    late = CliRunner().invoke(
        main, ["doctor", "--dir", str(tmp_path), "--bundle", str(tmp_path / "help.zip")]
    )
    assert (late.exit_code, asked) == (2, [True])
    assert "help.zip: cannot be written (No space left on device)" in late.output

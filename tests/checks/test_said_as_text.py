"""Texts from outside stay texts on each way on which `status` and the doctor say them: terminal, JSON, bundle, metrics."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from cvat_analytics.checks import exposition
from cvat_analytics.checks.backups import Backups
from cvat_analytics.checks.bundle import contents
from cvat_analytics.checks.bundle.keeping import Kept
from cvat_analytics.checks.cvat_refusals import CvatRefusal
from cvat_analytics.checks.doctor import examination, of_status
from cvat_analytics.checks.doctor.examination import Diagnosis
from cvat_analytics.checks.finding import by_weight
from cvat_analytics.checks.flow import Buffer, Refusal
from cvat_analytics.checks.status import Part, Report
from cvat_analytics.checks.two_cvats import TwoCvats
from cvat_analytics.config import topology
from cvat_analytics.embedded import status as embedded
from scripts import doctor
from scripts.cli import main
from tests.checks.test_doctor import flow

HOSTILE = "x\x1b]0;PWNED\x07\x1b[2J\x9b1m\x7f\u202egpj\rover\nFORGED line\u2028FORGED too\tend"
NOW = datetime.now(UTC)
REPORT = Report(
    [Part("clickhouse", "one", "failing", f"26.8{HOSTILE}", f"http://{HOSTILE}", f"Code: 62. {HOSTILE}")],
    flow(
        refusals=[Refusal("events", "one", NOW, 7, 0, "500", HOSTILE, None)], two_cvats=TwoCvats(3, [f"user 5 is {HOSTILE} and b"], NOW),
        other_users=[HOSTILE], silent={HOSTILE: NOW}, buffers=[Buffer("events", HOSTILE, 4, 5, 10)],
        cvat_refusals=[CvatRefusal(HOSTILE, (), NOW, 3), CvatRefusal(HOSTILE, ("label_id",), NOW, 3)],
    ),
    problems=[HOSTILE], not_asked={"two": f"host two: {HOSTILE}"}, backups=Backups("/mnt/backup", failed="a", why=HOSTILE, problems=[HOSTILE]),
)  # fmt: skip


def refuse_active(text: str) -> None:
    """Fail where something in a text that is printed or written drives a terminal, or begins a line as if it were ours."""
    active = [
        c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t"
    ]
    assert active == []
    assert [line for line in text.split("\n") if line.startswith("FORGED")] == []


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the directory of an embedded stack of which `status` and the doctor say REPORT."""
    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    findings = by_weight(of_status.findings(REPORT))
    diagnosis = Diagnosis(findings, (), [f"versions: {HOSTILE}"], [("one", "cvat", HOSTILE)])
    monkeypatch.setattr(embedded, "report", lambda running: REPORT)
    monkeypatch.setattr(doctor, "examined", lambda target, with_bundle=False: (REPORT, diagnosis, {}))
    return tmp_path


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_on_a_terminal(stack: Path, command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--dir", str(stack)])
    assert shown.exit_code == 3, shown.output
    assert "PWNED" in shown.stdout
    assert "PWNED" in shown.stderr
    refuse_active(shown.stdout + shown.stderr)


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_as_json(stack: Path, command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--dir", str(stack), "--json"])
    refuse_active(shown.stdout)
    assert HOSTILE in str(list(_texts(json.loads(shown.stdout)))), "it says what it is"


def _texts(value: Any) -> Any:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str) and HOSTILE in value:
        yield _Shown(value)


class _Shown(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def test_in_metrics(stack: Path) -> None:
    text = exposition.text(REPORT)
    refuse_active(text)
    labels = [sample.labels for family in text_string_to_metric_families(text) for sample in family.samples]
    assert any("PWNED" in label for each in labels for label in each.values())
    printed = CliRunner().invoke(main, ["status", "--dir", str(stack), "--prometheus", "-"])
    refuse_active(printed.stdout)
    assert "\\x" not in printed.stdout, "Prometheus knows no such escape, and would take none of it"


def test_in_a_bundle() -> None:
    described = topology.build(
        {"clickhouse": ["one"], "vector": ["one"], "grafana": ["one"]}, {"one": {}}, where="test"
    )
    diagnosis = Diagnosis(by_weight(of_status.findings(REPORT)), (), [HOSTILE], [("one", "cvat", HOSTILE)])
    asked = {"problem": HOSTILE, "tables": [{"table": HOSTILE, "rows": 1}]}
    lines = [HOSTILE, f"2026-11-30T09:00:01Z {HOSTILE}", *HOSTILE.split("\n")]
    place = examination.Place(described.components("one"), described.settings["one"])
    files = dict(contents.of(REPORT, diagnosis, described, {"one": place}, asked, {("one", "vector"): lines}))
    for name, text in files.items():
        refuse_active(name)
        if not name.startswith("rendered/"):
            refuse_active(text)
            assert "PWNED" not in text
    refuse_active(Kept().of_ours(HOSTILE))

"""The benchmark's command line, its table, and its arithmetic. No timings: those are what `make bench` is for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from benchmarks import machine, sections
from benchmarks.__main__ import main
from benchmarks.report import BenchmarkError, Measurement, Report, Target, amount, ratio, table
from tests.hosts.docker_engine import HostsUnavailable

OURS = Measurement("ours", [3.0, 2.0, 10.0])
THEIRS = Measurement("theirs", [12.0, 90.0, 11.0])


def target(value: float | None, kind: str = "at most", limit: float = 5, void: str = "") -> Target:
    return Target("a target", value, kind, limit, "s", void)  # type: ignore[arg-type]


@pytest.fixture
def section(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Register one section `fake`; the test says what it returns or raises as `outcome`."""
    behaviour: dict[str, object] = {"outcome": Report("fake: nothing", [OURS], [target(3.0)])}

    def run(runs: int, say: sections.Say) -> Report:
        behaviour["runs"] = runs
        say("working")
        if isinstance(behaviour["outcome"], Exception):
            raise behaviour["outcome"]
        assert isinstance(behaviour["outcome"], Report)
        return behaviour["outcome"]

    module = ModuleType("fake_section")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_section", module)
    monkeypatch.setattr(sections, "SECTIONS", {"fake": "fake_section"})
    return behaviour


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_every_registered_section_can_be_loaded() -> None:
    assert list(sections.SECTIONS) == [
        "commands",
        "deploy",
        "store",
        "pipeline",
        "dashboards",
        "export",
        "backup",
        "guard",
        "small",
    ]
    assert set(sections.BY_NAME) < set(sections.SECTIONS)
    for name in sections.SECTIONS:
        assert callable(sections.load(name))


@pytest.mark.parametrize(
    ("outcome", "exit_code", "said"),
    [
        (Report("x", [OURS], [target(5.0)]), 0, "met"),
        (Report("x", [OURS], [target(5.0), target(5.1)]), 1, "missed"),
        (Report("x", [OURS], [target(None, void="they changed a file")]), 1, "void: they changed a file"),
        (Report("x", [OURS]), 0, "ours"),
        (BenchmarkError("the deploy failed"), 1, "benchmark fake: the deploy failed"),
        (HostsUnavailable("no Docker"), 3, "benchmark fake: no Docker"),
    ],
)
def test_the_exit_code_says_whether_all_targets_are_met(
    section: dict[str, object], tmp_path: Path, outcome: object, exit_code: int, said: str
) -> None:
    section["outcome"] = outcome

    result = bench("--json", tmp_path / "figures.json")

    assert (result.exit_code, said in result.output) == (exit_code, True), result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dploy"], "there is no section 'dploy'; there is fake"),
        (["--runs", "0"], "--runs"),
        (["--quick"], "--quick"),
        (["--events", "many"], "'many': write numbers"),
        (["--events", "20000000,5"], "at least 10000 events"),
    ],
)
def test_bad_arguments_end_with_2_before_anything_is_measured(
    section: dict[str, object], arguments: list[str], message: str
) -> None:
    result = bench(*arguments)

    assert result.exit_code == 2
    assert message in result.output
    assert "runs" not in section


def test_figures_go_into_a_file_with_the_machine_but_without_its_name(
    section: dict[str, object], tmp_path: Path
) -> None:
    result = bench("fake", "--runs", 7, "--json", tmp_path / "new" / "figures.json")
    figures = json.loads((tmp_path / "new" / "figures.json").read_text())

    assert result.exit_code == 0
    assert section["runs"] == 7
    assert figures["sections"]["fake"]["measurements"] == [
        {"name": "ours", "unit": "s", "median": 3.0, "min": 2.0, "max": 10.0, "values": [3.0, 2.0, 10.0]}
    ]
    assert figures["sections"]["fake"]["targets"] == [
        {"name": "a target", "value": 3.0, "kind": "at most", "limit": 5, "unit": "s", "verdict": "met"}
    ]
    assert set(figures["machine"]) == {
        *("cores", "cpu", "memory_gib", "load_before", "system", "kernel"),
        *("python", "pyinfra", "clickhouse-connect"),
    }


def test_what_was_measured_before_something_failed_is_kept(
    section: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(
        runs: int, say: sections.Say, sizes: list[int], keep: Path, save: Callable[[Report], object]
    ) -> Report:
        save(Report(f"at {sizes}, {keep}", [OURS]))
        raise BenchmarkError("the engine has ended")

    monkeypatch.setattr(sys.modules["fake_section"], "run", run)
    monkeypatch.setattr(sections, "SECTIONS", {"store": "fake_section"})

    result = bench("--json", tmp_path / "figures.json", "--events", "10_000,20000", "--keep", tmp_path)

    assert result.exit_code == 1
    assert "benchmark store: the engine has ended" in result.output
    assert "ours" in result.output
    kept = json.loads((tmp_path / "figures.json").read_text())["sections"]["store"]
    assert kept["title"] == f"at [10000, 20000], {tmp_path}"


def test_what_is_only_run_by_name_is_left_out(
    section: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "BY_NAME", ("fake",))
    assert bench().exit_code == 0
    assert "runs" not in section


def test_without_a_file_named_figures_go_into_the_results(
    section: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.__main__.RESULTS", tmp_path / "results")
    assert bench().exit_code == 0
    assert len(list((tmp_path / "results").glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [
        ("at most", 4.99, "met"),
        ("at most", 5.0, "met"),
        ("at most", 5.01, "missed"),
        ("at least", 5.01, "met"),
        ("at least", 5.0, "met"),
        ("at least", 4.99, "missed"),
        ("at least", None, "void"),
    ],
)
def test_a_target_is_met_up_to_its_limit(kind: str, value: float | None, verdict: str) -> None:
    assert target(value, kind).verdict == verdict


def test_a_void_target_is_never_met_whatever_its_value() -> None:
    assert target(1.0, void="why").verdict == "void"
    assert not Report("x", [OURS], [target(1.0, void="why")]).met


def test_a_ratio_compares_medians() -> None:
    assert ratio(THEIRS, OURS) == 4.0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(3.14159, "s", "3.14 s"), (18, "", "18"), (4.0, "x", "4.00x"), (0.5, "s", "0.50 s")],
)
def test_amounts_are_as_exact_as_a_reader_needs(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_the_table_is_aligned() -> None:
    rows = [Measurement("short", [1.0]).row(), Measurement("a longer name", [10.5, 9.25, 100.125]).row()]
    assert table(["", "median", "min", "max", "runs"], rows).splitlines() == [
        "                median     min       max  runs",
        "short           1.00 s  1.00 s    1.00 s     1",
        "a longer name  10.50 s  9.25 s  100.12 s     3",
    ]
    assert table(["target", ""], []) == ""


def test_the_machine_line_names_cores_and_versions() -> None:
    line = machine.text(machine.facts())
    assert " cores (" in line
    assert "pyinfra 3." in line

"""A deploy whose ClickHouse does not answer for a moment: it waits, and makes nothing anew in a database that it cannot see."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys import facts
from deploys.facts import Schema, SchemaState
from tests.deploys.conftest import DEBIAN_12, Deploy, Run

ANSWER = "events\tReplacingMergeTree ORDER BY x\\'\\t\napplied\ninit.sql\t9a3b\nrule\nthreshold_ms\t100000"


def asked(tmp_path: Path, unit: str, silences: int) -> tuple[SchemaState | None, int]:
    """Ask for the schema of a server that does not answer so often, whose unit is in the state `unit`; return also how often."""
    for name, text in {
        "systemctl": f"echo {unit}",
        "client": f"cat > /dev/null; echo >> {tmp_path}/asked; [ $(wc -l < {tmp_path}/asked) -gt {silences} ] || exit 210\n"
        f"printf '%s\\n' {shlex.quote(ANSWER)}; exit 60",
    }.items():
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    command = Schema().command(str(tmp_path / "client"), "cvat")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    times = (tmp_path / "asked").read_text().count("\n")
    return Schema().process(done.stdout.splitlines()), times


@pytest.mark.parametrize("unit", ["active", "activating"])
def test_a_server_that_is_just_starting_is_waited_for(tmp_path: Path, unit: str) -> None:
    state = SchemaState(
        {"init.sql": "9a3b"},
        {"events": "ReplacingMergeTree ORDER BY x\\'\\t"},
        {"threshold_ms": "100000"},
    )
    assert asked(tmp_path, unit, silences=2) == (state, 3)


def test_one_that_does_not_run_is_not_waited_for(tmp_path: Path) -> None:
    assert asked(tmp_path, "inactive", silences=9) == (None, 1)


def test_one_that_never_answers_is_waited_for_no_longer_than_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_STARTING_SECONDS", 1)
    assert asked(tmp_path, "active", silences=99)[0] is None


def test_no_answer_is_not_an_empty_database(run_deploy: Deploy) -> None:
    run = run_deploy(answers={"FORMAT TSV; SELECT": []})
    assert run.matching("ClickHouse does not answer: what its schema lacks is not known")
    assert run.matching("--database=cvat --multiquery") == []
    assert run_deploy().matching("--database=cvat --multiquery")


class Late(list[str]):
    """An answer that is empty the first time."""

    asked = 0

    def __iter__(self) -> Iterator[str]:
        self.asked += 1
        return super().__iter__() if self.asked > 1 else iter(())


def test_what_is_kept_is_not_shortened_where_nobody_could_be_asked_because_the_store_was_away(
    run_deploy: Deploy,
) -> None:
    def run(settings: dict[str, str]) -> Run:
        answers = {
            "os-release": [*DEBIAN_12.splitlines(), "package=clickhouse-client 26.8.19.9 installed"],
            "FORMAT TSV; SELECT": Late(["events\tReplacingMergeTree ORDER BY a", "applied"]),
        }
        return run_deploy(settings=settings, answers=answers)

    shorter = run({"events_retention": "30d"})
    assert shorter.matching(
        "nobody could be asked about a shorter events_retention. Now it does: run it again"
    )
    assert shorter.matching("--database=cvat --multiquery") == []
    assert run({}).matching("--database=cvat --multiquery")

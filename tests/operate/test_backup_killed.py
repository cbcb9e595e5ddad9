"""kill -9 in the middle of each step of each operation: after the same command once more everything is right, and nothing is left."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.operate.backup import questions, running
from cvat_analytics.operate.backup.agent import keeping
from cvat_analytics.operate.backup.agent.restic import Restic
from tests.clickhouse import Store
from tests.operate.backup_site import NOW, Site, events, site
from tests.waiting import until

CREATE = ("target", "clickhouse", "tables", "grafana", "journal", "inventory", "manifest")
PROVE = ("fetch", "restore", "compare", "schema", "queries")
PRUNE = ("forget", "prune")
PREPARE = ("fetch", "restore", "compare", "schema")
PUT = ("table events", "counts and working time are noted anew", "replay", "whole originals of dead letters")
"""Steps of the command that puts in what the agent has prepared, killed as they end."""
HOUR = f"{datetime.now(UTC):%Y-%m-%dT%H}"
LETTERS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("known", "erased")}


@pytest.fixture(scope="module")
def here(shared_engine: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a stack with all parts, and one backup of it."""
    directory = tmp_path_factory.mktemp("killed")
    (checks := directory / "checks.json").write_text(questions.text())
    with shared_engine.another() as store:
        made = site(store, directory / "site", str(directory / "repository"), checks)
        with closing(sqlite3.connect(directory / "grafana.db")) as database, database:
            database.execute("CREATE TABLE user (login)")
        (directory / "inventory.age").write_text("locked")
        database_file, archive = str(directory / "grafana.db"), str(directory / "inventory.age")
        made = replace(made, config=replace(made.config, grafana_database=database_file, inventory=archive))
        rows = events(30) + events(20, user=2, month=1)
        store.insert(rows)
        in_journal(made, f"events-{HOUR}.jsonl", rows[:5] + events(3, first=500))
        in_journal(
            made,
            f"dead-letters-{HOUR}.jsonl",
            [{"sha256": each, "original": name} for name, each in LETTERS.items()],
        )
        letter = {"received_at": f"{NOW:%Y-%m-%d %H:%M:%S}.000", "reason": "not JSON", "message": "no", "original": "k",
                  "original_sha256": LETTERS["known"], "original_file": f"dead-letters-{HOUR}.jsonl"}  # fmt: skip
        store.post(
            f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow\n{json.dumps(letter)}", user="vector"
        )
        made.agent("create")
        yield made


def in_journal(where: Site, name: str, rows: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    (Path(where.config.journal) / name).write_text(lines)


def originals(where: Site) -> list[str]:
    files = sorted(Path(where.config.journal).glob("dead-letters-*"))
    return [json.loads(line)["original"] for file in files for line in file.read_text().splitlines()]


def assert_nothing_is_left(where: Site) -> None:
    config, database = where.config, where.store.database
    assert list(Path(config.staging).iterdir()) == []
    assert list((Path(config.target) / "locks").iterdir()) == []
    assert {path.name for path in Path(config.state).iterdir()} <= {
        "cache", "targets.json", "lock", "restoring.lock", "last.json", "manifest.json",
    }  # fmt: skip
    left = (
        f"SELECT (SELECT count() FROM system.databases WHERE name = '{database}_restored') "
        f"+ (SELECT count() FROM system.processes WHERE query_kind IN ('Backup', 'Restore')), "
        f"(SELECT groupArray(name) FROM {database}.backups FINAL WHERE state = 'running')"
    )
    assert json.loads(where.store.post(left))["data"] == [[0, []]]
    restic = Restic(config)
    listed = {each["name"] for each in keeping.backups(restic)}
    assert [each for each in restic.snapshots() if not listed.intersection(keeping.names(each))] == []


def test_in_each_step_of_a_backup(here: Site) -> None:
    before = {each["name"] for each in here.agent("list")["backups"]}
    for step in CREATE:
        here.killed(step, "create")
    assert {each["name"] for each in here.agent("list")["backups"]} == before
    manifest = here.agent("create")["manifest"]
    assert manifest["parts"].keys() == {"tables", "grafana", "journal", "inventory"}
    assert_nothing_is_left(here)
    cut_off = "SELECT count(), uniqExact(message) FROM backups FINAL WHERE state = 'failed'"
    # those of one second have one name
    ((count, messages),) = json.loads(here.store.post(cut_off))["data"]
    assert (0 < count <= len(CREATE), messages) == (True, 1)


def test_in_each_step_of_a_proof(here: Site) -> None:
    for step in PROVE:
        here.killed(step, "verify", "--restore")
    assert here.agent("list")["backups"][0]["proven"] is False
    here.agent("verify", "--restore")
    assert here.agent("list")["backups"][0]["proven"] is True
    assert_nothing_is_left(here)


def test_in_each_step_of_pruning(here: Site) -> None:
    here = replace(here, config=replace(here.config, keep_daily=1, keep_weekly=0, keep_monthly=0))
    newest = here.agent("create")["manifest"]["name"]
    for step in PRUNE:
        here.killed(step, "prune")
    kept = here.agent("prune")["kept"]
    assert newest in kept
    here.agent("verify")
    assert_nothing_is_left(here)
    gone = "SELECT groupArray(name) FROM backups FINAL WHERE state = 'complete'"
    ((noted,),) = json.loads(here.store.post(gone))["data"]
    assert set(noted) == set(kept)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_in_each_step_of_a_restore(here: Site) -> None:
    expected = here.sums()
    for table in (
        "events",
        "events_dead_letter",
        "event_days",
        "working_time_days",
        "known_names",
        "job_changes",
    ):
        here.store.post(f"TRUNCATE TABLE {table}")
    (Path(here.config.journal) / f"dead-letters-{HOUR}.jsonl").unlink()
    for step in PREPARE:
        here.killed(step, "prepare", "--views")
    for step in PUT:
        restored_and_killed(here, step)
    for _ in range(2):
        here.restore()
        # what was in the journal alone has come, too, and nothing twice
        found = here.sums()
        assert found["events"][0][0] == expected["events"][0][0] + 3
        assert {name: found[name] for name in ("dead letters", "changes of jobs", "names")} == {
            name: expected[name] for name in ("dead letters", "changes of jobs", "names")
        }
        assert originals(here) == ["known"]
        assert_nothing_is_left(here)


def restored_and_killed(where: Site, step: str) -> None:
    """Restore as the command does, in a process that kills itself at the end of that step."""
    # of the run before, which nobody listens to any more
    until(lambda: where.agent("drop"), "the agent before has ended", despite=CvatAnalyticsError)

    def die(said: running.Said) -> None:
        if said["step"] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    if not (child := os.fork()):
        try:
            where.restore(tell=die)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_the_same_one_is_not_restored_twice_at_once(here: Site) -> None:
    before = here.sums()
    with (
        here.reached.hold(),
        pytest.raises(
            CvatAnalyticsError,
            match=r"another restore is at work here \(process \d+, since .*Wait for its end",
        ),
    ):
        here.restore()
    assert here.sums() == before


def test_what_a_timer_starts_is_tried_again_unless_it_never_can_go_well(here: Site, tmp_path: Path) -> None:
    login = tmp_path / "login"
    late = replace(here, config=replace(here.config, clickhouse_password_file=str(login)), directory=tmp_path)
    tried: list[str] = []
    with late.begun("--again", "0.2", "create") as process:
        for line in process.stdout or ():
            said = json.loads(line)
            if said["state" if "state" in said else "step"] == "note":
                tried.append(said["message"])
                if len(tried) == 2:
                    login.write_text(Path(here.config.clickhouse_password_file).read_text())
    assert said["exit_code"] == 0
    assert len(tried) == 2
    assert tried[0].startswith("failed, and is tried again in 0.2 s: ClickHouse at ")
    # three times more, not for ever; and not at all with what no time mends
    login.unlink()
    for words, code, notes in ((("create",), 3, 3), (("fetch", "2020-01-01T00-00-00Z", "journal"), 2, 0)):
        with late.begun("--again", "0.1", *words) as process:
            lines = [json.loads(line) for line in process.stdout or ()]
        assert (lines[-1]["exit_code"], sum(each.get("state") == "note" for each in lines)) == (code, notes)

"""A database of each state that was kept is brought to today's as a deploy does it, while the Vector of then goes on inserting."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.operate.backup import questions
from cvat_analytics.store import migrations
from cvat_analytics.store.migrations import Script
from tests.clickhouse import Store
from tests.operate.backup_site import site

RELEASES = sorted(path for path in Path(__file__).parent.iterdir() if (path / "clickhouse").is_dir())
SHOWN = "timestamp, scope, source, obj_id, obj_name, count, duration, user_id, job_id, payload"


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def store(shared_engine: Store, release: Path) -> Iterator[Store]:
    """Return a database as that release has left it, with the events that its Vector has inserted."""
    with shared_engine.another() as store:
        name = store.database
        store.post(f"DROP DATABASE {name} SYNC", database="default")
        for statement in migrations.bootstrap(name):
            store.post(statement, database="default")
        migrations.apply(scripts_of(release), name, store.post)
        inserted(store, release)
        yield store


def scripts_of(release: Path) -> list[Script]:
    """Return the scripts of a release in the order in which they apply."""
    directory = release / "clickhouse"
    once = [directory / "init.sql", *sorted((directory / "migrations").glob("*.sql"))]
    views = sorted((directory / "views").glob("*.sql"))
    return [
        Script(str(path.relative_to(directory)), "once" if path in once else "view", path.read_text())
        for path in (*once, *views)
    ]


def inserted(store: Store, release: Path) -> None:
    """Insert the release's events into where the Vector of that release inserts them."""
    configuration = (release / "files/etc/vector/vector.toml").read_text()
    (table,) = set(re.findall(r"INSERT\+INTO\+(\w*events)\+", configuration))
    store.post(
        f"INSERT INTO {table} FORMAT JSONEachRow\n{(release / 'events.jsonl').read_text()}", user="vector"
    )


def ledger(store: Store) -> dict[str, str]:
    return {
        str(name): str(checksum) for name, checksum in answer(store, migrations.applied_query(store.database))
    }


def answer(store: Store, query: str) -> list[list[Any]]:
    rows: list[list[Any]] = json.loads(store.post(query))["data"]
    return rows


def numbers(store: Store) -> dict[str, Any]:
    """Return what readers see: the events, and what is made of them."""
    store.refresh()
    return {
        "events": answer(store, f"SELECT {SHOWN} FROM events FINAL ORDER BY {SHOWN}"),
        "working time": answer(
            store,
            "SELECT user_id, job_id, day, sum(computed_ms), sum(reported_ms), sum(events) FROM working_time GROUP BY ALL ORDER BY ALL",
        ),
        "counts": answer(
            store, "SELECT scope, user_id, sum(events) FROM event_counts GROUP BY ALL ORDER BY ALL"
        ),
        "completed": answer(store, "SELECT DISTINCT job_id, timestamp FROM completed_jobs ORDER BY ALL"),
    }


def test_a_deploy_brings_it_to_today_with_all_its_events_and_its_own_deploy_refuses_it_then(
    store: Store, release: Path
) -> None:
    then, now = scripts_of(release), migrations.read(ROOT / "clickhouse")
    before = numbers(store)
    assert len(before["events"]) == len((release / "events.jsonl").read_text().splitlines())
    assert all(before.values())
    assert migrations.pending(then, ledger(store)) == []

    pending = migrations.pending(now, ledger(store))
    migrations.apply(pending, store.database, store.post)
    assert numbers(store) == before
    # the Vector of then sends the same once more, and something new
    inserted(store, release)
    assert numbers(store) == before
    store.insert(
        [{"scope": "save:job", "source": "client", "timestamp": "2026-11-01 10:00:00.000", "user_id": 1}]
    )
    assert len(numbers(store)["events"]) == len(before["events"]) + 1

    assert migrations.pending(now, ledger(store)) == []
    newer = [script.name for script in pending if script.kind == "once"]
    assert newer
    with pytest.raises(InputError) as refused:
        migrations.pending(then, ledger(store))
    assert str(refused.value) == (
        f"the database has {', '.join(newer)}, which this checkout lacks: it was deployed from a newer one. Update the checkout"
    )


def test_a_backup_of_it_comes_back_into_today_s_a_month_alone_and_all_of_it(
    store: Store, release: Path, shared_engine: Store, tmp_path: Path
) -> None:
    (checks := tmp_path / "checks.json").write_text(questions.text())
    target = str(tmp_path / "repository")
    before = numbers(store)
    ((month,),) = answer(store, "SELECT toYYYYMM(max(timestamp)) FROM events")
    of_month = answer(
        store, f"SELECT {SHOWN} FROM events FINAL WHERE toYYYYMM(timestamp) = {month} ORDER BY {SHOWN}"
    )
    site(store, tmp_path / "then", target, checks, is_todays=False).agent("create")
    with shared_engine.another() as empty:
        today = site(empty, tmp_path / "today", target, checks)
        today.restore("--table=events", f"--month={month}")
        assert answer(empty, f"SELECT {SHOWN} FROM events FINAL ORDER BY {SHOWN}") == of_month
        today.restore()
        assert numbers(empty) == before


def test_the_changelog_says_which_migrations_the_next_deploy_runs() -> None:
    """Those that the newest state lacks which was kept: what an operator of that one gets."""
    there = {script.name for script in scripts_of(RELEASES[-1])}
    coming = [script.name for script in migrations.read(ROOT / "clickhouse") if script.kind == "once"]
    unreleased = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    missing = [
        name
        for name in coming
        if name not in there and name.removeprefix("migrations/").removesuffix(".sql") not in unreleased
    ]
    assert missing == [], "name them in CHANGELOG.md, below 'The next deploy', with how long they take"

"""What a shorter retention would delete is counted before it does, in the tables and in the journal."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from cvat_analytics.config.settings import Settings
from cvat_analytics.config.validation import validate
from cvat_analytics.connect.access import pairs
from cvat_analytics.rendering.render import vector_files
from cvat_analytics.store import migrations
from deploys import losses
from deploys.losses import Journal, JournalFile, JournalState
from tests.clickhouse import Store, context, way_to

DAY = 86400


def settings(**values: object) -> Settings:
    return validate(values, where="test")


def answered(store: Store, question: str) -> list[list[str]]:
    return [[str(value) for value in row] for row in json.loads(store.post(question))["data"]]


@pytest.fixture(scope="module")
def store(shared_engine: Store) -> Iterator[Store]:
    """Yield a database in which 40 events of 2020, each twice, and some of today are, and five dead letters up to 40 days old."""
    with shared_engine.another() as database:
        for _ in range(2):
            database.post(
                "INSERT INTO events (scope, source, timestamp, user_id) SELECT 'a', 'test', toDateTime('2020-01-01 00:00:00', 'UTC') + "
                "number * 86400, number FROM numbers(40)"
            )
        database.post(
            "INSERT INTO events (scope, source, timestamp) SELECT 'a', 'test', now64(3) - number FROM numbers(9)"
        )
        database.post(
            "INSERT INTO events_dead_letter (received_at, message) SELECT now64(3) - toIntervalDay(number * 10), toString(number) FROM numbers(5)"
        )
        yield database


def found(store: Store, **values: object) -> list[str]:
    """Return the losses that a deploy with these settings would tell."""
    engines = pairs(way_to(store.context).client(), migrations.engines_query(store.database))
    chosen = settings(database=store.database, **values)
    said = [each.loss(answered(store, each.question)) for each in losses.shorter(chosen, engines)]
    return [loss for loss in said if loss]


def apply(store: Store, **values: object) -> None:
    client = way_to(store.context).client()
    chosen = settings(database=store.database, **values)
    for statement in migrations.retention(chosen, pairs(client, migrations.engines_query(store.database))):
        if "system." not in statement:
            client.command(statement)


def test_events_and_dead_letters_that_a_shorter_retention_deletes_are_counted_once_with_their_times(
    store: Store,
) -> None:
    assert found(store, events_retention="forever", dead_letters_retention="forever") == []
    (events,) = found(store, events_retention="400d", dead_letters_retention="forever")
    assert events == (
        "events_retention forever -> 400d: 40 events from 2020-01-01 00:00:00 to 2020-02-09 00:00:00 UTC will be deleted"
    )
    _, letters = found(store, events_retention="400d", dead_letters_retention="15d")
    assert letters.startswith("dead_letters_retention forever -> 15d: 3 dead letters from ")
    _, letter = found(store, events_retention="400d", dead_letters_retention="35d")
    assert letter.startswith("dead_letters_retention forever -> 35d: 1 dead letter from ")

    apply(store, events_retention="4000d", dead_letters_retention="90d")
    assert found(store, events_retention="4000d", dead_letters_retention="90d") == []
    assert found(store, events_retention="forever", dead_letters_retention="1y") == [], "longer"
    assert found(store, events_retention="3999d", dead_letters_retention="89d") == [], "nothing is that old"
    (events,) = found(store, events_retention="36h", dead_letters_retention="90d")
    assert events.startswith("events_retention 4000d -> 36h: 40 events from 2020-01-01")


NOW = 1_790_000_000.0


def journal(*ages: int, bytes_each: int = 2**20) -> JournalState:
    """Return a journal of thirty days and 20 GiB that has a file of each age in days."""
    files = [
        JournalFile(NOW - age * DAY, bytes_each, f"events-2026-01-{31 - age:02}T05.jsonl.zst") for age in ages
    ]
    return JournalState(NOW, timedelta(days=30), 20 * 2**30, files)


@pytest.mark.parametrize(
    ("state", "values", "expected"),
    [
        (journal(29, 8, 1), {}, []),
        (journal(29, 8, 1), {"journal_retention": "60d", "journal_max_size": "30GiB"}, []),
        (journal(3, 2, 1), {"journal_retention": "7d", "journal_max_size": "3MiB"}, []),
        (
            journal(29, 8, 1),
            {"journal_retention": "7d"},
            ["journal_retention 30d -> 7d: 2 files of the journal with events of 2026-01-02T05 to 2026-01-23T05, 2,097,152 bytes, will be"],
        ),
        (
            journal(29, 8, 3, 1),
            {"journal_retention": "10d", "journal_max_size": "2MiB"},
            [
                "journal_retention 30d -> 10d: 1 file of the journal with events of 2026-01-02T05 to 2026-01-02T05, 1,048,576 bytes",
                "journal_max_size 21,474,836,480 -> 2,097,152 bytes: 1 file of the journal with events of 2026-01-23T05 to 2026-01-23T05",
            ],
        ),
        (JournalState(), {"journal_retention": "1h"}, []),
    ],
    ids=["same", "longer", "fits", "shorter", "both", "first deploy"],
)  # fmt: skip
def test_files_of_the_journal_that_go(
    state: JournalState, values: dict[str, str], expected: Sequence[str]
) -> None:
    said = list(losses.of_journal(settings(**values), state))
    assert [loss[: len(start)] for loss, start in zip(said, expected, strict=True)] == list(expected)


def test_what_a_journal_keeps_is_read_from_the_files_that_say_it(tmp_path: Path) -> None:
    files = vector_files(context(tmp_path, journal_retention="11d", journal_max_size="3GiB"))
    (age,) = [file for file in files if file.path.endswith("cvat-analytics-vector.conf")]
    (keeping,) = [file for file in files if file.path.endswith("keep-journal")]
    (tmp_path / "age").write_text(age.content)
    (tmp_path / "keeping").write_text(keeping.content)
    directory = tmp_path / "it's the journal"
    directory.mkdir()
    for name in (
        "events-2026-01-02T05.jsonl.zst",
        "dead-letters-2026-01-01T04.jsonl",
        ".events-2026-01-01T01.jsonl.zst.new",
    ):
        (directory / name).write_text("five\n")
        os.utime(directory / name, (NOW, NOW))
    places = {"directory": str(directory), "age": str(tmp_path / "age"), "keeping": str(tmp_path / "keeping")}
    done = subprocess.run(
        ["sh", "-c", Journal().command(**places)], capture_output=True, text=True, check=True
    )
    state = Journal().process(done.stdout.splitlines())
    assert (state.kept, state.size) == (timedelta(days=11), 3 * 2**30)
    assert list(state.files) == [
        JournalFile(NOW, 5, "dead-letters-2026-01-01T04.jsonl"),
        JournalFile(NOW, 5, "events-2026-01-02T05.jsonl.zst"),
    ]
    nowhere = {name: str(tmp_path / "no" / name) for name in places}
    done = subprocess.run(
        ["sh", "-c", Journal().command(**nowhere)], capture_output=True, text=True, check=True
    )
    assert Journal().process(done.stdout.splitlines()).files == []

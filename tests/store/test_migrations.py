"""Which scripts a database still needs, and that a rewritten history is refused."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config.validation import validate
from cvat_analytics.store import migrations
from cvat_analytics.store.migrations import Script

INIT = Script("init.sql", "once", "CREATE TABLE a")
FIRST = Script("migrations/0001_first.sql", "once", "ALTER TABLE a")
SECOND = Script("migrations/0002_second.sql", "once", "ALTER TABLE a AGAIN")
VIEW = Script("views/v.sql", "view", "CREATE OR REPLACE VIEW v")
ALL = [INIT, FIRST, SECOND, VIEW]


def ledger(*scripts: Script) -> dict[str, str]:
    return {script.name: script.checksum for script in scripts}


@pytest.mark.parametrize(
    ("applied", "expected"),
    [
        ({}, ALL),
        (ledger(INIT), [FIRST, SECOND, VIEW]),
        (ledger(INIT, FIRST, VIEW), [SECOND]),
        (ledger(*ALL), []),
        (ledger(INIT, FIRST, SECOND) | {VIEW.name: "an older text"}, [VIEW]),
        (ledger(*ALL) | {"views/removed.sql": "whatever"}, []),
    ],
)
def test_what_is_pending(applied: dict[str, str], expected: list[Script]) -> None:
    assert migrations.pending(ALL, applied) == expected


@pytest.mark.parametrize(
    ("scripts", "applied", "message"),
    [
        (
            ALL,
            ledger(INIT, SECOND) | {FIRST.name: "another text"},
            "clickhouse/migrations/0001_first.sql was changed after it had been applied: undo the change and write a new migration instead",
        ),
        (
            ALL,
            ledger(INIT, SECOND),
            "clickhouse/migrations/0001_first.sql sorts before migrations/0002_second.sql, which is already applied: give it the next free number",
        ),
        (
            [INIT, VIEW],
            ledger(INIT, FIRST),
            "the database has migrations/0001_first.sql, which this checkout lacks: it was deployed from a newer one. Update the checkout",
        ),
    ],
)
def test_a_rewritten_history_is_refused_by_name(
    scripts: list[Script], applied: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        migrations.pending(scripts, applied)
    assert str(caught.value) == message


@given(st.integers(0, len(ALL)))
def test_an_interrupted_run_is_completed_by_the_next(stopped_after: int) -> None:
    executed: list[str] = []
    applied: dict[str, str] = {}

    def run(statement: str) -> None:
        if len(applied) == stopped_after and not executed.count("stopped"):
            executed.append("stopped")
            raise ConnectionError
        executed.append(statement)
        for script in ALL:
            if statement == migrations.record(script, "cvat"):
                applied[script.name] = script.checksum

    for _ in range(2):
        try:
            migrations.apply(migrations.pending(ALL, applied), "cvat", run)
        except ConnectionError:
            continue
    assert applied == ledger(*ALL)
    assert migrations.pending(ALL, applied) == []


def test_the_repository_s_own_scripts_are_well_named_and_numbered() -> None:
    scripts = migrations.read(ROOT / "clickhouse")
    assert scripts[0].name == "init.sql"
    assert [script.name for script in scripts if script.kind == "view"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1_short.sql"], "migration 1_short.sql: its name must be NNNN_name.sql"),
        (["0001_a.sql", "0001_b.sql"], "migrations 0001_a.sql and 0001_b.sql: both have number 0001"),
    ],
)
def test_badly_named_migrations_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "init.sql").write_text("SELECT 1")
    for name in names:
        (tmp_path / "migrations" / name).write_text("SELECT 1")
    with pytest.raises(InputError, match=message):
        migrations.read(tmp_path)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", ["SELECT 1"]),
        (
            "SELECT 1;\n-- a comment; with a semicolon\nSELECT ';', \"a;b\";",
            ["SELECT 1", "SELECT ';', \"a;b\""],
        ),
        ("SELECT 'it\\'s; one';;SELECT 2 /* ; */", ["SELECT 'it\\'s; one'", "SELECT 2 /* ; */"]),
        ("-- nothing\n", []),
    ],
)
def test_statements_are_split_where_clickhouse_would(sql: str, expected: list[str]) -> None:
    assert migrations.statements(sql) == expected


EVENTS = (
    "ReplacingMergeTree PARTITION BY toYYYYMM(timestamp) ORDER BY a{ttl} SETTINGS index_granularity = 8192"
)
YEAR = f" TTL toDateTime(timestamp) + toIntervalSecond({365 * 86400})"


@pytest.mark.parametrize(
    ("keep", "ttl", "expected"),
    [
        ("forever", "", []),
        ("1y", YEAR, []),
        (
            "1y",
            "",
            [f"ALTER TABLE cvat.events MODIFY TTL toDateTime(timestamp) + toIntervalSecond({365 * 86400})"],
        ),
        (
            "2d",
            YEAR,
            [f"ALTER TABLE cvat.events MODIFY TTL toDateTime(timestamp) + toIntervalSecond({2 * 86400})"],
        ),
        ("forever", YEAR, ["ALTER TABLE cvat.events REMOVE TTL"]),
    ],
)
def test_retention_changes_only_what_differs(keep: str, ttl: str, expected: list[str]) -> None:
    settings = validate({"events_retention": keep}, where="x")
    assert migrations.retention(settings, {"events": EVENTS.format(ttl=ttl)}) == expected


def test_retention_of_dead_letters_has_a_default() -> None:
    settings = validate({}, where="x")
    assert settings.dead_letters_retention == timedelta(days=90)
    (statement,) = migrations.retention(settings, {"events_dead_letter": "ReplacingMergeTree ORDER BY a"})
    assert statement.startswith("ALTER TABLE cvat.events_dead_letter MODIFY TTL toDateTime(received_at)")


LOG = "MergeTree PARTITION BY event_date ORDER BY event_time{} SETTINGS index_granularity = 8192"
FORTNIGHT = " TTL event_date + toIntervalDay(14)"


@pytest.mark.parametrize(
    ("keep", "engines", "expected"),
    [
        ("14d", {"system.query_log": LOG.format(FORTNIGHT)}, []),
        (
            "3d",
            {"system.query_log": LOG.format(FORTNIGHT), "system.part_log_2": LOG.format("")},
            [
                "ALTER TABLE system.query_log MODIFY TTL event_date + toIntervalDay(3)",
                "ALTER TABLE system.part_log_2 MODIFY TTL event_date + toIntervalDay(3)",
            ],
        ),
        (
            "forever",
            {"system.metric_log": LOG.format(FORTNIGHT)},
            ["ALTER TABLE system.metric_log REMOVE TTL"],
        ),
        ("1h", {"system.error_log_0": LOG.format(" TTL event_date + toIntervalDay(1)")}, []),
        (
            "14d",
            {"system.asynchronous_metric_log_0": "empty"},
            ["DROP TABLE system.asynchronous_metric_log_0"],
        ),
        # neither ours to keep nor a log: whoever made it knows why
        ("14d", {"system.trace_log": LOG.format(""), "system.query_log_old": LOG.format("")}, []),
    ],
)
def test_clickhouse_s_own_logs_follow_the_setting_even_those_put_aside(
    keep: str, engines: dict[str, str], expected: list[str]
) -> None:
    assert migrations.retention(validate({"system_logs_retention": keep}, where="x"), engines) == expected


RULE = {
    "threshold_ms": "100000",
    "duration_scopes": "change:frame",
    "retention_seconds": "0",
    "time_zone": "UTC",
    "refresh_seconds": "20",
}
VIEWS = [Script("views/working_time.sql", "view", "DROP VIEW a; CREATE VIEW a")]
INSERT = "INSERT INTO cvat.working_time_settings (threshold_ms, duration_scopes, retention_seconds, time_zone) VALUES "


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"working_time_threshold": "2m"}, [INSERT + "(120000, ['change:frame'], 0, 'UTC')"]),
        ({"working_time_threshold": "1500ms"}, [INSERT + "(1500, ['change:frame'], 0, 'UTC')"]),
        ({"time_zone": "Asia/Tokyo"}, [INSERT + "(100000, ['change:frame'], 0, 'Asia/Tokyo')"]),
        (
            {"working_time_delay": "5s"},
            ["ALTER TABLE cvat.working_time_refresh MODIFY REFRESH EVERY 5 SECOND APPEND"],
        ),
        (
            {"working_time_duration_scopes": ["change:frame", "draw:object"]},
            [
                INSERT + "(100000, ['change:frame', 'draw:object'], 0, 'UTC')",
                "TRUNCATE TABLE cvat.working_time_days",
                "DROP VIEW a",
                "CREATE VIEW a",
                "ALTER TABLE cvat.working_time_refresh MODIFY REFRESH EVERY 20 SECOND APPEND",
            ],
        ),
    ],
)
def test_the_rule_of_working_time_changes_only_what_differs(
    values: dict[str, str | list[str]], expected: list[str]
) -> None:
    assert migrations.working_time(validate(values, where="x"), RULE, VIEWS) == expected


def test_a_database_without_working_time_is_left_alone() -> None:
    assert migrations.working_time(validate({}, where="x"), {}, VIEWS) == []

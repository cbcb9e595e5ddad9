"""Each alert's query runs on the real engine, fires over what it is for and over nothing else, and can be turned off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.validation import validate
from cvat_analytics.dashboards import DATASOURCE_TYPE, DATASOURCE_UID, Dashboard, Query, TimeRange, expand
from cvat_analytics.dashboards.lint_sql import _databases, _parsed, _scopes
from cvat_analytics.dashboards.macro_versions import differences
from cvat_analytics.rendering import alerts, render
from cvat_analytics.rendering.context import Context
from tests.clickhouse import Store, context, running

NAMES = [rule.name for rule in alerts.rules(Settings())]
NO_DASHBOARD = Dashboard("", "", Path(), (), {}, {})
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
MONDAY = TODAY - timedelta(days=TODAY.weekday() + 7)
"""Last week's: what Vector said of itself is kept for 30 days only."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an engine of these tests' own: what they insert would be in the way of others."""
    with running(tmp_path_factory.mktemp("store")) as engine:
        yield engine


@pytest.fixture
def empty(store: Store) -> Store:
    """Return it with nothing in it."""
    for table in ("events", "events_dead_letter", "pipeline_metrics"):
        store.post(f"TRUNCATE TABLE {table}")
    return store


def _document(**settings: Any) -> dict[str, Any]:
    made = context(Path("/nowhere"), **settings)
    (file,) = render.alerts_off(made)
    document = yaml.safe_load(file.content)
    assert isinstance(document, dict)
    return document


def _rule(name: str, **settings: Any) -> dict[str, Any]:
    (group,) = _document(alerts=True, **settings)["groups"]
    (rule,) = [rule for rule in group["rules"] if rule["uid"] == f"cvat-analytics-{name}"]
    assert isinstance(rule, dict)
    return rule


def _sql(rule: dict[str, Any], at: datetime) -> str:
    """Return what the plugin makes of a rule's query; there is no browser to replace anything else."""
    query, _ = rule["data"]
    begin = at - timedelta(seconds=query["relativeTimeRange"]["from"])
    return expand(Query(rule["title"], query["model"]["rawSql"]), NO_DASHBOARD, TimeRange(begin, at))


def _values(store: Store, name: str, at: datetime, **settings: Any) -> list[tuple[float, bool]]:
    """Return what a rule's query finds at a time, row by row, and whether Grafana's threshold is crossed."""
    rule = _rule(name, **settings)
    rows = store.rows(_sql(rule, at))
    (condition,) = rule["data"][1]["model"]["conditions"]
    (limit,) = condition["evaluator"]["params"]
    found = []
    for row in rows:
        # Grafana makes an alert of each row of a table that has one number; texts become labels
        numbers = [value for value in row.values() if not isinstance(value, str)]
        # 64-bit integers stand in quotes in ClickHouse's JSON: by name
        numbers = numbers or [float(row[key]) for key in row if key not in ("disk",)]
        (number,) = numbers
        crossed = number > limit if condition["evaluator"]["type"] == "gt" else number < limit
        found.append((float(number), crossed))
    return found


def _event(at: datetime, arrived: datetime | None = None, **changes: Any) -> dict[str, Any]:
    time = f"{at:%Y-%m-%d %H:%M:%S}.000"
    event = {"scope": "save:job", "source": "client", "timestamp": time, "user_id": 1, "duration": 0}
    return event | {"received_at": f"{arrived or at:%Y-%m-%d %H:%M:%S}"} | changes


def _insert(store: Store, table: str, rows: Sequence[dict[str, Any]]) -> None:
    body = "\n".join(json.dumps(row) for row in rows)
    columns = ", ".join(rows[0])
    store.post(
        f"INSERT INTO {table} ({columns}) SETTINGS insert_allow_materialized_columns = 1, date_time_input_format = 'best_effort' FORMAT JSONEachRow\n{body}"
    )


# Rendering


def test_the_rules_use_only_documented_keys_and_are_the_ones_that_are_described() -> None:
    document = _document(alerts=True, alert_webhook_url="https://hook.example.org/x", alert_webhook_token=True,
                         alert_emails=["ops@example.org"], smtp_host="mail.example.org:587")  # fmt: skip
    # https://grafana.com/docs/grafana/latest/alerting/set-up/provision-alerting-resources/file-provisioning/
    assert set(document) == {"apiVersion", "contactPoints", "groups"}
    (group,) = document["groups"]
    assert set(group) == {"orgId", "name", "folder", "interval", "rules"}
    assert [rule["uid"] for rule in group["rules"]] == [f"cvat-analytics-{name}" for name in NAMES]
    page = (ROOT / "docs" / "alerts.md").read_text()
    for rule in group["rules"]:
        assert set(rule) == {
            "uid", "title", "condition", "data", "for", "noDataState", "execErrState", "isPaused", "labels",
            "annotations", "notification_settings",
        }  # fmt: skip
        assert (rule["condition"], rule["isPaused"]) == ("B", False)
        query, threshold = rule["data"]
        assert set(query) == {"refId", "datasourceUid", "relativeTimeRange", "model"}
        assert query["model"]["datasource"] == {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}
        assert (query["datasourceUid"], query["model"]["refId"], query["model"]["format"]) == (
            DATASOURCE_UID,
            "A",
            1,
        )
        assert (threshold["datasourceUid"], threshold["model"]["expression"]) == ("__expr__", "A")
        assert f"\n## {rule['title']}\n" in page
    for point in document["contactPoints"]:
        assert set(point) == {"orgId", "name", "receivers"}
        assert [set(receiver) for receiver in point["receivers"]] == [{"uid", "type", "settings"}] * 2


@pytest.mark.parametrize("name", NAMES)
def test_a_query_has_nothing_that_only_a_browser_would_replace_and_names_no_database(name: str) -> None:
    rule = _rule(name)
    sql = rule["data"][0]["model"]["rawSql"]
    assert "$__conditionalAll" not in sql
    assert differences(sql) == []  # whatever the plugin's version
    tree, complaint = _parsed(_sql(rule, MONDAY))  # an unknown variable or macro would raise
    assert (tree is not None, complaint) == (True, "")
    assert [*_databases(tree), *_scopes(tree)] == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "receivers"),
    [
        ({}, []),
        (
            {"alert_emails": ["a@example.org", "b@example.org"], "smtp_host": "mail.example.org:587"},
            [("email", {"addresses": "a@example.org;b@example.org", "singleEmail": True})],
        ),
        (
            {"alert_webhook_url": "https://hook.example.org/$x?a=1&b='2'"},
            # Grafana makes $ of $$
            [("webhook", {"url": "https://hook.example.org/$$x?a=1&b='2'", "httpMethod": "POST"})],
        ),
        (
            {"alert_webhook_url": "https://hook.example.org", "alert_webhook_token": True},
            [
                (
                    "webhook",
                    {
                        "url": "https://hook.example.org",
                        "httpMethod": "POST",
                        "authorization_scheme": "Bearer",
                        "authorization_credentials": "$__file{/nowhere/credentials/grafana-server.service/alert_webhook_token}",
                    },
                )
            ],
        ),
    ],
)
def test_whom_it_tells(settings: dict[str, Any], receivers: list[Any]) -> None:
    document = _document(alerts=True, **settings)
    points = document.get("contactPoints", [])
    assert [(r["type"], r["settings"]) for point in points for r in point["receivers"]] == receivers
    named = {rule.get("notification_settings", {}).get("receiver") for rule in document["groups"][0]["rules"]}
    assert named == ({points[0]["name"]} if points else {None})


def test_a_contact_point_s_receivers_are_its_own() -> None:
    """Grafana never takes a receiver out of a contact point, so that a former address must not be in a present one."""
    mail = {"alert_emails": ["a@example.org"], "smtp_host": "m.example.org:25"}
    hook = {"alert_webhook_url": "https://hook.example.org"}
    points = [_document(alerts=True, **each)["contactPoints"][0] for each in (mail, hook, {**mail, **hook})]
    assert len({point["name"] for point in points}) == 3
    assert len({r["uid"] for point in points for r in point["receivers"]}) == 4


def test_off_pauses_and_removes_every_rule_and_mentions_nobody() -> None:
    document = _document(alerts=False, alert_webhook_url="https://hook.example.org")
    assert [rule["uid"] for rule in document["deleteRules"]] == [f"cvat-analytics-{name}" for name in NAMES]
    assert {rule["isPaused"] for rule in document["groups"][0]["rules"]} == {True}
    assert "contactPoints" not in document
    assert "notification_settings" not in str(document)


def test_a_grafana_that_never_had_alerts_gets_no_file() -> None:
    made = context(Path("/nowhere"))
    assert [file.path for file in render.grafana_files(made) if "alerting" in file.path] == []


def test_passwords_are_files_of_the_unit_and_stand_nowhere_else() -> None:
    made = context(
        Path("/nowhere"), alerts=True, alert_emails=["a@example.org"], smtp_host="mail.example.org:587",
        smtp_user="grafana", alert_webhook_url="https://hook.example.org", alert_webhook_token=True,
    )  # fmt: skip
    secrets = {**made.secrets, "smtp_password": "pass;word#1", "alert_webhook_token": "token-1"}
    made = Context(made.host, made.topology, type(made.secrets)(secrets), made.paths)
    files = {file.path: file for file in render.grafana_files(made)}
    unit = files["/nowhere/etc/systemd/system/grafana-server.service.d/cvat-analytics.conf"].content
    for name in ("smtp_password", "alert_webhook_token"):
        file = files[f"/nowhere/etc/cvat-analytics/secrets/grafana-server/{name}"]
        assert (file.content, file.mode, file.secret) == (secrets[name], "600", True)
        assert f"LoadCredential={name}:{file.path}\n" in unit
        assert [path for path, other in files.items() if secrets[name] in other.content] == [file.path]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"smtp_host": "m.example.org:25", "smtp_user": "grafana"}, "smtp_password"),
        ({"alert_webhook_url": "https://h.example.org", "alert_webhook_token": True}, "alert_webhook_token"),
    ],
)
def test_a_password_that_is_missing_is_told_with_the_command_that_takes_it(
    settings: dict[str, Any], name: str
) -> None:
    with pytest.raises(
        InputError, match=rf"the secrets file has no {name}.*`cvat-analytics secrets set {name}`"
    ):
        alerts.check(validate({"alerts": True, **settings}, where="x"), {})
    alerts.check(validate({"alerts": True, **settings}, where="x"), {name: "x"})
    alerts.check(validate({"alerts": False, **settings}, where="x"), {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alert_emails": ["a@example.org"]}, "'smtp_host': needed because 'alert_emails' has addresses"),
        ({"alert_emails": ["a.example.org"], "smtp_host": "m:25"}, "is not an e-mail address"),
        ({"smtp_host": "mail.example.org"}, "is not a host and a port"),
        ({"alert_working_hours": "8-18"}, "are no hours of a day"),
        ({"alert_working_hours": "18:00-08:00"}, "are no hours of a day"),
        ({"alert_working_hours": "08:00-24:30"}, "are no hours of a day"),
        ({"alerts": True, "alert_working_days": []}, "'alert_working_days': name at least one day"),
        ({"alert_webhook_url": "hook"}, "is not a URL"),
        ({"alert_webhook_token": True}, "there is no 'alert_webhook_url'"),
        ({"alert_silence": "1m"}, "alert_silence"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(settings, where="x")
    assert message in str(caught.value)


# Firing


@pytest.mark.parametrize("name", NAMES)
def test_nothing_fires_over_nothing_at_night(empty: Store, name: str) -> None:
    assert [crossed for _, crossed in _values(empty, name, MONDAY + timedelta(hours=3)) if crossed] == []


@pytest.mark.parametrize(
    ("at", "last", "minutes"),
    [
        (timedelta(hours=12), timedelta(hours=11, minutes=50), 10),
        (timedelta(hours=12), timedelta(hours=10, minutes=30), 90),
        # the night and the weekend do not count
        (timedelta(hours=8, minutes=20), timedelta(hours=-60), 20),
        (timedelta(hours=9, minutes=30), timedelta(hours=-60), 90),
        (timedelta(hours=7, minutes=59), timedelta(hours=1), 0),
        (timedelta(hours=18), timedelta(hours=9), 0),
        (timedelta(hours=17, minutes=59), timedelta(hours=9), 539),
        (timedelta(days=-1, hours=12), timedelta(days=-1, hours=1), 0),  # a Sunday
    ],
)
def test_silence_is_counted_in_working_hours(
    empty: Store, at: timedelta, last: timedelta, minutes: int
) -> None:
    _insert(empty, "events", [_event(MONDAY + last), _event(MONDAY + last - timedelta(hours=1))])
    assert _values(empty, "no-events", MONDAY + at) == [(minutes, minutes > 60)]
    assert _values(empty, "no-events", MONDAY + at, alert_silence="10m") == [(minutes, minutes > 10)]


def test_silence_with_no_event_at_all(empty: Store) -> None:
    assert _values(empty, "no-events", MONDAY + timedelta(hours=10)) == [(120, True)]


def test_working_hours_are_those_of_the_time_zone_and_the_days(empty: Store) -> None:
    at = MONDAY + timedelta(hours=1, minutes=30)  # 10:30 in Tokyo
    assert _values(empty, "no-events", at, time_zone="Asia/Tokyo") == [(150, True)]
    assert _values(empty, "no-events", at) == [(0, False)]
    assert _values(empty, "no-events", at, time_zone="Asia/Tokyo", alert_working_days=["tue"]) == [(0, False)]
    assert _values(empty, "no-events", at, alert_working_hours="00:00-24:00") == [(90, True)]


def test_an_old_event_that_arrives_now_is_an_event_that_arrives(empty: Store) -> None:
    noon = MONDAY + timedelta(hours=12)
    _insert(empty, "events", [_event(noon - timedelta(hours=5), noon - timedelta(minutes=3))])
    assert _values(empty, "no-events", noon) == [(3, False)]


def _exceptions(count: int, before: timedelta, spread: timedelta) -> list[dict[str, Any]]:
    noon = MONDAY + timedelta(hours=12)
    return [
        _event(noon - before - spread * n / max(count, 1), scope="send:exception", user_id=n, source="server")
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("recent", "usual_week", "fires"),
    [
        (0, 0, False),
        (20, 0, False),  # not more than the setting
        (21, 0, True),
        (21, 671 * 4, True),  # 4 in each quarter of an hour, now more than 20
        (30, 671 * 7, False),  # 7 is usual there
        (36, 671 * 7, True),
    ],
)
def test_exceptions_fire_when_there_are_many_and_far_more_than_usual(
    empty: Store, recent: int, usual_week: int, fires: bool
) -> None:
    noon = MONDAY + timedelta(hours=12)
    rows = _exceptions(recent, timedelta(0), timedelta(minutes=14))
    rows += _exceptions(usual_week, timedelta(minutes=16), timedelta(days=6.9))
    rows += [_event(noon - timedelta(minutes=1), user_id=n) for n in range(100)]  # others do not count
    _insert(empty, "events", rows)
    assert _values(empty, "exceptions", noon) == [(recent if fires or recent == 20 else 0, fires)]


def test_dead_letters_fire_when_there_is_one(empty: Store) -> None:
    noon = MONDAY + timedelta(hours=12)
    letter = {"received_at": f"{noon - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}.500", "reason": "r", "message": "m", "original": "o"}  # fmt: skip
    _insert(empty, "events_dead_letter", [letter])
    assert _values(empty, "dead-letters", noon) == [(1, True)]
    assert _values(empty, "dead-letters", noon + timedelta(minutes=10)) == [(0, False)]
    assert _rule("dead-letters")["for"] == "120s", "a smoke test's letter is gone by then"


def _metrics(
    name: str, values: Sequence[float], component: str = "events", **tags: str
) -> list[dict[str, Any]]:
    """Return readings every 15 seconds that end at noon."""
    noon = MONDAY + timedelta(hours=12)
    return [
        {
            "time": f"{noon - timedelta(seconds=15 * (len(values) - 1 - position)):%Y-%m-%d %H:%M:%S}",
            "host": "h",
            "name": name,
            "component": component,
            "tags": tags,
            "value": value,
        }
        for position, value in enumerate(values)
    ]


ANSWERS = "http_client_responses_total"


@pytest.mark.parametrize(
    ("refused", "delivered", "fires"),
    [
        ([0] * 10 + [1, 3, 5], range(13), False),  # others are delivered in between
        ([0] * 10 + [1, 3, 5], [*range(10), 9, 9, 9], True),
        ([0] * 9 + [1, 1, 1, 1], [*range(10), 10, 10, 10], False),  # once, and mended before the next reading
        ([0] * 11 + [1, 3], [*range(11), 10, 10], False),  # the next reading tells
        ([7] * 13, [9] * 13, False),  # long ago
        ([1], [], False),
        (range(1, 14), [], True),  # never anything but that
        ([9] * 10 + [1, 2, 3], [9] * 13, True),  # Vector was started anew
        ([], [], False),
    ],
)
def test_a_batch_that_is_refused_again_and_again_fires_within_two_minutes(
    empty: Store, refused: Sequence[float], delivered: Sequence[float], fires: bool
) -> None:
    noon = MONDAY + timedelta(hours=12)
    rows = _metrics(ANSWERS, list(refused), status="500") + _metrics(ANSWERS, list(delivered), status="200")
    # ClickHouse away, and what waits for nobody, are other things
    rows += _metrics("http_client_errors_total", [0, 1, 2], component="dead_letters")
    rows += _metrics(ANSWERS, [0, 1, 2, 3], component="metrics", status="500")
    _insert(
        empty,
        "pipeline_metrics",
        [*rows, *_metrics("uptime_seconds", [1e6 + 15 * n for n in range(13)], component="")],
    )
    found = _values(empty, "refused", noon)
    assert [crossed for _, crossed in found] == [True] * fires
    assert _values(empty, "refused", noon + timedelta(minutes=6)) == [], "Vector has not been heard since"


@pytest.mark.parametrize(("uptime", "fires"), [(1000, True), (70, True), (40, False), (15, False), (3, True)])
def test_a_vector_that_was_started_without_its_buffer_is_refused_no_more(
    empty: Store, uptime: float, fires: bool
) -> None:
    noon = MONDAY + timedelta(hours=12)
    # the last refusal was 45 s ago
    rows = _metrics(ANSWERS, [1, 2, 3, 4, 4, 4, 4], status="500")
    _insert(empty, "pipeline_metrics", rows + _metrics("uptime_seconds", [uptime], component=""))
    assert [crossed for _, crossed in _values(empty, "refused", noon)] == [True] * fires


def _people(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Return changes of annotations, one a minute and person until noon."""
    noon = MONDAY + timedelta(hours=12)
    agent = json.dumps({"request": {"id": "x", "user_agent": "Mozilla/5.0 (X11)"}})
    event: dict[str, Any] = {"scope": "create:shapes", "source": "server", "payload": agent} | changes
    return [
        _event(noon - timedelta(minutes=minute), **{"user_id": person, **event})
        for person in range(1, count + 1)
        for minute in range(20)
    ]


NOBODY = json.dumps({"request": {"id": "x", "user_agent": None}})


@pytest.mark.parametrize(
    ("rows", "fires"),
    [
        ([], False),
        (_people(1), True),
        (_people(3), True),
        (_people(3) + _people(1, scope="change:frame", source="client", user_id=2)[:1], False),
        (_people(1)[:9], False),  # little
        (_people(1)[:12], False),  # its browser may send yet
        (_people(3, payload='{"request": {"id": "x", "user_agent": "cvat_sdk/2.42.0"}}'), False),
        (_people(3, payload=NOBODY), False),  # a worker
        (_people(3, payload='{"request_id": "x"}'), True),  # an older server
        (_people(3, scope="create:task"), False),
        (_people(3, source="unknown"), False),
    ],
)
def test_people_whose_browsers_send_nothing_fire(
    empty: Store, rows: list[dict[str, Any]], fires: bool
) -> None:
    if rows:
        _insert(empty, "events", [row | {"payload": row.get("payload")} for row in rows])
    noon = MONDAY + timedelta(hours=12)
    ((_, crossed),) = _values(empty, "no-client-events", noon)
    assert crossed == fires
    assert [crossed for _, crossed in _values(empty, "no-client-events", noon + timedelta(hours=8))] == [
        False
    ]


DROPS = "component_discarded_events_total"


@pytest.mark.parametrize(
    ("rows", "losses"),
    [
        ([], 0),
        (_metrics(DROPS, [7] * 70, intentional="false"), 0),  # of long ago
        (_metrics(DROPS, [7] * 69 + [9], intentional="false"), 2),
        (_metrics(DROPS, [3] * 10, intentional="false"), 3),  # the counter appeared with the first drop
        (_metrics(DROPS, [0] * 30 + [5] * 20 + [1] * 20, intentional="false"), 6),  # Vector was started anew
        (_metrics(DROPS, [0] * 69 + [9], intentional="true"), 0),
        (_metrics("component_errors_total", [0] * 69 + [2], error_type="request_failed"), 2),
        (_metrics("component_sent_events_total", [0] * 69 + [2]), 0),
    ],
)
def test_what_vector_loses_fires(empty: Store, rows: list[dict[str, Any]], losses: int) -> None:
    _insert(empty, "pipeline_metrics", [*_metrics("uptime_seconds", range(70), component=""), *rows])
    assert _values(empty, "vector", MONDAY + timedelta(hours=12)) == [(losses, losses > 0)]


def _free(days: float, per_day: float, left: float) -> list[dict[str, Any]]:
    """Return hourly readings of a file system that had `left` bytes at noon and loses `per_day`."""
    noon = MONDAY + timedelta(hours=12)
    return [
        {
            "time": f"{noon - timedelta(hours=hour):%Y-%m-%d %H:%M:%S}",
            "host": "h",
            "name": "filesystem_free_bytes",
            "component": "",
            "tags": {"mountpoint": "/"},
            "value": left + per_day * hour / 24,
        }
        for hour in range(int(days * 24) + 1)
    ]


@pytest.mark.parametrize(
    ("readings", "days"),
    [
        ((6, 10e9, 100e9), 10.0),
        ((6, 10e9, 200e9), 20.0),
        ((6, 0, 100e9), 99999.0),
        ((6, -5e9, 100e9), 99999.0),
        ((0.5, 10e9, 100e9), None),  # a trend of hours
    ],
)
def test_vector_s_disk_fires_by_its_trend(
    empty: Store, readings: tuple[float, ...], days: float | None
) -> None:
    _insert(empty, "pipeline_metrics", _free(*readings))
    clickhouse, *vector = _values(empty, "disk", MONDAY + timedelta(hours=12))
    assert clickhouse == (99999, False)
    assert vector == ([] if days is None else [(days, days < 14)])
    if days is not None:
        assert _values(empty, "disk", MONDAY + timedelta(hours=12), alert_disk_full_within="30d")[1] == (
            days,
            days < 30,
        )


@pytest.mark.parametrize(
    ("retention_days", "free", "days"),
    [
        (None, 1000, 14.0),
        (None, 500, 7.0),
        (None, 700, 9.8),
        (365, 500, 7.0),
        (6, 500, 99999),  # what it will hold at most is less than that
    ],
)
def test_clickhouse_s_disk_fires_by_what_arrives(
    empty: Store, retention_days: int | None, free: int, days: float
) -> None:
    """500 events in a week, 1 byte each: 71.4 bytes a day."""
    noon = MONDAY + timedelta(hours=12)
    _insert(empty, "events", [_event(noon - timedelta(minutes=20 * n + 60)) for n in range(500)])
    definitions = {
        view: empty.post(f"SELECT create_table_query FROM system.tables WHERE name = '{view}' AND database = currentDatabase() FORMAT TSVRaw")
        for view in ("storage_disks", "storage_tables")
    }  # fmt: skip
    retention = "NULL" if retention_days is None else str(retention_days * 86400)
    empty.post(
        f"CREATE OR REPLACE VIEW storage_disks AS SELECT 'default' AS disk, '/' AS path, toUInt64({free}) AS free_bytes"
    )
    empty.post(
        "CREATE OR REPLACE VIEW storage_tables AS SELECT 'events' AS table, toUInt64(500) AS rows, toUInt64(500) AS bytes, "
        f"CAST({retention} AS Nullable(UInt64)) AS retention_seconds"
    )
    try:
        assert _values(empty, "disk", noon) == [(days, days < 14)]
    finally:
        for definition in definitions.values():
            empty.post(definition.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))

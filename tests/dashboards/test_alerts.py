"""What is rendered of the alerts: rules, whom they tell, files and passwords; and how they are turned off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config.validation import validate
from cvat_analytics.dashboards import DATASOURCE_TYPE, DATASOURCE_UID
from cvat_analytics.dashboards.lint_sql import _databases, _parsed, _scopes
from cvat_analytics.dashboards.macro_versions import differences
from cvat_analytics.rendering import alerts, render
from cvat_analytics.rendering.context import Context
from tests.clickhouse import context
from tests.dashboards.alerting import MONDAY, NAMES, rendered, rule_named, sql_at


def test_the_rules_use_only_documented_keys_and_are_the_ones_that_are_described() -> None:
    document = rendered(alerts=True, alert_webhook_url="https://hook.example.org/x", alert_webhook_token=True,
                         alert_emails=["ops@example.org"], smtp_host="mail.example.org:587")  # fmt: skip
    # https://grafana.com/docs/grafana/latest/alerting/set-up/provision-alerting-resources/file-provisioning/
    assert set(document) == {"apiVersion", "contactPoints", "groups"}
    (group,) = document["groups"]
    assert set(group) == {"orgId", "name", "folder", "interval", "rules"}
    assert [rule["uid"] for rule in group["rules"]] == [f"cvat-analytics-{name}" for name in NAMES]
    page = (ROOT / "docs" / "reference" / "alerts.md").read_text()
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
    rule = rule_named(name)
    sql = rule["data"][0]["model"]["rawSql"]
    assert "$__conditionalAll" not in sql
    assert differences(sql) == []  # whatever the plugin's version
    tree, complaint = _parsed(sql_at(rule, MONDAY))  # an unknown variable or macro would raise
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
    document = rendered(alerts=True, **settings)
    points = document.get("contactPoints", [])
    assert [(r["type"], r["settings"]) for point in points for r in point["receivers"]] == receivers
    named = {rule.get("notification_settings", {}).get("receiver") for rule in document["groups"][0]["rules"]}
    assert named == ({points[0]["name"]} if points else {None})


def test_a_contact_point_s_receivers_are_its_own() -> None:
    """Grafana never takes a receiver out of a contact point, so that a former address must not be in a present one."""
    mail = {"alert_emails": ["a@example.org"], "smtp_host": "m.example.org:25"}
    hook = {"alert_webhook_url": "https://hook.example.org"}
    points = [rendered(alerts=True, **each)["contactPoints"][0] for each in (mail, hook, {**mail, **hook})]
    assert len({point["name"] for point in points}) == 3
    assert len({r["uid"] for point in points for r in point["receivers"]}) == 4


def test_off_pauses_and_removes_every_rule_and_mentions_nobody() -> None:
    document = rendered(alerts=False, alert_webhook_url="https://hook.example.org")
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
        # a host's shell asks this address
        ({"alert_webhook_url": "http://h';id>pwned;'/x"}, "is not a URL"),
        ({"alert_webhook_url": "http://[v1.';id]/x"}, "is not a URL"),
        ({"alert_webhook_url": "http://h&id&/x"}, "is not a URL"),
        ({"cvat_url": "http://h&id&/x"}, "is not a URL"),
        ({"alert_webhook_token": True}, "there is no 'alert_webhook_url'"),
        ({"alert_silence": "1m"}, "alert_silence"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(settings, where="x")
    assert message in str(caught.value)


# Firing

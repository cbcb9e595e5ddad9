"""What is rendered for Grafana parses, says what the settings say, and uses only keys that Grafana documents."""

from __future__ import annotations

import configparser
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import topology
from cvat_analytics.dashboards import DATASOURCE_TYPE, DATASOURCE_UID, exchange, load
from cvat_analytics.dashboards.grafana import FOLDER
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import RenderedFile
from tests.clickhouse import context

# https://grafana.com/docs/grafana/latest/setup-grafana/configure-grafana/
INI_KEYS = {
    "paths": {"data", "logs", "plugins", "provisioning"},
    "server": {"http_addr", "http_port", "root_url", "serve_from_sub_path"},
    "security": {"admin_password", "secret_key", "cookie_secure", "disable_gravatar"},
    "auth.anonymous": {"enabled", "org_role"},
    "users": {"allow_sign_up", "auto_assign_org_role", "default_theme"},
    "dashboards": {"default_home_dashboard_path"},
    "analytics": {
        "reporting_enabled",
        "check_for_updates",
        "check_for_plugin_updates",
        "feedback_links_enabled",
    },
    "news": {"news_feed_enabled"},
    "plugins": {
        "preinstall_disabled",
        "preinstall_auto_update",
        "plugin_admin_enabled",
        "public_key_retrieval_disabled",
    },
    "snapshots": {"external_enabled"},
    "live": {"max_connections"},
}
# https://grafana.com/docs/grafana/latest/setup-grafana/configure-grafana/#smtp
SMTP_KEYS = {"enabled", "host", "user", "password", "from_address", "from_name"}
# https://grafana.com/docs/grafana/latest/setup-grafana/configure-security/configure-authentication/auth-proxy/
GATEWAY_KEYS = {
    "auth": {"disable_login_form"},
    "auth.proxy": {
        "enabled",
        "header_name",
        "header_property",
        "headers",
        "auto_sign_up",
        "enable_login_token",
        "headers_encoded",
        "whitelist",
    },
}
# https://grafana.com/docs/grafana/latest/administration/provisioning/#data-sources
DATASOURCE_KEYS = {"name", "uid", "type", "access", "isDefault", "editable", "jsonData", "secureJsonData"}
# https://grafana.com/docs/plugins/grafana-clickhouse-datasource/latest/configure/#provision-the-data-source
JSON_DATA_KEYS = {
    "maxOpenConns",
    "maxIdleConns",
    "host",
    "port",
    "protocol",
    "username",
    "defaultDatabase",
    "defaultTable",
    "queryTimeout",
    "dialTimeout",
}
# https://grafana.com/docs/grafana/latest/administration/provisioning/#dashboards
PROVIDER_KEYS = {"name", "folder", "type", "allowUiUpdates", "updateIntervalSeconds", "options"}


def _rendered(root: Path, **settings: Any) -> tuple[Context, dict[str, RenderedFile]]:
    """Return Grafana's files by name and parent folder."""
    made = context(root, **settings)
    return made, {"/".join(file.path.split("/")[-2:]): file for file in render.grafana_files(made)}


def _ini(files: dict[str, RenderedFile]) -> configparser.ConfigParser:
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string(files["grafana/cvat-analytics.ini"].content)
    return ini


def test_ini_has_only_documented_keys(tmp_path: Path) -> None:
    ini = _ini(_rendered(tmp_path)[1])
    assert {section: set(ini[section]) for section in ini.sections()} == INI_KEYS


def test_ini_behind_the_gateway_has_only_documented_keys(tmp_path: Path) -> None:
    made = context(tmp_path)
    groups = {**made.topology.groups, "gateway": made.topology.groups["grafana"]}
    behind = Context(made.host, replace(made.topology, groups=groups), made.secrets, made.paths)
    ini = _ini({"/".join(file.path.split("/")[-2:]): file for file in render.grafana_files(behind)})
    assert {section: set(ini[section]) for section in ini.sections()} == INI_KEYS | GATEWAY_KEYS
    # whoever reaches Grafana itself could take any name: only the gateway may
    # and not Grafana, which connects from 127.0.0.1 where one of its editors has it send something to itself
    assert ini["auth.proxy"]["whitelist"] == "127.0.0.2"
    # 0: none (conf/defaults.ini)
    assert ini["live"]["max_connections"] == "0"


@pytest.mark.parametrize("address", ["::1", "::", "fd00::3"])
def test_behind_the_gateway_grafana_does_not_listen_where_it_would_believe_itself(address: str) -> None:
    groups = dict.fromkeys(topology.COMPONENTS, ("a",))
    with pytest.raises(InputError, match="'grafana_listen_address' of host a: behind the gateway"):
        topology.build(groups, {"a": {"grafana_listen_address": address}}, where="test")


@pytest.mark.parametrize("user", ["", "grafana"])
def test_mail_is_set_up_where_alerts_go_by_mail(tmp_path: Path, user: str) -> None:
    settings = {"alert_emails": ["ops@example.org"], "smtp_host": "mail.example.org:587", "smtp_user": user}
    made = context(tmp_path, alerts=True, **settings)
    given = type(made.secrets)({**made.secrets, "smtp_password": "pass;word"})
    files = render.grafana_files(Context(made.host, made.topology, given, made.paths))
    ini = _ini({"/".join(file.path.split("/")[-2:]): file for file in files})
    assert {section: set(ini[section]) for section in ini.sections()} == INI_KEYS | {
        "smtp": SMTP_KEYS if user else SMTP_KEYS - {"user", "password"}
    }
    # in the quotes in which Grafana takes every sign as it is
    assert ini["smtp"]["host"] == "`mail.example.org:587`"
    password = f"$__file{{{made.paths.grafana_credentials}/smtp_password}}"
    assert ini["smtp"].get("password") == (password if user else None)
    assert "smtp" not in _ini(_rendered(tmp_path, **settings)[1])


def test_ini_follows_the_settings(tmp_path: Path) -> None:
    made, files = _rendered(
        tmp_path,
        grafana_root_url="https://cvat.example.org/analytics",
        grafana_port=3999,
        grafana_listen_address="::1",
    )
    ini = _ini(files)
    assert dict(ini["server"]) == {
        "http_addr": "::1",
        "http_port": "3999",
        "root_url": "https://cvat.example.org/analytics/",
        "serve_from_sub_path": "true",
    }
    assert ini["security"]["cookie_secure"] == "true"
    assert ini["security"]["admin_password"] == f"$__file{{{made.paths.grafana_credentials}/admin_password}}"
    assert ini["security"]["secret_key"] == f"$__file{{{made.paths.grafana_credentials}/secret_key}}"
    assert ini["dashboards"]["default_home_dashboard_path"] == f"{made.paths.dashboards}/all-events.json"
    assert any(file.path == f"{made.paths.dashboards}/all-events.json" for file in files.values())


def test_without_a_path_and_encryption(tmp_path: Path) -> None:
    ini = _ini(_rendered(tmp_path, grafana_root_url="http://analytics.example.org:3000")[1])
    assert ini["server"]["serve_from_sub_path"] == "false"
    assert ini["security"]["cookie_secure"] == "false"


def test_behind_a_proxy_that_strips_the_path(tmp_path: Path) -> None:
    ini = _ini(
        _rendered(
            tmp_path,
            grafana_root_url="https://cvat.example.org/analytics",
            grafana_serve_from_sub_path=False,
        )[1]
    )
    assert ini["server"]["root_url"] == "https://cvat.example.org/analytics/"
    assert ini["server"]["serve_from_sub_path"] == "false"


@pytest.mark.parametrize("open_", [False, True])
def test_visitors_are_viewers_at_most(tmp_path: Path, open_: bool) -> None:
    ini = _ini(_rendered(tmp_path, grafana_anonymous_viewer=open_)[1])
    assert dict(ini["auth.anonymous"]) == {"enabled": str(open_).lower(), "org_role": "Viewer"}


def test_datasource(tmp_path: Path) -> None:
    made, files = _rendered(tmp_path, database="stats")
    document = yaml.safe_load(files["datasources/cvat-analytics.yaml"].content)
    assert (document["apiVersion"], document["prune"]) == (1, True)
    (datasource,) = document["datasources"]
    assert (set(datasource), set(datasource["jsonData"])) == (DATASOURCE_KEYS, JSON_DATA_KEYS)
    assert (datasource["uid"], datasource["type"]) == (DATASOURCE_UID, DATASOURCE_TYPE)
    assert datasource["jsonData"] == {
        "host": "127.0.0.1",
        "port": made.settings.clickhouse_native_port,
        "protocol": "native",
        "username": "grafana",
        "defaultDatabase": "stats",
        "defaultTable": "events",
        "queryTimeout": "50",
        "dialTimeout": "10",
        "maxOpenConns": (most := str(made.variables()["clickhouse"]["grafana_connections"])),
        "maxIdleConns": most,
    }
    assert datasource["secureJsonData"] == {
        "password": f"$__file{{{made.paths.grafana_credentials}/clickhouse_password}}"
    }


def test_dashboards_are_provided_and_can_be_edited(tmp_path: Path) -> None:
    made, files = _rendered(tmp_path)
    document = yaml.safe_load(files["dashboards/cvat-analytics.yaml"].content)
    (provider,) = document["providers"]
    assert (document["apiVersion"], set(provider)) == (1, PROVIDER_KEYS)
    assert provider["options"] == {"path": made.paths.dashboards}
    # what is edited in Grafana can be saved there, and stays until its file changes (docs/how-to/edit-dashboards.md)
    assert provider["allowUiUpdates"] is True
    # a file that is replaced by hand is live within half a minute, without a restart
    assert provider["updateIntervalSeconds"] <= 30
    assert provider["folder"] == FOLDER
    here = exchange.site_of(made.settings)
    for dashboard in load():
        file = files[f"dashboards/{dashboard.file.name}"]
        assert json.loads(file.content) == here.deployed(dashboard.model)
        assert file.effect == "none", "no restart"


def test_unit_reads_our_configuration_and_gets_every_credential_that_is_used(tmp_path: Path) -> None:
    made, files = _rendered(tmp_path)
    unit = files["grafana-server.service.d/cvat-analytics.conf"].content
    assert f"EnvironmentFile={made.paths.grafana_config}/cvat-analytics.env\n" in unit
    assert (
        files["grafana/cvat-analytics.env"].content.splitlines()[-1]
        == f"CONF_FILE={made.paths.grafana_config}/cvat-analytics.ini"
    )
    for name in ("clickhouse_password", "admin_password", "secret_key"):
        place = f"{made.paths.secrets}/grafana-server/{name}"
        assert f"LoadCredential={name}:{place}\n" in unit
        assert files[f"grafana-server/{name}"].path == place


def test_no_secret_is_in_a_file_that_is_not_marked_secret(tmp_path: Path) -> None:
    made, files = _rendered(tmp_path)
    leaks = [
        (file.path, name)
        for file in files.values()
        for name, value in made.secrets.items()
        if value in file.content and not file.secret
    ]
    assert leaks == []

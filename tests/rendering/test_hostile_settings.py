"""Whatever a setting's text is, it is refused with one message, or stands in the files as that text and nothing more."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
import typing
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import topology
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.validation import validate
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Pair
from cvat_analytics.gateway import gateway
from cvat_analytics.operate.backup import on_hosts
from cvat_analytics.rendering import events_api, render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import RenderedFile

SECRETS = secrets.Secrets({**secrets.generate(), "smtp_password": "x", "alert_webhook_token": "y"})
PLAIN: dict[str, Any] = {
    "alert_emails": ("ann@example.org",),
    "alert_webhook_url": "https://hooks.example.org/x",
    "alert_working_hours": "08:00-18:00",
    "backup_schedule": "Mon..Fri *-*-* 02:30:00",
    "backup_target": "sftp:backup@store.example.org:/srv/backup",
    "clickhouse_allowed_addresses": ("10.1.1.1",),
    "clickhouse_listen_addresses": ("10.0.0.9",),
    "cvat_columns": ("access_token_id",),
    "cvat_server_url": "https://server.example.org/",
    "cvat_url": "https://cvat.example.org/",
    "database": "cvat",
    "events_api_client_scopes": ("new:scope",),
    "events_api_names": ("events.example.org",),
    "grafana_allowed_addresses": ("10.1.1.2",),
    "grafana_root_url": "https://analytics.example.org/analytics/",
    "gateway_trusted_proxies": ("10.1.1.3",),
    "smtp_from": "stack@example.org",
    "smtp_host": "mail.example.org:587",
    "smtp_user": "stack",
    "time_zone": "Europe/Berlin",
    "vector_allowed_addresses": ("10.1.1.4",),
    "vector_username": "cvat",
    "working_time_duration_scopes": ("change:frame",),
}
"""A text for every setting that has one in a rendered file, and what else has these files rendered."""
ADDRESSES = (
    "address",
    "vector_listen_address",
    "grafana_listen_address",
    "events_api_listen_address",
    "gateway_listen_address",
)
"""Single addresses: what is true of those in lists is true of them."""
OTHERS: dict[str, Any] = {
    "alerts": True, "alert_webhook_token": True, "firewall": True, "address": "10.0.0.1", "vector_listen_address": "10.0.0.1",
    "gateway_listen_address": "10.0.0.1",
}  # fmt: skip
NOWHERE = {
    "gateway_certificate", "gateway_certificate_key", "package_signing_key", "package_source", "secrets_file",
    "vector_tls_certificate", "vector_tls_key",
}  # fmt: skip
"""Files and places that a deploy reads: their names are in no rendered file."""
HOSTILE = (
    "\n[smtp]\nhost = evil", "\r\n", "\x00", "\x1b[2J", "\x85", "\u2028", ";", " ; x", "#", " # x", "$", "${HOME}", "$__file{/etc/passwd}",
    "%", "%n", "%(x)s", '"', "'", "`", '"""', "\\", "{{ x }}", "{% x %}", "</ip><ip>::/0", "&", "]]>", "|", " ", ": ", "- ", "%a;b", "日本",
)  # fmt: skip


def of_texts() -> set[str]:
    """Return the settings that have a text, of whatever kind."""
    hints = typing.get_type_hints(Settings, include_extras=True)
    texts = {name for name, kind in hints.items() if re.search(r"\bstr\b|Path", str(kind))}
    closed = {name for name, kind in hints.items() if "Literal" in str(kind)}
    return (texts - closed) & set(Settings.model_fields)


def test_every_setting_with_a_text_is_tried() -> None:
    """A version or a checksum has one form, and what is read into a number or a time has no text left."""
    read = {name for name in of_texts() if "BeforeValidator" in str(Settings.model_fields[name].metadata)}
    formed = {name for name in of_texts() if name.endswith(("_version", "_sha256"))}
    assert of_texts() - formed - read - NOWHERE - set(ADDRESSES) == set(PLAIN)


def files(values: dict[str, Any]) -> dict[str, RenderedFile]:
    """Return all files of a host with everything on it. Raises InputError for settings that are refused."""
    groups = {name: ["a"] for name in (*topology.GROUPS, "events_api", "gateway")}
    context = Context("a", topology.build(groups, {"a": values}, where="test"), SECRETS)
    parts = [
        *render.clickhouse_files(context),
        *render.vector_files(context),
        *render.grafana_files(context),
        RenderedFile(
            "events-api.ini",
            render.render(
                "events_api/events-api.ini.j2", context.variables() | events_api.variables(context)
            ),
        ),
        *gateway.files(context, Pair("certificate", "key")),
        *gateway.firewall_files(context),
        *on_hosts.files(context),
    ]
    return {file.path: file for file in parts}


@pytest.fixture(scope="module", autouse=True)
def dashboards_once() -> Iterator[None]:
    """Have each set of dashboards made once: of the texts they have CVAT's address and the time zone only."""
    made: dict[tuple[str, str], dict[str, str]] = {}
    make = render.dashboards

    def once(wanted: Settings) -> dict[str, str]:
        key = (wanted.cvat_url, wanted.time_zone)
        if key not in made:
            made[key] = make(wanted)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "dashboards", once)
        yield


def shape(value: Any) -> Any:
    """Return how what was read is built, without its values."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else None


def built(file: RenderedFile) -> Any:
    """Return how a file is built, as whoever reads it has it."""
    text, name = file.content, file.path
    lines = len(text.splitlines())
    if name.endswith(".xml"):
        return lines, [(each.tag, each.attrib) for each in ET.fromstring(text).iter()]
    if name.endswith(".toml"):
        return lines, shape(tomllib.loads(text))
    if name.endswith(".yaml"):
        return lines, shape(yaml.safe_load(text))
    if name.endswith(".json"):
        return shape(json.loads(text))
    if name.endswith((".ini", ".service", ".timer")) or ".service.d/" in name:
        reader = configparser.RawConfigParser(strict=False)
        reader.read_string(text)
        return lines, {section: list(reader[section]) for section in reader}
    # nginx and nftables
    return lines, [text.count(sign) for sign in '{};"']


@cache
def plain() -> dict[str, Any]:
    """Return how the files are built with plain texts."""
    return {path: built(file) for path, file in files(PLAIN | OTHERS).items()}


def check(name: str, text: str) -> bool:
    """Check a setting with such a text. Return whether it is taken."""
    value = (text,) if isinstance(PLAIN[name], tuple) else text
    refusal, found = "", {}
    try:
        found = files(PLAIN | OTHERS | {name: value})
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert name in refusal
        assert len(refusal.splitlines()) == 1, "one message"
        return False
    assert {path: built(file) for path, file in found.items()} == plain()
    return True


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_a_hostile_text_is_refused_or_stands_as_it_is(name: str) -> None:
    (text,) = PLAIN[name] if isinstance(PLAIN[name], tuple) else (PLAIN[name],)
    assert check(name, text)
    middle = len(text) // 2
    for hostile in HOSTILE:
        check(name, text[:middle] + hostile + text[middle:])


@given(
    st.sampled_from(("smtp_user", "smtp_from", "alert_emails", "alert_webhook_url", "cvat_url")), st.data()
)
@settings(max_examples=30, deadline=None)
def test_any_text_is_refused_or_stands_as_it_is(name: str, data: st.DataObject) -> None:
    (text,) = PLAIN[name] if isinstance(PLAIN[name], tuple) else (PLAIN[name],)
    place = data.draw(st.integers(0, len(text)))
    check(name, text[:place] + data.draw(st.text(min_size=1, max_size=8)) + text[place:])


@pytest.mark.parametrize("user", ["a;b#c", "d$e%f", "quote\"and'", "back\\slash", "two words", "日本"])
def test_a_login_at_the_mail_server_is_quoted_as_grafana_reads_it(user: str) -> None:
    """Grafana 12.4 was seen to have exactly these texts (`/api/admin/settings`); unquoted it has what stands before ; or #."""
    ini = next(
        file
        for path, file in files(PLAIN | OTHERS | {"smtp_user": user}).items()
        if path.endswith("cvat-analytics.ini")
    )
    assert f"\nuser = `{user}`\n" in ini.content


@pytest.mark.parametrize("name", sorted(NOWHERE | set(PLAIN)))
@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x9b", "\u2028", "\ud800"], ids=ascii
)
def test_no_text_has_a_control_character(name: str, character: str) -> None:
    text = f"a{character}b"
    with pytest.raises(InputError, match="has the control character") as refused:
        validate({name: (text,) if isinstance(PLAIN.get(name), tuple) else text}, where="all.py")
    assert str(refused.value).startswith(f"all.py: setting '{name}")
    assert str(refused.value).isprintable()

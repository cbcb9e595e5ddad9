"""Nobody lifts a limit of their profile: not with 0, not above or below its ends, not by naming another profile."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import yaml

from cvat_analytics.api import clickhouse as api
from cvat_analytics.config import query_limits
from cvat_analytics.rendering.render import clickhouse_files, grafana_files
from tests.clickhouse import Store, context

READERS = {"grafana": "cvat_reader", "events_api": "cvat_export"}
USERS = READERS | {"cvat": "cvat_server", "vector": "cvat_writer"}
REFUSED = r"READONLY|SETTING_CONSTRAINT_VIOLATION"


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


def answer(engine: Store, sql: str, user: str) -> str:
    """Return what ClickHouse answers, an error too."""
    try:
        return engine.post(sql, user=user)
    except AssertionError as error:
        return str(error)


def profiles() -> dict[str, ElementTree.Element]:
    """Return the profiles as they are rendered, by name."""
    files = clickhouse_files(context(Path("/nowhere")))
    (users,) = (file.content for file in files if file.path.endswith("users.d/cvat-analytics.xml"))
    element = ElementTree.fromstring(users).find("profiles")
    assert element is not None
    return {profile.tag: profile for profile in element}


def limits(profile: ElementTree.Element) -> dict[str, str]:
    """Return what a profile limits (ClickHouse calls all of these max_…), and by how much."""
    return {each.tag: str(each.text) for each in profile if each.tag.startswith("max_") and each.text != "0"}


def constraints(profile: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Return the settings of which a profile says how far they may be changed."""
    return {each.tag: each for each in profile.iterfind("constraints/*")}


CHANGEABLE = [
    (user, name, int(constraint.findtext("min", "0")), int(constraint.findtext("max", "0")))
    for user, profile in USERS.items()
    for name, constraint in constraints(profiles()[profile]).items()
    if name in limits(profiles()[profile])
]
FIXED = [
    (user, name, value)
    for user, profile in USERS.items()
    for name, value in limits(profiles()[profile]).items()
    if name not in constraints(profiles()[profile])
]


def test_every_limit_that_may_be_changed_has_both_ends() -> None:
    for name, profile in profiles().items():
        for setting, constraint in constraints(profile).items():
            ends = {end for end in ("min", "max") if constraint.find(end) is not None}
            assert ends in (set(), {"min", "max"}), f"{setting} in {name}"
            if setting in limits(profile):
                assert constraint.findtext("min") == "1", f"0 would be no limit: {setting} in {name}"
                assert constraint.findtext("max") == limits(profile)[setting]
        if limits(profile) and profile.findtext("readonly") != "1":
            assert limits(profile).keys() <= constraints(profile).keys()


@pytest.mark.parametrize(("user", "name", "least", "most"), CHANGEABLE)
def test_a_limit_moves_between_its_ends_only(
    engine: Store, user: str, name: str, least: int, most: int
) -> None:
    for value in (most - 1, most):
        result = json.loads(engine.post(f"SELECT getSetting('{name}') SETTINGS {name} = {value}", user=user))
        assert float(result["data"][0][0]) == value
    said = answer(engine, f"SELECT 1 SETTINGS {name} = {least}", user)
    assert not re.search(REFUSED, said)  # a single byte is allowed, and not enough
    for text in ("0", "0.5", "-1", str(most + 1), str(most * 1000)):
        with pytest.raises(AssertionError, match=REFUSED + "|CANNOT_CONVERT_TYPE|CANNOT_PARSE"):
            engine.post(f"SELECT 1 SETTINGS {name} = {text}", user=user)


@pytest.mark.parametrize(("user", "name", "value"), FIXED)
def test_a_limit_that_may_not_be_changed_stays(engine: Store, user: str, name: str, value: str) -> None:
    for other in (0, 1, int(value) - 1, int(value) + 1):
        with pytest.raises(AssertionError, match=REFUSED):
            engine.post(f"SELECT 1 SETTINGS {name} = {other}", user=user)


@pytest.mark.parametrize("user", READERS)
@pytest.mark.parametrize("profile", ["default", "cvat_reader", "cvat_export", "cvat_server", "cvat_writer"])
def test_another_profile_lifts_no_reader_s_limit(engine: Store, user: str, profile: str) -> None:
    """ClickHouse lets everybody name any profile: what they had stays, and what they may change does not become more."""
    mine = {**limits(profiles()[READERS[user]]), "readonly": "1"}
    asked = f"SELECT {', '.join(f'getSetting({name!r})' for name in mine)} SETTINGS profile = '{profile}'"
    said = answer(engine, asked, user)
    if not re.search(REFUSED, said):
        kept = [int(value) for value in json.loads(said)["data"][0]]
        for name, value in zip(mine, kept, strict=True):
            assert 0 < value <= int(mine[name]), name
    for name in mine:
        with pytest.raises(AssertionError, match=REFUSED):
            engine.post(f"SELECT 1 SETTINGS profile = '{profile}', {name} = 0", user=user)


def test_what_the_clients_ask_for_lies_within_the_limits() -> None:
    (sources,) = (
        yaml.safe_load(file.content)["datasources"]
        for file in grafana_files(context(Path("/nowhere")))
        if "datasources" in file.path
    )
    plugin = sources[0]["jsonData"]
    assert isinstance(
        plugin["queryTimeout"], str
    )  # of the other form the plugin's older versions take no notice
    assert isinstance(plugin["dialTimeout"], str)
    # clickhouse-go sends the seconds that are left and five more; below, not at the limit, so that none is cut by a hair
    most = int(limits(profiles()["cvat_reader"])["max_execution_time"])
    assert int(plugin["queryTimeout"]) + 5 < most == query_limits.READER_SECONDS
    assert int(limits(profiles()["cvat_export"])["max_execution_time"]) >= api._SILENCE_SECONDS


@pytest.mark.parametrize("user", ["admin", *USERS])
def test_the_driver_of_our_commands_and_of_cvat_sends_nothing_that_is_refused(
    engine: Store, user: str
) -> None:
    """clickhouse-connect asks for the settings that it may change and then sends some with every query."""
    choices: list[dict[str, Any]] = [{}, {"autogenerate_session_id": False}]
    for chosen in choices:
        client = clickhouse_connect.get_client(
            host="127.0.0.1",
            port=engine.http_port,
            username=user,
            password=engine.context.secrets[f"clickhouse_{user}"],
            **chosen,
        )
        assert client.query("SELECT 1").result_rows == [(1,)]
        client.close()

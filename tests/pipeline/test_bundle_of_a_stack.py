"""A bundle of a real stack into which passwords, people and texts were planted on every way in: none of it is in any file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from cvat_analytics.connect.access import Access
from cvat_analytics.embedded import stack
from scripts.cli import main
from tests.checks.test_bundle import ADDRESS, ALL, LOGIN, MAIL, NAME, PASSWORD, PLANTED, TEXT, TOKEN, found_in
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("patience")


def plant(running: stack.Stack, access: Access) -> None:
    """Send it as an event, as what is none, in a query that fails, in its error, as a login, in a request; and write it into the logs."""
    payload = json.dumps({"text": TEXT, "request": {"remote_addr": ADDRESS, "token": TOKEN}})
    event = {"scope": "create:task", "source": "server", "timestamp": "2026-11-01T08:00:00Z", "user_id": 4242, "user_name": LOGIN,
             "user_email": MAIL, "org_slug": LOGIN, "payload": payload, "obj_name": NAME}  # fmt: skip
    url = access.vector.url
    assert httpx.post(url, json=[event]).is_success
    assert httpx.post(url, content=ALL).status_code < 500
    assert httpx.post(url, json=[{**event, "timestamp": ALL}]).is_success
    store = {"X-ClickHouse-User": "admin", "X-ClickHouse-Key": access.secrets["clickhouse_admin"]}
    for query in (
        f"SELEKT '{ALL}'",
        f"SELECT throwIf(1, '{ALL}')",
        f"SELECT * FROM {LOGIN}",
        f"SELECT toUInt8('{TEXT}')",
    ):
        assert not httpx.post(access.clickhouse.url, content=query, headers=store).is_success
    made = f"CREATE TABLE IF NOT EXISTS {access.database}.of_{LOGIN} (`{TOKEN}` String COMMENT '{ALL}') ENGINE = MergeTree ORDER BY ()"
    assert httpx.post(access.clickhouse.url, content=made, headers=store).is_success
    assert not httpx.post(access.clickhouse.url, content="SELECT 1", auth=(LOGIN, PASSWORD)).is_success
    assert access.events_api
    asked = httpx.get(
        f"{access.events_api.url}/api/events",
        params={"user": MAIL, "text": TEXT},
        headers={"Authorization": f"Token {TOKEN}"},
    )
    assert asked.status_code in (401, 403)
    for part in stack.PARTS:
        with running.processes.log(part).open("a") as log:
            log.write(f"2026-11-30T09:00:00Z ERROR {ALL}\n{ALL}\n<Error> {LOGIN}: Code: 241. DB::Exception: Memory limit (total) exceeded: {TEXT} {access.secrets['clickhouse_admin']}\n")  # fmt: skip


def test_nothing_that_was_planted_in_a_real_stack_is_in_its_bundle(
    running: stack.Stack, access: Access, tmp_path: Path
) -> None:
    plant(running, access)
    count = (
        f"SELECT count() FROM {access.database}.events_dead_letter WHERE position(original, '{TOKEN}') > 0"
    )
    until(lambda: access.client().query(count).result_rows[0][0], "the dead letters are stored")
    file = tmp_path / "bundle.zip"
    try:
        result = CliRunner().invoke(main, ["doctor", "--dir", str(running.directory), "--bundle", str(file)])
    finally:
        access.client().command(f"DROP TABLE {access.database}.of_{LOGIN} SYNC")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"wrote {file}: ")
    assert file.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert found_in(files, PLANTED) == []
    passwords = [value for value in access.secrets.values() if value]
    assert len(passwords) > 5
    assert found_in(files, passwords) == []
    store = json.loads(files["store.json"])
    assert "SYNTAX_ERROR" in {each["name"] for each in store["errors"]}, "and it says what goes wrong"
    assert sum(each["count"] for each in store["letters"]) >= 2
    assert "Code: 241 DB::Exception Memory limit (total) exceeded" in files["logs/host-1/clickhouse.log"]
    again = CliRunner().invoke(main, ["doctor", "--dir", str(running.directory), "--bundle", str(file)])
    assert again.exit_code == 2, "what is there is not replaced"

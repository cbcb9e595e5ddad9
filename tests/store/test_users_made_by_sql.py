"""Users that somebody made by SQL are told of, and the page says how to end them, and how to make one that lasts."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import flow
from cvat_analytics.store import rights
from scripts.status import _other_users
from tests.clickhouse import Store, engine, running, way_to

PAGE = (ROOT / "docs/how-to/a-user-of-your-own.md").read_text()
MADE = "(SELECT name, storage FROM system.users UNION ALL SELECT 'old_reader', 'local_directory')"
"""Stands for a server's users with one made by SQL: the engine library has nowhere to keep one."""


@contextmanager
def with_the_pages_files(directory: Path) -> Iterator[Store]:
    """Run an engine with the files that the page shows."""
    with running(directory) as store:
        pass
    (users,) = directory.rglob("users.d")
    for number, text in enumerate(re.findall(r"```xml\n(.*?)```", PAGE, re.DOTALL)):
        (users / f"page{number}.xml").write_text(text.replace("SHA256", hashlib.sha256(b"x").hexdigest()))
    with engine(store, directory):
        yield store


def ask(store: Store, user: str, query: str) -> str:
    """Return what ClickHouse answers somebody whose password is x, also when it refuses."""
    options = urllib.parse.urlencode({"user": user, "password": "x", "database": store.database})
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{store.http_port}/?{options}", data=query.encode(), timeout=120
        ) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


def test_who_was_made_by_sql_is_told_of_and_the_pages_files_do_what_it_says(tmp_path: Path) -> None:
    with with_the_pages_files(tmp_path) as store:
        access = way_to(store.context)
        # who is in a file is no such user
        assert flow.of(access).other_users == []
        with access.client() as client:
            found = rights.others(lambda query: client.query(query.replace("system.users", MADE)).result_rows)
        assert "\n".join(_other_users(found)) in PAGE

        # it may drop: what it is refused is not for want of a right
        assert "ACCESS_STORAGE_READONLY" in ask(store, "dropping", "DROP USER report")
        assert "UNKNOWN_USER" in ask(store, "dropping", "DROP USER old_reader")
        assert "ACCESS_DENIED" in ask(store, "dropping", "SELECT count() FROM events")

        assert ask(store, "report", "SELECT count() FROM events") == "0\n"
        assert "ACCESS_DENIED" in ask(store, "report", "SELECT count() FROM user_names")

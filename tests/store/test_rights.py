"""What each user of ClickHouse's may do is what the deploy writes, and whatever somebody has taken away by hand is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import rights
from tests.clickhouse import Store, running

Lacking = Callable[[str, str], list[str]]
USERS = ("vector", "grafana", "events_api", "cvat")
RIGHTS = {user: [right.statement for right in each] for user, each in rights.of_users("cvat").items()}
EDITED = {
    # who, with which rights, lacks which: one user each in a file beside the deploy's, which takes its place
    "less": ("grafana", RIGHTS["grafana"][:3], RIGHTS["grafana"][3:]),
    "but-one": (
        "grafana",
        ["GRANT SELECT ON cvat.*", "REVOKE SELECT ON cvat.working_time"],
        ["GRANT SELECT ON cvat.working_time"],
    ),
    "more": ("grafana", [*RIGHTS["grafana"], "GRANT SELECT ON system.parts"], []),
    "all": ("grafana", ["GRANT SELECT ON *.*"], []),
    "groups": ("cvat", ["GRANT SELECT, CREATE, ALTER TABLE ON cvat.*", RIGHTS["cvat"][-1]], []),
    "no-columns": (
        "cvat",
        ["GRANT SELECT, CREATE DATABASE, CREATE TABLE ON cvat.*", RIGHTS["cvat"][-1]],
        [RIGHTS["cvat"][2]],
    ),
    "two-columns": (
        "events_api",
        [RIGHTS["events_api"][0], "GRANT SELECT(query_id, read_rows) ON system.processes"],
        RIGHTS["events_api"][1:],
    ),
    "whole-table": ("events_api", [*RIGHTS["events_api"][:-1], "GRANT SELECT ON system.processes"], []),
    "elsewhere": ("vector", ["GRANT INSERT ON other.*"], RIGHTS["vector"]),
    **{
        f"{user}-without-{number}": (user, [each for each in RIGHTS[user] if each != missing], [missing])
        for user in USERS
        for number, missing in enumerate(RIGHTS[user])
    },
}  # fmt: skip


def documented() -> set[str]:
    """Return the tables and views that docs/reference/tables.md offers, but for those that are the administrator's."""
    text = (ROOT / "docs/reference/tables.md").read_text()
    offered = text[text.index("\n## Made of events") : text.index("\nEverything else is inside")]
    cells = [
        line.split("|")[1]
        for line in offered.splitlines()
        if line.startswith("| `") and "administrator only" not in line
    ]
    return {"events", *re.findall(r"`(\w+)", " ".join(cells))}


def rows(store: Store, query: str) -> Sequence[Sequence[Any]]:
    found: Sequence[Sequence[Any]] = json.loads(store.post(query))["data"]
    return found


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Run an engine with a file of users as an operator may have edited it."""
    directory = tmp_path_factory.mktemp("rights")
    users = "".join(
        f"<{name}><no_password/><grants>{''.join(f'<query>{each}</query>' for each in statements or ['GRANT SHOW ON cvat.*'])}</grants></{name}>"
        for name, (_, statements, _) in EDITED.items()
    )
    file = directory / "etc" / "clickhouse-server" / "users.d" / "edited.xml"
    file.parent.mkdir(parents=True)
    file.write_text(f"<clickhouse><users>{users}</users></clickhouse>")
    with running(directory) as store:
        yield store


def test_what_the_deploy_writes_is_enough(edited: Store) -> None:
    assert rights.lacking(lambda query: rows(edited, query), "cvat") == {user: [] for user in USERS}


@pytest.mark.parametrize("name", EDITED)
def test_what_is_missing_is_named_and_what_is_wider_is_not(edited: Store, name: str) -> None:
    user, _, missing = EDITED[name]

    def as_that_user(query: str) -> Sequence[Sequence[Any]]:
        found = rows(edited, query.replace(f"'{user}'", f"'{name}'"))
        return [[user if value == name else value for value in row] for row in found]

    assert rights.lacking(as_that_user, "cvat")[user] == missing


def test_who_sees_the_dashboards_reads_what_is_offered_and_what_that_is_made_of(edited: Store) -> None:
    """A new table is nobody's until it stands in `rights.READABLE` and among the tables of the documentation."""
    made = {
        str(name): str(text)
        for name, text in rows(
            edited, "SELECT name, create_table_query FROM system.tables WHERE database = 'cvat'"
        )
    }
    offered = documented()
    needed, more = set(offered), offered
    while more:
        texts = " ".join(
            made[name]
            for name in more
            if made[name].startswith("CREATE VIEW") and "SQL SECURITY DEFINER" not in made[name]
        )
        more = {name for name in made if re.search(rf"\bcvat\.{name}\b", texts)} - needed
        needed |= more
    assert set(rights.READABLE) == offered
    assert set(rights.BEHIND) == needed - offered

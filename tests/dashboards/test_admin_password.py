"""Grafana's administrator gets a new password through its API: of the stand-in, and of Grafana itself where one is on PATH."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.project import ROOT
from cvat_analytics.connect.access import Access
from cvat_analytics.credentials import secrets
from cvat_analytics.operate import replacement
from cvat_analytics.rendering.files import GRAFANA_PASSWORD
from tests.clickhouse import context
from tests.dashboards.grafana import running


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Access]:
    with running(context(tmp_path)) as access:
        yield access


class Change:
    """A change of that Grafana's password, with the secrets file of its own."""

    def __init__(self, way: Access, directory: Path) -> None:
        self.way, self.path, self.brought = way, directory / "secrets.json", list[str]()
        self.path.write_text(json.dumps(dict(way.secrets)))
        self.path.chmod(0o600)

    def access(self) -> Access:
        return dataclasses.replace(self.way, secrets=secrets.load(self.path))

    def admits(self, password: str) -> bool:
        with self.way.grafana_client(timeout=60) as client:
            return client.get("/api/user", auth=("admin", password)).is_success

    def run(self) -> None:
        replacement.replace(
            "grafana_admin",
            self.path,
            lambda: self.brought.append(secrets.load(self.path)["grafana_admin"]),
            lambda: nullcontext(self.access()),
            lambda text: None,
        )


def test_the_new_password_counts_and_the_old_one_does_not(way: Access, tmp_path: Path) -> None:
    change = Change(way, tmp_path)
    old = secrets.load(change.path)["grafana_admin"]
    change.run()
    new = secrets.load(change.path)["grafana_admin"]
    assert (change.admits(new), change.admits(old), change.brought) == (True, False, [new])
    assert set(json.loads(change.path.read_text())) == set(secrets.NAMES)


@pytest.mark.parametrize("told", [False, True], ids=["before Grafana was told", "after it was"])
def test_a_change_that_was_cut_off_is_completed(way: Access, tmp_path: Path, told: bool) -> None:
    change = Change(way, tmp_path)
    secrets.replace(change.path, {"grafana_admin_next": "the-next-one"})
    if told:
        replacement._tell_grafana(change.access(), secrets.load(change.path)["grafana_admin"], "the-next-one")
    change.run()
    assert (change.admits("the-next-one"), change.brought) == (True, ["the-next-one"])


def test_where_somebody_has_changed_it_in_grafana_nothing_is_written(way: Access, tmp_path: Path) -> None:
    change = Change(way, tmp_path)
    replacement._tell_grafana(change.access(), secrets.load(change.path)["grafana_admin"], "somebody-elses")
    before = secrets.load(change.path)["grafana_admin"]
    with pytest.raises(
        CvatAnalyticsError, match=r"Grafana refuses to change the password .*HTTP 401"
    ) as failed:
        change.run()
    assert str(failed.value).splitlines()[-1] == f" {GRAFANA_PASSWORD}"
    assert (secrets.load(change.path)["grafana_admin"], change.brought) == (before, [])


@pytest.mark.parametrize("page", ["docs/how-to/change-a-password.md", "cvat_analytics/base/codes.md"])
def test_the_line_that_is_printed_is_the_one_in_the_documentation(page: str) -> None:
    assert f"`{GRAFANA_PASSWORD}`" in (ROOT / page).read_text()

"""What other hosts have put at the target: which of it belongs to a backup, and what is done later while one of them is at work there."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.operate.backup.agent import keeping, restoring
from cvat_analytics.operate.backup.agent import restic as library
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.keeping import Awaited
from cvat_analytics.operate.backup.agent.restic import MANIFEST, Restic
from tests.missing import give_up
from tests.operate.backup_site import made_quick_to_open
from tests.waiting import until

NOW = datetime.now(UTC).replace(microsecond=0)
NAME = "2026-11-30T02-30-00Z"
PART = "journal of view"
STORE = Config("store", "", "", "", clickhouse_url="http://nowhere", others=[PART])


class _Repository(Restic):
    """A repository that has these snapshots. A substitute for restic."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.there = there

    def run(self, *arguments: str, **more: Any) -> str:
        return ""

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        return sorted(self.there, key=lambda each: str(each["time"]))


def journal(id: str, began: timedelta, *tags: str, **more: str) -> dict[str, Any]:
    """Return what another host has put there, and began so long after the backup."""
    time = f"{NOW + began:%Y-%m-%dT%H:%M:%S}.123456789Z"
    return {"id": id, "time": time, "hostname": "view", "tags": ["journal", *tags], "paths": ["/"], **more}


MANIFEST_OF = {"id": "m", "time": "2026-11-30T02:31:00Z", "hostname": "store", "tags": [MANIFEST, NAME]}
HOURS = timedelta(hours=1)
OWN = "2026-11-29T17-30-00Z"


@pytest.mark.parametrize(
    ("there", "brought", "belongs"),
    [
        ([journal("a", -9 * HOURS, OWN)], (), "a"),
        ([journal("a", -timedelta(minutes=11), OWN)], (), "a"),
        ([journal("a", -21 * HOURS, OWN)], (), ""),
        ([journal("a", -9 * HOURS, NAME), MANIFEST_OF], (), ""),
        ([journal("a", timedelta(), NAME), MANIFEST_OF], (), ""),
        ([journal("b", -9 * HOURS, original="a"), {**MANIFEST_OF, "tags": [MANIFEST, NAME, "holds=a"]}], (), ""),
        ([journal("a", 24 * HOURS, OWN)], (), ""),
        ([journal("a", 24 * HOURS, OWN), journal("b", -HOURS, OWN)], (), "b"),
        ([journal("a", 24 * HOURS, OWN)], ("a",), "a"),
        ([journal("b", -30 * HOURS, NAME, original="abcdef"), MANIFEST_OF], ("abc",), "b"),
    ],
    ids=[
        "in another zone", "a clock that is behind", "too old", "taken", "a clock was ahead", "to be named", "ahead", "only one is ahead",
        "ahead and brought", "brought, and named since",
    ],
)  # fmt: skip
def test_what_no_backup_has_yet_belongs_to_one_for_some_hours(
    there: list[dict[str, Any]], brought: tuple[str, ...], belongs: str
) -> None:
    found, lacks, _ = keeping.adopt(STORE, _Repository(*there), "new", Awaited(NOW, brought))
    assert (PART in lacks) == (not belongs)
    assert found[PART]["snapshot"] == (belongs or found[PART]["snapshot"])


def test_what_began_long_before_is_only_taken_when_nothing_newer_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = _Repository(journal("a", -9 * HOURS, OWN))

    def bring(seconds: float) -> None:
        there.there = (*there.there, journal("b", timedelta(), NAME))

    monkeypatch.setattr(keeping.time, "sleep", bring)
    found, lacks, _ = keeping.adopt(STORE, there, "new", Awaited(NOW, patience=600))
    assert (found[PART]["snapshot"], lacks) == ("b", {})


def test_while_another_host_puts_something_there_names_wait_and_nothing_that_has_one_to_come_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("restic"):
        give_up("needs restic: tests/hosts/prepare, or apt install restic")
    monkeypatch.setattr(library, "_LOCKED_FOR", 0.0)
    (password := tmp_path / "password").write_text("of the test\n")
    (file := tmp_path / "file").write_text("{}")
    (state := tmp_path / "state").mkdir()
    config = replace(STORE, state=str(state), target=str(tmp_path / "there"), password_file=str(password))
    store, view = Restic(config), Restic(replace(config, host="view"))
    store.open(create=True)
    made_quick_to_open(tmp_path / "there", "of the test")
    moments = [datetime.now(UTC) - timedelta(days=3, hours=hour) for hour in (1, 0)]
    for moment in moments:
        tags = ["--tag=journal", f"--tag={moment:%Y-%m-%dT%H-%M-%SZ}"]
        view.run("backup", "--host=view", *tags, f"--time={moment.astimezone():%Y-%m-%d %H:%M:%S}", str(file))
        if moment is moments[0]:
            held = view.snapshots()[0]["id"]
            uploading = subprocess.Popen(
                ["restic", "backup", "--stdin", "--host=busy"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=store._environment(),
            )
            until(lambda: list((tmp_path / "there" / "locks").iterdir()), "it holds its lock")
            found, _, tags = keeping.adopt(config, store, NAME, Awaited(moments[0]))
            assert (found[PART]["snapshot"], tags) == (held, [f"holds={held}"])
            store.backup(MANIFEST, NAME, str(file), lambda done, total: None, tags)
    (backup,) = keeping.backups(store)
    # what a newer one follows would be forgotten after two days
    assert keeping.forget_unfinished(config, store) == []
    assert restoring.fetch(config, store, backup, "journal", tmp_path / "fetched").keys() == {"view"}
    uploading.communicate()
    keeping.forget_unfinished(config, store)
    named = [each for each in store.snapshots("journal") if NAME in each["tags"]]
    assert [each["original"] for each in named] == [held]
    assert json.loads(store.run("cat", "snapshot", named[0]["id"]))["hostname"] == "view"

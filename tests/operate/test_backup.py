"""Backups on the real engine and the real restic: made while events come in, proven, restored, and whatever may go wrong with them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.base.project import ROOT
from cvat_analytics.operate import erasure_list
from cvat_analytics.operate.backup import inventory, keys, questions, restoring
from cvat_analytics.operate.backup.agent import creating, keeping
from cvat_analytics.operate.backup.agent.restic import MANIFEST, Restic
from cvat_analytics.store import migrations
from tests.clickhouse import Store, free_ports
from tests.operate.backup_site import KEY, NOW, Site, events, made_quick_to_open, site
from tests.waiting import until


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("checks") / "checks.json"
    file.write_text(questions.text())
    return file


@pytest.fixture(scope="module")
def two(
    shared_engine: Store, checks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    """Return a stack with events of two months and one backup of it, and an empty stack with the same target."""
    directory = tmp_path_factory.mktemp("backup")
    with ExitStack() as opened:
        first, second = (
            site(
                opened.enter_context(shared_engine.another()),
                directory / name,
                str(directory / "repository"),
                checks,
            )
            for name in ("first", "second")
        )
        first.store.insert(events(50) + events(40, user=2) + events(30, month=1))
        letter = {
            "received_at": f"{NOW:%Y-%m-%d %H:%M:%S}.000",
            "reason": "not JSON",
            "message": "no",
            "original": "{",
        }
        first.store.post(
            f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow\n{json.dumps(letter)}", user="vector"
        )
        first.agent("create")
        made_quick_to_open(directory / "repository", keys.derived_password(KEY))
        yield first, second


@pytest.fixture
def empty(two: tuple[Site, Site]) -> Site:
    """Return the second stack with nothing in it and nobody erased."""
    _, second = two
    for table in restored_into(second):
        second.store.post(f"TRUNCATE TABLE {table}")
    (second.directory / "erasures.json").unlink(missing_ok=True)
    return second


def restored_into(where: Site) -> list[str]:
    query = (
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' "
        "AND name NOT IN ('schema_migrations', 'working_time_settings')"
    )
    return [row[0] for row in json.loads(where.store.post(query))["data"]]


def names(where: Site) -> list[str]:
    return [each["name"] for each in where.agent("list")["backups"]]


def leave_a_lock(where: Site) -> None:
    """Leave the lock of a restic that nobody else may be beside, and that was killed."""
    at = {"RESTIC_REPOSITORY": where.config.target, "RESTIC_PASSWORD_FILE": where.config.password_file}
    slow = ["restic", "--limit-download=1", "--no-cache", "check", "--read-data"]
    locks = Path(where.config.target) / "locks"
    with subprocess.Popen(slow, env=os.environ | at, stdout=subprocess.DEVNULL) as process:
        until(lambda: list(locks.iterdir()), "it has locked")
        process.kill()
    assert list(locks.iterdir())


def test_it_is_unproven_until_it_was_restored_beside_the_live_tables_and_compared(
    two: tuple[Site, Site],
) -> None:
    first, _ = two
    first.agent("create")
    before = first.agent("list")["backups"][0]
    events_there = first.sums()["events"][0][0]
    assert (before["events"], before["proven"]) == (events_there, False)
    leave_a_lock(first)
    said = first.agent("verify", "--restore")
    assert said["tables"]["events"].keys() == {
        f"{NOW - timedelta(hours=2):%Y%m}",
        f"{NOW - timedelta(days=31, hours=2):%Y%m}",
    }
    assert sum(each["rows"] for each in said["tables"]["events"].values()) == events_there
    assert said["queries"] == len(json.loads(Path(first.config.checks).read_text())["queries"]) > 40
    assert first.agent("list")["backups"][0]["proven"]
    left = f"SELECT count() FROM system.databases WHERE name = '{first.store.database}_restored'"
    assert json.loads(first.store.post(left))["data"] == [[0]]
    noted = f"SELECT state, verified IS NOT NULL FROM backups FINAL WHERE name = '{before['name']}'"
    assert json.loads(first.store.post(noted))["data"] == [["complete", 1]]
    assert list(Path(first.config.staging).iterdir()) == []


def cut_off_at(where: Site, step: str) -> None:
    """Restore as a run does that is cut off there: nothing more is done, nothing is cleaned up."""
    reached = where.reached
    manifest = reached.run(["prepare"], lambda said: None)["manifest"]
    putting = restoring.Restoring(reached.access, reached.list_file, manifest["beside"], manifest, True)
    for said in putting.run():
        if said == step:
            break
    assert json.loads(where.store.post("SELECT count() FROM events"))["data"] != [[0]]


def test_into_an_empty_stack_and_into_a_running_one_everything_comes_once(
    two: tuple[Site, Site], empty: Site
) -> None:
    first, _ = two
    backed_up = first.sums()
    # a timer that runs before the restore
    with pytest.raises(InputError, match=r"has no events, and backup .* has 120: .* Restore first"):
        empty.agent("create")
    cut_off_at(empty, "table events_dead_letter")
    # what is half put in is not taken away by the monthly check
    with pytest.raises(
        CvatAnalyticsError,
        match=r"is being put in since .*complete it with `cvat-analytics backup restore 20",
    ):
        empty.agent("verify", "--restore")
    # a link that ClickHouse's user has put there leads nowhere
    (elsewhere := empty.directory / "elsewhere").mkdir(exist_ok=True)
    (Path(empty.config.staging) / "fetched").symlink_to(elsewhere)
    empty.restore()
    assert list(elsewhere.iterdir()) == []
    assert empty.sums() == backed_up
    # what came since stays, and what is there already does not double
    empty.store.insert(events(10, first=1000))
    # a letter that came again since, in a part of its own
    letters = "events_dead_letter SELECT * REPLACE (received_at + 60 AS received_at) FROM events_dead_letter"
    empty.store.post(f"INSERT INTO {letters}")
    empty.store.post("OPTIMIZE TABLE events_dead_letter FINAL")
    after = empty.sums()
    assert after["dead letters"] != backed_up["dead letters"]
    assert after["events"][0][0] == backed_up["events"][0][0] + 10
    empty.restore()
    assert empty.sums() == after
    month = f"{NOW - timedelta(days=31, hours=2):%Y%m}"
    empty.store.post(f"ALTER TABLE events DROP PARTITION {month}")
    assert empty.sums()["events"][0][0] == after["events"][0][0] - 30
    empty.restore("--table=events", f"--month={month}")
    assert empty.sums() == after


def test_who_was_erased_since_stays_erased(empty: Site) -> None:
    erasure_list.add(empty.directory / "erasures.json", {2: datetime.now(UTC) + timedelta(seconds=1)})
    empty.restore()
    users = "SELECT DISTINCT user_id FROM events ORDER BY user_id"
    assert json.loads(empty.store.post(users))["data"] == [[1]]
    assert empty.sums()["erased"] == [[[2]]]
    assert "user 2" not in str(empty.sums()["names"])
    # a month alone, too
    whole, month = empty.sums(), f"{NOW - timedelta(hours=2):%Y%m}"
    empty.store.post(f"ALTER TABLE events DROP PARTITION {month}")
    empty.restore("--table=events", f"--month={month}")
    assert (empty.sums()["events"], empty.sums()["names"]) == (whole["events"], whole["names"])


def flipped(whole: bytes) -> bytes:
    return whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]


def cut_off(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def test_what_is_damaged_at_the_target_is_found_before_anything_live_is_touched(
    two: tuple[Site, Site], tmp_path: Path
) -> None:
    first, second = two
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", first.config.target, copy], check=True)
    # what is larger is data, that of the newest backup among it
    packs = {
        path: path.read_bytes()
        for path in (copy / "data").rglob("*")
        if path.is_file() and path.stat().st_size > 4096
    }
    damaged = replace(second, config=replace(second.config, target=str(copy), state=str(tmp_path / "state")))
    before = second.sums()
    for damage in (flipped, cut_off):
        for path, whole in packs.items():
            path.chmod(0o600)
            path.write_bytes(damage(whole))
        with pytest.raises(
            CvatAnalyticsError, match=r"(?i)pack|blob|ciphertext|damaged|verification|EOF|load|hash"
        ):
            damaged.restore()
        with pytest.raises(CvatAnalyticsError):
            damaged.agent("verify")
        if damage is flipped:
            newest = damaged.agent("list")["backups"][0]
            Restic(damaged.config).run("tag", f"--add={keeping.PROVEN}", newest["snapshot"])
            with pytest.raises(CvatAnalyticsError):
                damaged.agent("verify", "--restore")
            tried = damaged.agent("list")["backups"][0]
            assert (tried["name"], tried["proven"], tried["damaged"]) == (newest["name"], False, True)
            noted = f"SELECT state, verified FROM backups FINAL WHERE name = '{newest['name']}'"
            assert json.loads(second.store.post(noted))["data"] == [["damaged", None]]
        assert second.sums() == before


def test_a_backup_of_an_older_schema_made_while_somebody_is_erased_gets_migrations_and_takes_them_out(
    two: tuple[Site, Site], empty: Site
) -> None:
    first, _ = two
    script = next(each for each in migrations.read(ROOT / "clickhouse") if each.name.endswith("_backups.sql"))
    first.store.post("DROP TABLE backups SYNC")
    first.store.post(
        f"ALTER TABLE schema_migrations DELETE WHERE name = '{script.name}' SETTINGS mutations_sync = 1"
    )
    # an erasure that has just begun, by its marks: the line in the list, the table of what is under way
    first.store.post("INSERT INTO erasures (user_id, before) VALUES (2, now64(3))")
    first.store.post(
        "CREATE TABLE erasures_under_way (user_id UInt64, keep_sums Bool) ENGINE = MergeTree ORDER BY user_id AS SELECT 2, true"
    )
    try:
        first.agent("create")
    finally:
        first.store.post("DROP TABLE erasures_under_way SYNC")
        first.store.post("TRUNCATE TABLE erasures")
        migrations.apply([script], first.store.database, first.store.post)
    manifest = empty.restore()
    assert script.name not in manifest["migrations"]
    assert manifest["erasing"] == {"2": True}
    users = "SELECT countIf(user_id = 1), countIf(user_id = 2), uniqExact(timestamp) FROM events FINAL"
    there, at_first = (json.loads(each.store.post(users))["data"][0] for each in (empty, first))
    # of whom is erased the sums stay, as was asked for
    assert there == [at_first[0], 0, at_first[2]]
    assert "user 2" not in str(empty.sums()["names"])


def test_only_one_runs_at_a_time(two: tuple[Site, Site]) -> None:
    first, _ = two
    with (Path(first.config.state) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CvatAnalyticsError, match="another backup, restore or check is at work here"):
            first.agent("create")


def test_what_keeps_it_from_its_target_is_one_sentence(two: tuple[Site, Site], tmp_path: Path) -> None:
    first, _ = two

    def at(**changed: Any) -> Site:
        return replace(first, config=replace(first.config, state=str(tmp_path / "state"), **changed))

    password = tmp_path / "password"
    password.write_text("another\n")
    with pytest.raises(InputError, match="made with another recovery key"):
        at(password_file=str(password)).agent("create")
    (port,) = free_ports(1)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        at(target=f"s3:http://127.0.0.1:{port}/bucket").agent("create")
    with pytest.raises(InputError, match="there is no backup yet"):
        at(target=str(tmp_path / "nothing")).agent("list")
    with pytest.raises(UnreachableError, match=r"ClickHouse at .* cannot be asked"):
        at(clickhouse_url=f"http://127.0.0.1:{port}").agent("create")
    assert json.loads((tmp_path / "state" / "last.json").read_text())["state"] == "failed"
    # a disk that is not mounted is no new repository
    gone = Path(first.config.target)
    gone.rename(tmp_path / "unmounted")
    try:
        with pytest.raises(UnreachableError, match="what was there before is away"):
            first.agent("create")
    finally:
        (tmp_path / "unmounted").rename(gone)
    assert json.loads((Path(first.config.state) / "last.json").read_text())["state"] == "failed"


def test_the_journal_is_replayed_from_where_the_last_vector_was_calm(empty: Site) -> None:
    now = datetime.now(UTC).replace(microsecond=0)

    def since(**hours: dict[int, int]) -> timedelta:
        """Return from when on, with so many events that waited in the Vectors of hosts so many hours ago."""
        values = ", ".join(
            f"('{now - timedelta(hours=ago):%Y-%m-%d %H:%M:%S}', '{host}', 'buffer_size_events', 'events', {waiting})"
            for host, each in hours.items()
            for ago, waiting in each.items()
        )
        empty.store.post("TRUNCATE TABLE pipeline_metrics")
        if values:
            empty.store.post(
                f"INSERT INTO pipeline_metrics (time, host, name, component, value) VALUES {values}"
            )
        found = creating._replay_since(creating.clickhouse(empty.config), now)
        return now.replace(minute=0, second=0) - found

    assert since() == timedelta(hours=1)
    assert since(a={0: 10, 5: 10}) == timedelta(hours=1)
    assert since(a={0: 10}, b={0: 90_000, 7: 10}) == timedelta(hours=8)
    assert since(a={0: 10}, b={0: 90_000, 7: 90_000}) == timedelta(days=30, hours=1)


def test_so_many_are_kept_of_days_weeks_and_months(two: tuple[Site, Site], tmp_path: Path) -> None:
    first, _ = two
    config = replace(
        first.config,
        state=str(tmp_path),
        target=str(tmp_path / "kept"),
        keep_daily=2,
        keep_weekly=0,
        keep_monthly=2,
    )
    restic = Restic(config)
    restic.open(create=True)
    made_quick_to_open(tmp_path / "kept", keys.derived_password(KEY))
    note = tmp_path / "manifest.json"
    note.write_text("{}")
    moments = [datetime(2026, 11, day, 2, 30, tzinfo=UTC) for day in (1, 20, 29, 30)] + [
        datetime(2026, 10, 5, 2, 30, tzinfo=UTC),
        datetime(2026, 9, 1, 2, 30, tzinfo=UTC),
    ]
    for moment in moments:
        name = f"{moment:%Y-%m-%dT%H-%M-%SZ}"
        time = f"--time={moment:%Y-%m-%d %H:%M:%S}"
        for part in ("tables", MANIFEST):
            # the oldest alone has events, and was proven
            more = [f"--tag={each}" for each in ("events=50", keeping.PROVEN) if moment.month == 9]
            restic.run("backup", "--host=host", f"--tag={part}", f"--tag={name}", *more, time, str(note))
    said = replace(first, config=config).agent("prune")
    assert said["kept"] == [
        "2026-11-30T02-30-00Z",
        "2026-11-29T02-30-00Z",
        "2026-10-05T02-30-00Z",
        "2026-09-01T02-30-00Z",
    ]
    assert len(restic.snapshots()) == 8


def test_what_was_made_after_a_loss_takes_no_good_ones_place() -> None:
    every = [
        {"name": name, "events": events, "proven": proven, "damaged": False, "lacks": {}}
        for name, events, proven in (("e", 0, True), ("d", 3, False), ("c", 100, False), ("b", 90, True), ("a", 95, True))
    ]  # fmt: skip
    assert keeping.precious(every) == {"c", "b"}
    assert keeping.precious(every[1:]) == {"c", "b"}
    assert keeping.precious(every[3:]) == {"b"}
    assert keeping.precious([]) == set()
    # nor does one that lacks a part
    assert keeping.precious([*every[:2], every[2] | {"lacks": {"journal of in": ""}}, *every[3:]]) == {
        "c",
        "b",
    }
    lacking = {"lacks": {"journal of in": ""}}
    assert keeping.precious([every[2] | lacking, every[3] | lacking, every[4]]) == {"c", "b", "a"}
    with pytest.raises(InputError, match=r"the newest backup e has no events, d has 3\. Say which one"):
        restoring.chosen(every, "", "there")
    assert restoring.chosen(every, "e", "there") == every[0]
    assert restoring.chosen(every[1:], "", "there") == every[1]
    assert restoring.chosen(every[:1], "", "there") == every[0]
    damaged = [every[1] | {"damaged": True}, every[2] | {"damaged": True}, *every[3:]]
    assert keeping.precious(damaged) == {"b"}
    assert restoring.chosen(damaged, "", "there") == every[3]
    assert restoring.chosen(damaged, "c", "there") == damaged[1]


def test_the_inventory_opens_with_the_recovery_key_alone(tmp_path: Path) -> None:
    root = tmp_path / "operator"
    (root / "inventory").mkdir(parents=True)
    (root / "inventory" / "hosts.py").write_text("vector = ['a']\n")
    (root / "secrets.json").write_text('{"a": "the password"}')
    archive = inventory.packed([root / "inventory", root / "secrets.json", root / "none"], root, "key")
    assert b"the password" not in archive
    with pytest.raises(InputError, match="does not open it"):
        inventory.unpack(archive, "another", tmp_path / "back")
    assert inventory.unpack(archive, "key", tmp_path / "back") == ["inventory/hosts.py", "secrets.json"]
    assert (tmp_path / "back" / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_an_archive_is_opened_on_a_machine_that_is_busy_just_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secrets.json"
    file.write_text("{}")
    archive = inventory.packed([file], tmp_path, "key")
    busy, decrypt = iter([True, True, False]), pyrage.passphrase.decrypt

    def measured(*arguments: Any) -> bytes:
        if next(busy):
            raise pyrage.DecryptError("Excessive work parameter for passphrase")
        plain: bytes = decrypt(*arguments)
        return plain

    monkeypatch.setattr(pyrage.passphrase, "decrypt", measured)
    assert inventory.unpack(archive, "key", tmp_path / "back") == ["secrets.json"]

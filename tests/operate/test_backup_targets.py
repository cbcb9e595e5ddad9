"""Backups at a real S3 server (SeaweedFS), on a disk that is full, and while events come in that a journal has too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.operate.backup import questions
from tests.clickhouse import Store, free_ports
from tests.missing import give_up
from tests.operate.backup_site import Site, events, site
from tests.waiting import until

_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")  # fmt: skip


@contextmanager
def s3(directory: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """Run an S3 server below `directory` at an address of this machine, and yield its URL."""
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    keys = [{"accessKey": "key", "secretKey": "secret"}]
    identity = {"name": "backup", "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (directory / "data").mkdir()
    program = Path(sys.executable).with_name("weed")
    words = [
        "server",
        f"-dir={directory / 'data'}",
        f"-ip={address}",
        "-filer",
        "-s3",
        f"-s3.config={directory / 's3.json'}",
    ]
    words += [
        "-volume.max=20",
        "-master.volumeSizeLimitMB=64",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    url = f"http://{address}:{ports['s3.port']}"
    log = directory / "log"
    with (
        log.open("w") as output,
        subprocess.Popen([program, *words], stdout=output, stderr=output, cwd=directory) as process,
    ):

        def answers() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            with urllib.request.urlopen(f"{url}/healthz", timeout=10):
                return True

        try:
            until(answers, "the S3 server answers", despite=OSError)
            yield url
        finally:
            process.kill()


@pytest.fixture
def here(shared_engine: Store, tmp_path: Path) -> Iterator[Site]:
    """Return a stack with some events."""
    with shared_engine.another() as store:
        checks = tmp_path / "checks.json"
        checks.write_text(questions.text())
        made = site(store, tmp_path / "site", str(tmp_path / "repository"), checks)
        store.insert(events(20))
        yield made


def test_an_s3_store_is_a_target(here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    directory = tmp_path / "s3"
    directory.mkdir()
    with s3(directory) as url:
        there = replace(
            here, config=replace(here.config, target=f"s3:{url}/bucket", environment_file=str(keys))
        )
        keys.write_text("AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=another\n")
        with pytest.raises(InputError, match="refuses the keys of S3"):
            there.agent("create")
        keys.write_text("AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=secret\n")
        there.agent("create")
        assert [each["events"] for each in there.agent("list")["backups"]] == [20]
        here.store.post("TRUNCATE TABLE events")
        # by hand the keys come from whoever runs it
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        there = replace(there, config=replace(there.config, environment_file=""))
        there.restore()
    assert here.sums()["events"][0][0] == 20


def test_a_full_target_is_said_and_nothing_of_it_is_listed(here: Site, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        give_up(f"a disk of its own takes root: {mounted.stderr.decode().strip()}")
    large = tmp_path / "large"
    large.write_bytes(os.urandom(400_000))
    try:
        config = replace(here.config, target=str(disk / "repository"), inventory=str(large))
        there = replace(here, config=config)
        with pytest.raises(CvatAnalyticsError, match="it is full"):
            there.agent("create")
        assert there.agent("list")["backups"] == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert list(Path(here.config.staging).iterdir()) == []


def test_what_comes_while_it_is_made_is_neither_lost_nor_doubled(here: Site) -> None:
    """As Vector does, each event is in the journal before it is in the table, and some wait when the backup begins."""
    journal = Path(here.config.journal) / f"events-{datetime.now(UTC):%Y-%m-%dT%H}.jsonl"
    over, sent = threading.Event(), 20

    def write(rows: list[dict[str, object]]) -> None:
        with journal.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    write(events(20))
    waiting = events(5, user=3)
    write(waiting)

    def come_in() -> None:
        nonlocal sent
        while not over.is_set():
            rows = events(10, first=10_000 + sent)
            write(rows)
            here.store.insert(rows)
            sent += 10

    thread = threading.Thread(target=come_in)
    thread.start()
    try:
        here.agent("create")
        until(lambda: sent > 60, "events came in")
    finally:
        over.set()
        thread.join()
    here.store.insert(waiting)
    expected = here.sums()
    assert expected["events"][0][0] == sent + 5
    for table in ("events", "event_days", "working_time_days", "known_names"):
        here.store.post(f"TRUNCATE TABLE {table}")
    here.restore()
    found = here.sums()
    # what is replayed arrives when it is
    assert found["events"][0][0] == sent + 5
    assert {name: found[name] for name in found if name != "events"} == {
        name: expected[name] for name in found if name != "events"
    }

"""The settings of backups: what is no place and no time is refused, and so is what several hosts cannot share."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import topology
from cvat_analytics.config.validation import validate

PLACE = "is no place for backups: write an absolute path, 'sftp:user@host:/path', or 's3:https://host/bucket', without blanks and quotes"
TIME = "is no time as systemd writes it: write 'daily', 'Sun 03:00' or '*-*-* 02:30:00' (`systemd-analyze calendar` tries one)"
WRONG = {
    "backup_target": (
        *("/", "mnt/backup", "sftp:backup@host", "sftp://host", "s3:bucket", "s3:https://host/"),
        *(
            "s3:https://key:secret@host/bucket",
            "s3:https://host/bucket?x",
            "b2:bucket",
            "/a b",
            "/a'b",
            "/a%h",
        ),
    ),
    "backup_schedule": ("", " 02:30", "half past two", "25:00x", "02:30; rm", "02.30"),
}
RIGHT = {
    "backup_target": (
        *("", "/mnt/backup", "sftp:host:/srv", "sftp:backup@host.example.org:cvat", "sftp://backup@host:2222//srv"),
        *("sftp:backup@[fd00::7]:/srv", "s3:https://s3.example.org/bucket", "s3:http://127.0.0.1:8333/bucket/below"),
    ),
    "backup_schedule": (
        *("daily", "02:30", "Sun 03:00", "Mon..Fri 02:30", "*-*-* 00/6:00:00", "Mon *-05~07/1"),
        "Sat,Sun *-*-1..7 18:00 Europe/Berlin",
    ),
}  # fmt: skip


def mistakes(values: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        validate(values, where="all.py")
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_is_no_place_or_no_time_is_refused(name: str) -> None:
    reason = PLACE if name == "backup_target" else TIME
    for value in WRONG[name]:
        assert mistakes({name: value}) == [f"all.py: setting {name!r}: {value!r} {reason}"]
    for value in RIGHT[name]:
        assert getattr(validate({name: value}, where="all.py"), name) == value


def test_a_backup_that_would_be_kept_for_nobody_is_refused() -> None:
    none = {"backup_keep_daily": 0, "backup_keep_weekly": 0, "backup_keep_monthly": 0}
    assert mistakes(none) == [
        "all.py: settings 'backup_keep_daily', 'backup_keep_weekly', 'backup_keep_monthly': all are 0, so that no backup would be kept; "
        "set at least one to 1 or more"
    ]
    assert validate(none | {"backup_keep_weekly": 1}, where="all.py").backup_keep_weekly == 1


HOSTS = {"clickhouse": ["a"], "vector": ["a"], "grafana": ["b"]}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            ("/mnt/backup", "/mnt/backup"),
            "hosts.py: setting 'backup_target': /mnt/backup is a directory of each host's own, and the stack is on 2 hosts; give a place that "
            "all reach, 'sftp:user@host:/path' or 's3:https://host/bucket'",
        ),
        (
            ("sftp:c:/srv", ""),
            "hosts.py: setting 'backup_target': all hosts of a stack make one backup together; give it once, in group_data/all.py "
            "(got sftp:c:/srv of a, none of b)",
        ),
        (("sftp:c:/srv", "sftp:c:/srv"), ""),
    ],
    ids=["a directory of two hosts", "two targets", "one target of two hosts"],
)
def test_hosts_share_one_place_that_all_reach(targets: tuple[str, str], message: str) -> None:
    values = {
        host: {"address": f"10.0.0.{number}", "backup_target": target}
        for number, (host, target) in enumerate(zip("ab", targets, strict=True), 1)
    }
    if not message:
        assert topology.build(HOSTS, values, where="hosts.py").settings["b"].backup_target == "sftp:c:/srv"
        return
    with pytest.raises(InputError) as caught:
        topology.build(HOSTS, values, where="hosts.py")
    assert str(caught.value) == message

"""`cvat-analytics export` and `cvat-analytics users`, on a stack that is only described."""

from __future__ import annotations

import csv
import io
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics.api import queries
from cvat_analytics.base.errors import InputError, UnreachableError
from cvat_analytics.connect.access import Access
from cvat_analytics.credentials import secrets, users
from cvat_analytics.operate import exporting
from cvat_analytics.rendering import events_api
from scripts.cli import main as cli
from tests.api.data import EVENTS, START
from tests.clickhouse import Store, context, free_ports, way_to


@pytest.fixture(scope="module")
def access(store: Store) -> Access:
    return way_to(store.context)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_exported_file_is_complete_or_not_there(access: Access, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    shares: list[float] = []
    chosen_events = exporting.selection(from_=START.isoformat(), include="all")
    size = exporting.to_file(access, chosen_events, queries.FORMATS[form], path, shares.append)
    assert (path.stat().st_size, shares[-1]) == (size, 1.0)
    if form == "csv":
        timestamps = [
            row["timestamp"][:23] for row in csv.DictReader(io.StringIO(path.read_text(), newline=""))
        ]
        assert timestamps == [
            each["timestamp"] for each in EVENTS if each["timestamp"] >= f"{START:%Y-%m-%d}"
        ]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_is_no_file_is_written_to_and_stays_what_it_is(access: Access, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "x.csv")
    chosen_events = exporting.selection(from_=START.isoformat())
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        size = exporting.to_file(access, chosen_events, queries.FORMATS["csv"], pipe, lambda share: None)
        content = read.result(30)
    assert (len(content), stat.S_ISFIFO(pipe.stat().st_mode)) == (size, True)
    assert exporting.to_file(access, chosen_events, queries.FORMATS["csv"], link, lambda share: None) == size
    assert (link.is_symlink(), (tmp_path / "x.csv").read_bytes()) == (True, content)
    with pytest.raises(InputError, match="Is a directory"):
        exporting.to_file(access, chosen_events, queries.FORMATS["csv"], tmp_path, lambda share: None)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.csv", "pipe", "x.csv"]


def test_a_file_that_cannot_be_completed_is_not_there(access: Access, tmp_path: Path) -> None:
    gone = replace(access, clickhouse=replace(access.clickhouse, port=free_ports(1)[0]))
    path = tmp_path / "x.csv"
    path.write_text("an older one")
    with pytest.raises(UnreachableError):
        exporting.to_file(gone, exporting.selection(), queries.FORMATS["csv"], path, lambda share: None)
    with pytest.raises(InputError, match="cannot be written"):
        exporting.to_file(
            access,
            exporting.selection(),
            queries.FORMATS["csv"],
            tmp_path / "no" / "x.csv",
            lambda share: None,
        )
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.csv", "an older one")]


@pytest.mark.parametrize(
    ("filters", "option"),
    [
        ({"from_": "x"}, "--from"),
        ({"to": "x"}, "--to"),
        ({"job_id": -1}, "--job"),
        ({"from_": "2026-01-02", "to": "2026-01-01"}, "--from"),
    ],
)
def test_a_wrong_filter_is_refused_by_its_option(filters: dict[str, Any], option: str) -> None:
    with pytest.raises(InputError, match=f"^{option}: "):
        exporting.selection(**filters)


def test_a_time_that_is_none_is_refused_with_how_to_write_one() -> None:
    with pytest.raises(InputError, match=r"^--from: is not a time. Write it as 2026-01-31 or "):
        exporting.selection(from_="yesterday")


@pytest.mark.parametrize(("name", "code"), [("x.xlsx", 2), ("x.csv.gz", 2), ("x.CSV", 0), ("x", 0)])
def test_a_file_whose_name_says_another_form_is_not_written(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    monkeypatch.setattr("scripts.target.Target.reach", lambda target, **how: nullcontext(access))
    outcome = CliRunner().invoke(cli, ["export", "-o", str(tmp_path / name), "--to", "1980-01-01"])
    assert (outcome.exit_code, (tmp_path / name).exists()) == (code, code == 0), outcome.output
    assert ("End it in .csv, .jsonl, .parquet, or give --format" in outcome.output) == (code == 2)
    outcome = CliRunner().invoke(
        cli, ["export", "-o", str(tmp_path / name), "--to", "1980-01-01", "--format", "jsonl"]
    )
    assert (outcome.exit_code, (tmp_path / name).read_bytes()) == (0, b"")


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a stack that does not run."""
    from cvat_analytics.embedded import starting

    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    secrets.init(tmp_path / "secrets.json")
    monkeypatch.setattr(starting, "apply_users", lambda found: None)
    return tmp_path


def run(*arguments: str, typed: str = "") -> tuple[int, str]:
    outcome = CliRunner().invoke(cli, ["users", *arguments], input=typed)
    return outcome.exit_code, outcome.output


def test_users_are_added_listed_changed_and_removed(embedded: Path) -> None:
    where = ("--dir", str(embedded))
    file = embedded / users.FILE_NAME
    assert run("add", "anna", "--analytics", "--id", "7", *where, typed="first password\n")[0] == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "first password" not in file.read_text()
    known = users.load(file)
    assert users.check(known, "anna", "first password") == known["anna"]
    assert users.check(known, "anna", "wrong password") is None
    assert users.check(known, "nobody", "first password") is None
    assert run("add", "bob", *where, typed="first password\n")[1].splitlines() == [
        f"{file}: bob may log in and sees the events of the user name bob, and no dashboards."
    ]
    assert [" ".join(line.split()) for line in run("list", *where)[1].splitlines()] == [
        "anna sees the dashboards, which show everybody, and by the API the events of user id 7",
        "bob sees the events of the user name bob, and no dashboards",
    ]
    assert run("remove", "bob", *where)[0] == 0
    assert run("set-password", "anna", *where, typed="second password\n")[0] == 0
    assert users.check(users.load(file), "anna", "second password") is not None
    assert users.check(users.load(file), "anna", "first password") is None
    assert run("remove", "anna", *where)[0] == 0
    assert users.load(file) == {}


@pytest.mark.parametrize(
    ("arguments", "typed", "message"),
    [
        (("add", "anna"), "short\n", "too short"),
        (("add", "a b"), "a long password\n", "a name is made of"),
        (("add", "admin"), "a long password\n", "own administrator"),
        (("add", "anna", "--id", "0"), "a long password\n", "0 is not in the range"),
        (("add", "anna", "--id", str(2**63)), "a long password\n", "is not in the range"),
        (("remove", "admin"), "", "Change it there and deploy"),
        (("set-password", "admin"), "a long password\n", "Change it there and deploy"),
        (("remove", "anna"), "", "is not in the file"),
        (("set-password", "anna"), "a long password\n", "is not in the file"),
        (("change", "anna", "--analytics"), "", "user 'anna': is not in the file; there is nobody"),
        (("change", "admin", "--no-admin"), "", "Change it there and deploy"),
        (("change", "anna"), "", "nothing to change: say what shall be so of anna with --analytics"),
        (("change", "anna", "--id", "7", "--no-id"), "", "--id and --no-id: give one of them"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    embedded: Path, arguments: tuple[str, ...], typed: str, message: str
) -> None:
    code, text = run(*arguments, "--dir", str(embedded), typed=typed)
    assert (code, message in text) == (2, True)
    assert not (embedded / users.FILE_NAME).exists()


def test_two_users_cannot_be_one_person_by_a_mistyped_id(embedded: Path) -> None:
    where = ("--dir", str(embedded))
    assert run("add", "anna", "--id", "7", *where, typed="first password\n")[0] == 0
    before = users.load(embedded / users.FILE_NAME)
    code, text = run("add", "carl", "--id", "7", *where, typed="first password\n")
    assert (code, "the id 7 is that of 'anna'" in text) == (2, True)
    code, text = run("add", "anna", *where, typed="first password\n")
    assert (code, "anything else with `users change`" in text) == (2, True)
    assert users.load(embedded / users.FILE_NAME) == before
    assert run("add", "carl", *where, typed="first password\n")[0] == 0
    code, text = run("change", "carl", "--id", "7", *where)
    assert (code, "the id 7 is that of 'anna'" in text) == (2, True)
    assert users.load(embedded / users.FILE_NAME)["carl"].id is None


@pytest.mark.parametrize(
    ("options", "fields", "sees"),
    [
        (["--analytics"], {"analytics": True}, "the dashboards, which show everybody, and by the API"),
        (["--no-analytics"], {"analytics": False}, "the events of user id 7, and no dashboards"),
        (["--admin", "--no-analytics"], {"admin": True, "analytics": False}, "everything, and may change"),
        (["--id", "8"], {"id": 8}, "by the API the events of user id 8"),
        (
            ["--no-id", "--email", ""],
            {"id": None, "email": ""},
            "by the API the events of the user name anna",
        ),
    ],
)
def test_a_user_is_changed_in_what_is_asked_for_and_keeps_his_password(
    embedded: Path, options: list[str], fields: dict[str, Any], sees: str
) -> None:
    file, where = embedded / users.FILE_NAME, ("--dir", str(embedded))
    before = users.User(
        "anna", users.hash_password("first password"), analytics=True, id=7, email="anna@example.org"
    )
    users.save(file, {"anna": before})
    code, text = run("change", "anna", *options, *where)
    after = users.load(file)["anna"]
    assert after == replace(before, **fields)
    assert users.check(users.load(file), "anna", "first password") == after
    done = f"{file}: anna is so already; nothing changed."
    assert (code, sees in text or after == before, done in text) == (0, True, after == before)
    assert run("change", "anna", *options, *where) == (0, f"{done}\n")


LINK = 'grafana_root_url = "https://analytics.example.org/analytics/"\n'
THEIRS = [
    "Their link: https://analytics.example.org/analytics/",
    "Their events: https://analytics.example.org/api/events/docs",
]


@pytest.mark.parametrize(
    ("groups", "settings", "options", "lines"),
    [
        (
            ("events_api", "gateway"),
            LINK,
            ["--analytics"],
            ["In force after: cvat-analytics deploy --inventory {}", *THEIRS],
        ),
        (
            ("events_api", "gateway"),
            LINK,
            [],
            ["In force after: cvat-analytics deploy --inventory {}", THEIRS[1]],
        ),
        (("events_api",), "", ["--analytics"], ["In force after: cvat-analytics deploy --inventory {}"]),
        (
            (),
            "",
            ["--admin"],
            ["Nothing asks these users: the inventory has no host in the group 'events_api'."],
        ),
        (
            ("events_api", "gateway"),
            LINK + 'cvat_url = "https://cvat.example.org"\n',
            ["--analytics"],
            ["Nothing asks these users: 'cvat_url' is set, so CVAT says who may log in."],
        ),
    ],
    ids=["dashboards", "own events", "no gateway", "no events API", "beside a CVAT"],
)
def test_who_adds_a_user_of_hosts_is_told_what_is_still_to_do_and_what_to_hand_over(
    tmp_path: Path, groups: tuple[str, ...], settings: str, options: list[str], lines: list[str]
) -> None:
    inventory = tmp_path / "hosts.py"
    inventory.write_text(
        "".join(f"{name} = ['one']\n" for name in ("clickhouse", "vector", "grafana", *groups))
    )
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text(settings)
    code, text = run("add", "anna", *options, "--inventory", str(inventory), typed="first password\n")
    assert (code, text.splitlines()[1:]) == (0, [line.format(inventory) for line in lines])
    code, text = run(
        "change", "anna", "--no-analytics", "--no-admin", "--email", "a@b.org", "--inventory", str(inventory)
    )
    assert (code, text.splitlines()[1:]) == (0, [lines[0].format(inventory)])
    code, text = run("change", "anna", "--analytics", "--inventory", str(inventory))
    shown = [THEIRS[0], THEIRS[1]] if THEIRS[1] in lines else []
    assert (code, text.splitlines()[1:]) == (0, [lines[0].format(inventory), *shown])
    code, text = run("remove", "anna", "--inventory", str(inventory))
    assert (code, text.splitlines()[1:]) == (0, [lines[0].format(inventory)])


def test_the_rendered_files_are_the_same_every_time_and_hold_no_password(tmp_path: Path) -> None:
    described = context(tmp_path)
    file = tmp_path / "users.json"
    one, two = events_api.files(described, file), events_api.files(described, file)
    assert [(each.path, each.content) for each in one] == [(each.path, each.content) for each in two]
    password = described.secrets["events_api_admin"]
    assert [each.path for each in one if password in each.content] == []
    assert users.check(events_api.all_users(described, file), "admin", password)
    users.save(file, {"admin": users.User("admin", "x")})
    with pytest.raises(InputError, match="own administrator"):
        events_api.files(described, file)

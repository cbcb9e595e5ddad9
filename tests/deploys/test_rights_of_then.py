"""A Vector that an earlier version has configured may insert until it runs with what is new, and no longer."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from pyinfra.api import StringCommand

from cvat_analytics.rendering.files import RenderedFile
from cvat_analytics.store import rights
from deploys import former_vector, operations
from tests.deploys.conftest import Deploy

TWO = {"clickhouse": ["@fake/a"], "vector": ["@fake/b"], "grafana": ["@fake/a"]}
ADDRESSES = {"@fake/a": {"address": "10.0.0.1"}, "@fake/b": {"address": "10.0.0.2"}}
IS_SO = {"GRANT INSERT ON": ["former"]}
FORMER = [right.statement for right in rights.former_of_vector("cvat")]
NEW = rights.of_users("cvat")["vector"][0].statement


@pytest.fixture(autouse=True)
def _users_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each command that writes users.xml end with who may write: what is in it goes over standard input."""
    written = operations.written

    def marked(files: Sequence[RenderedFile], root: str = "/") -> StringCommand:
        marks = [
            " ".join(
                [
                    "; : users",
                    "new" if NEW in file.content else "",
                    *("former" for each in FORMER if each in file.content),
                ]
            )
            for file in files
            if file.path.endswith("users.d/cvat-analytics.xml")
        ]
        command = written(files, root)
        return StringCommand(command, *marks, _stdin=operations.packed(files).splitlines())

    monkeypatch.setattr(operations, "written", marked)


def test_it_may_insert_into_the_tables_of_then_until_it_has_been_replaced(run_deploy: Deploy) -> None:
    run = run_deploy(answers=IS_SO)
    both, new = run.position("users new former former"), run.position("users new$")
    assert both < run.position("systemctl restart clickhouse-server")
    assert run.position("systemctl restart vector") < new
    assert len(run.matching("users new")) == 2


def test_one_on_another_host_may_so_too(run_deploy: Deploy) -> None:
    run = run_deploy(TWO, host_settings=ADDRESSES, answers=IS_SO)
    assert run.failed == set()
    assert [command.rpartition("users ")[2] for command in run.matching("users new")] == [
        "new former former",
        "new",
    ]


def test_nobody_may_where_no_earlier_version_was(run_deploy: Deploy) -> None:
    assert [command.rpartition("users ")[2] for command in run_deploy().matching("users new")] == ["new"]


def test_a_deploy_that_leaves_it_as_it_is_leaves_its_rights_and_says_so(
    run_deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        run = run_deploy(TWO, host_settings=ADDRESSES, answers=IS_SO, limit=["@fake/a"])
    assert [command.rpartition("users ")[2] for command in run.matching("users new")] == ["new former former"]
    (warning,) = [each for each in caplog.messages if "list of erasures" in each]
    assert "@fake/b" in warning
    assert "without --limit" in warning


@pytest.mark.parametrize(
    ("grants", "found"),
    [
        (FORMER, "former"),
        (["GRANT INSERT ON cvat.*"], "former"),
        ([each.statement for user in rights.of_users("cvat").values() for each in user], ""),
        (["GRANT SELECT, INSERT ON cvat.*"], ""),
        (None, ""),
    ],
    ids=["earlier", "all-tables", "now", "of-cvats", "no-file"],
)
def test_what_is_so_is_read_from_the_file(tmp_path: Path, grants: list[str] | None, found: str) -> None:
    if grants is not None:
        file = tmp_path / "users.d" / "cvat-analytics.xml"
        file.parent.mkdir()
        file.write_text("\n".join(f"                <query>{each}</query>" for each in grants))
    command = former_vector.question(str(tmp_path))
    assert (
        subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()
        == found
    )

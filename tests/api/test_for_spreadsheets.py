"""A CSV that people open with Excel: no text in it is a formula, its times are local and say where, and its letters are letters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics.connect.access import Access
from cvat_analytics.operate import exporting
from scripts.cli import main
from tests.clickhouse import Store, way_to

HOSTILE = {
    "=1+1": "'=1+1",
    "=cmd|'/c calc'!A1": "'=cmd|'/c calc'!A1",
    "+49 30 1234": "'+49 30 1234",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t'=1",
    "\r=1": "'\r'=1",
    '"=1"': '"\'=1"',
    "'=1": "''=1",
    "  =1": "  '=1",
    "\uff1d1+1": "'\uff1d1+1",
    "a;=1": "a;'=1",
    'a;"=1': "a;\"'=1",
    "a\n=1": "a\n'=1",
    "a=1, b-2 @c": "a=1, b-2 @c",
    "佐藤 Zoë": "佐藤 Zoë",
    "": "",
}
"""What people and programs are called, and what a spreadsheet is to get."""


@pytest.fixture(scope="module")
def access(shared_engine: Store) -> Iterator[Access]:
    with shared_engine.another() as store:
        events: list[dict[str, Any]] = [
            {"scope": "load:job", "timestamp": f"2026-01-31 23:30:{place:02}.250", "source": "client", "user_name": text, "obj_val": text, "duration": 5}
            for place, text in enumerate(HOSTILE)
        ]  # fmt: skip
        store.insert(events)
        settings = store.context.settings.model_copy(update={"time_zone": "Asia/Tokyo"})
        way = way_to(store.context)
        yield type(way)(
            **{**vars(way), "clickhouse": type(way.clickhouse)(*way.clickhouse.address, settings)}
        )


def exported(access: Access, path: Path, *, spreadsheet: bool) -> bytes:
    form = exporting.form(access, "csv", spreadsheet=spreadsheet)
    exporting.to_file(access, exporting.selection(from_="2026-01-01"), form, path, lambda share: None)
    return path.read_bytes()


def test_no_text_is_a_formula_and_times_are_local(access: Access, tmp_path: Path) -> None:
    content = exported(access, tmp_path / "x.csv", spreadsheet=True)
    assert content.startswith(b"\xef\xbb\xbf")
    text = content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["user_name"] for row in rows] == list(HOSTILE.values())
    assert [row["obj_val"] for row in rows] == list(HOSTILE.values())
    assert rows[0]["timestamp (Asia/Tokyo)"] == "2026-02-01 08:30:00"
    assert {row["duration"] for row in rows} == {"5"}
    for delimiter in ",;\t":  # what a spreadsheet divides cells by depends on the country
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            for cell in row:
                assert not re.match(r"""[\s"]*[=+@\uff1d-]""", cell)


def test_without_the_option_a_csv_is_cvats_own(access: Access, tmp_path: Path) -> None:
    text = exported(access, tmp_path / "x.csv", spreadsheet=False).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["user_name"] for row in rows] == list(HOSTILE)
    assert rows[0]["timestamp"] == "2026-01-31 23:30:00.250000+00:00"


def test_it_is_csv_or_nothing(tmp_path: Path) -> None:
    arguments = ["export", "-o", str(tmp_path / "x.parquet"), "--for-spreadsheet", "--dir", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert (
        result.output
        == "cvat-analytics: --for-spreadsheet: makes CSV, not parquet. Leave out one of the two [CVA7202]\n"
    )

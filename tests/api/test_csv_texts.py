"""A line of CSV is the one that Python's `csv.writer` makes, of whatever bytes a text is, and each text is worked on once."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvat_analytics.api import queries
from cvat_analytics.operate import exporting
from cvat_analytics.store.event_columns import COLUMNS
from tests.clickhouse import Store, way_to

TEXTS = ("scope", "obj_name", "obj_val", "source", "user_name", "user_email", "org_slug", "payload")
NEVER_NULL = ("scope", "source")
_windows = itertools.count()

hostile = st.lists(
    st.sampled_from(
        [*b"\",\r\n\t\x0b\x0c ;'=+-@\\$\x00\x1f\x7f\x80\xc3\xff", *"a山é＝－\u2028".encode()]  # noqa: RUF001
    ),
    max_size=6,
).map(bytes)
texts = st.none() | hostile | st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
rows = st.lists(st.tuples(*[texts] * len(TEXTS)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def store(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as engine:
        yield engine


def harmless(text: bytes) -> bytes:
    """Return what a spreadsheet gets for a text."""
    signs = "[=+@-]|" + "|".join("＝＋＠－")  # noqa: RUF001
    begin = re.compile(rb"(^|[;\t\r\n])([\t\n\f\r \"']*)(" + signs.encode() + rb")")
    text = begin.sub(rb"\1\2'\3", text)
    return b"'" + text if text.startswith((b"\t", b"\r")) else text


def in_python(lines: Sequence[Sequence[object]]) -> bytes:
    """Return what `csv.writer` makes of them: a byte of a text is a character to it."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows(
        [each.decode("latin-1") if isinstance(each, bytes) else each for each in line] for line in lines
    )
    return file.getvalue().encode("latin-1")


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows)
def test_a_file_is_what_pythons_csv_makes_of_any_bytes(
    store: Store, tmp_path: Path, rows: list[tuple[bytes | None, ...]]
) -> None:
    access = way_to(store.context)
    begin = datetime(2014, 1, 1, tzinfo=UTC) + timedelta(minutes=next(_windows))
    moments = [begin + timedelta(milliseconds=250 * place) for place in range(len(rows))]
    events = [
        {name: b"" if text is None and name in NEVER_NULL else text for name, text in zip(TEXTS, row, strict=True)}
        for row in rows
    ]  # fmt: skip
    values = ", ".join(
        f"('{moment:%Y-%m-%d %H:%M:%S.%f}', "
        + ", ".join("NULL" if text is None else f"unhex('{text.hex()}')" for text in event.values())
        + ")"
        for moment, event in zip(moments, events, strict=True)
    )
    store.post(f"INSERT INTO events (timestamp, {', '.join(TEXTS)}) VALUES {values}")
    wanted = exporting.selection(
        from_=f"{begin:%Y-%m-%d %H:%M:%S}", to=f"{begin:%Y-%m-%d %H:%M}:59", include="all"
    )
    for spreadsheet in (False, True):
        zone = f" ({store.context.settings.time_zone})" if spreadsheet else ""
        expected: list[list[object]] = [[name + zone if name == "timestamp" else name for name in COLUMNS]]
        for moment, event in zip(moments, events, strict=True):
            shown = f"{moment:%Y-%m-%d %H:%M:%S}" if spreadsheet else str(moment)
            cells: dict[str, object] = dict.fromkeys(COLUMNS) | {"timestamp": shown, "duration": 0}
            cells |= {
                name: harmless(text) if spreadsheet and text is not None else text
                for name, text in event.items()
            }
            expected.append([*cells.values()])
        form = exporting.form(access, "csv", spreadsheet=spreadsheet)
        exporting.to_file(access, wanted, form, tmp_path / "x.csv", lambda share: None)
        mark = queries.BOM if spreadsheet else b""
        assert (tmp_path / "x.csv").read_bytes() == mark + in_python(expected)


@pytest.mark.parametrize("zone", ["", "Asia/Tokyo"])
def test_a_text_that_comes_again_is_worked_on_once(store: Store, zone: str) -> None:
    """As ClickHouse does where a function has one dictionary for its argument; of several it makes a text for each row."""
    parts = [part for name in TEXTS for part in queries.field(name, zone)]
    kinds = ", ".join(f"toTypeName({part})" for part in parts)
    store.post("INSERT INTO events (timestamp, scope) VALUES ('2013-01-01', 'x')")
    answer = store.post(
        f"SELECT DISTINCT arrayJoin([{kinds}]) FROM events AS e WHERE timestamp < '2014-01-01' FORMAT TSV"
    )
    assert answer.split("\n") == ["LowCardinality(String)", ""]

"""A dump says what it means, or is refused by line, column and text: nothing is guessed, nothing melts in silence."""

from __future__ import annotations

import json
import time
import tomllib
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.embedded.vector_substitute import config, remap
from cvat_analytics.importing.strict import PIPELINE, TimeFormat
from cvat_analytics.store import event_dates
from tests.clickhouse import Store
from tests.importing.samples import content, cvat_csv, events, fill, stock_table
from tests.vector.conftest import transforms, write_configuration

Run = Callable[..., tuple[int, str]]

HEADER = "scope,obj_name,obj_id,obj_val,source,timestamp,count,duration,project_id,task_id,job_id,user_id,user_name,user_email,org_id,org_slug,payload"
GOOD = "draw:object,,,,client,2026-11-28 17:35:02.4,,0,1,1,1,951,anna,,,,{}"


def nothing_imported(store: Store) -> bool:
    return (
        store.rows("SELECT count() AS n FROM events") == [{"n": 0}]
        and store.rows("SELECT name FROM system.tables WHERE name LIKE 'import\\\\_%'") == []
    )


def write(path: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path.write_text("\r\n".join([header, *rows, ""]), encoding=encoding, newline="")
    return path


@pytest.mark.parametrize(
    "text",
    ["35:02.4", "17:35:02", "10:00", "", "3/2/2026 10:00", "28.11.2026 17:35", "2026-02-30 10:00:00", "2026-11-28 25:00:00", "2026-11-28",
     "Nov 28 2026 17:35:02", "-1", "1e9", "2106-01-01 00:00:00", "1969-12-31 23:59:59", " 2026-11-28 17:35:02", "now", "\uff12\uff10\uff12\uff16-11-28 17:35:02"],
)  # fmt: skip
def test_a_time_that_no_grammar_has_is_named_with_line_column_and_text(
    store: Store, run: Run, tmp_path: Path, text: str
) -> None:
    lines = [GOOD.replace("{}", '"{""a"":\n1}"'), GOOD, GOOD.replace("2026-11-28 17:35:02.4", text)]
    file = write(tmp_path / "events.csv", *lines)
    code, output = run("import", "--file", file)
    assert code == 2, output
    assert f"events.csv: line 5, column timestamp: {text!r} is not a time" in output
    assert "--time-format" in output
    assert nothing_imported(store)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[config.Component, ...]:
    """Return the pipeline's own transforms, as they are rendered."""
    return transforms(tomllib.loads(write_configuration(tmp_path_factory.mktemp("rendered")).read_text()))


TEXTS = st.one_of(
    st.from_regex(r"[0-9]{1,15}([.,][0-9]{0,7})?", fullmatch=True),
    st.builds(
        lambda at, between, fraction, zone: f"{at:%Y-%m-%d}{between}{at:%H:%M:%S}{fraction}{zone}",
        st.datetimes(datetime(1960, 1, 1), datetime(2120, 1, 1)),
        st.sampled_from("Tt -_"),
        st.sampled_from(["", ".5", ",25", ".", ".123456", ".9999"]),
        st.sampled_from(["", "Z", "z", "+00:00", "-0330", " +05:45", "+5", "UTC"]),
    ),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}", fullmatch=True),
    st.text("0123456789-+:. TZz", max_size=26),
)  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=200))
@example(
    [
        "4291747199.999",
        "4291747200",
        "99999999999",
        "100000000000",
        "0",
        "1772447702.4",
        "2026-11-28T17:35:02-0330",
    ]
)
def test_a_dump_s_times_are_those_of_the_pipeline(
    store: Store, chain: tuple[config.Component, ...], texts: list[str]
) -> None:
    """Whatever a text is, file and pipeline take it for the same time, or both refuse it.

    A date that cannot be the pipeline refuses as that, and an import puts aside later.
    """
    sent = [
        json.dumps({"scope": "a", "source": "client", "timestamp": text, "obj_val": str(number)})
        for number, text in enumerate(texts)
    ]
    outputs = remap.run_all(
        chain, {"cvat_8282": [json.dumps({"message": f"[{','.join(sent)}]", "path": "/"})]}
    )
    rows = map(json.loads, outputs["normalise"])
    stored = {int(row["obj_val"]): row["timestamp"] for row in rows}
    implausible = {
        int(json.loads(letter["original"])["obj_val"])
        for letter in map(json.loads, outputs["dead_letter"])
        if letter["reason"] == event_dates.REASON
    }
    values = ", ".join("'" + text + "'" for text in texts)
    found = store.rows(
        f"SELECT {PIPELINE.milliseconds('text')} AS ms FROM (SELECT arrayJoin([{values}]) AS text)"
    )
    for number, row in enumerate(found):
        ms = None if row["ms"] is None else int(row["ms"])
        if number in implausible:
            assert ms is not None, texts[number]
            assert not FIRST_MS <= ms <= time.time() * 1000, texts[number]
        else:
            assert ms == _ms(stored.get(number)), texts[number]


FIRST_MS = int(datetime(2018, 1, 1, tzinfo=UTC).timestamp() * 1000)


def _ms(time: str | None) -> int | None:
    if time is None:
        return None
    return (datetime.fromisoformat(time).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        milliseconds=1
    )


@pytest.mark.parametrize(
    ("pattern", "written", "meant"),
    [
        ("%d.%m.%Y %H:%M", "28.11.2026 17:35", datetime(2026, 11, 28, 17, 35)),
        ("%m/%d/%Y %H:%M", "3/2/2026 10:00", datetime(2026, 3, 2, 10)),
        ("%d/%m/%Y %H:%M:%S.%f", "3/2/2026 10:00:07.25", datetime(2026, 2, 3, 10, 0, 7, 250000)),
        ("%m/%d/%y %I:%M %p", "3/2/26 1:05 PM", datetime(2026, 3, 2, 13, 5)),
        ("%d %b %Y, %H:%M:%S", "28 Nov 2026, 17:35:02", datetime(2026, 11, 28, 17, 35, 2)),
        ("%Y%m%d%H%M%S", "20261128173502", datetime(2026, 11, 28, 17, 35, 2)),
        ("%Y年%m月%d日 %H:%M", "2026年11月28日 17:35", datetime(2026, 11, 28, 17, 35)),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_file_s_own_form_of_times_is_read_where_it_is_named(
    store: Store, run: Run, tmp_path: Path, pattern: str, written: str, meant: datetime, zone: str
) -> None:
    file = write(tmp_path / "events.csv", GOOD.replace("2026-11-28 17:35:02.4", f'"{written}"'))
    code, output = run("import", "--file", file, "--time-format", pattern, "--time-zone", zone)
    assert code == 0, output
    (row,) = store.rows("SELECT toUnixTimestamp64Milli(timestamp) AS ms FROM events")
    assert int(row["ms"]) == meant.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000
    code, output = run("import", "--file", write(tmp_path / "other.csv", GOOD), "--time-format", pattern)
    assert code == 2
    assert (
        f"column timestamp: '2026-11-28 17:35:02.4' is not a time in the form --time-format {pattern!r}"
        in output
    )


def test_times_without_a_zone_are_those_of_the_zone_that_is_named(
    store: Store, run: Run, tmp_path: Path
) -> None:
    rows = [
        GOOD.replace("2026-11-28 17:35:02.4", time)
        for time in ("2026-11-28 17:35:02", "2026-11-28T17:35:03Z", "1795887304")
    ]
    code, output = run("import", "--file", write(tmp_path / "events.csv", *rows), "--time-zone", "Asia/Tokyo")
    assert code == 0, output
    assert [row["t"] for row in store.rows("SELECT toString(timestamp, 'UTC') AS t FROM events ORDER BY t")] == [
        "2026-11-28 08:35:02.000", "2026-11-28 17:35:03.000", "2026-11-28 17:35:04.000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--time-format", "%d.%m.%Y"], "--time-format '%d.%m.%Y': says no hour, no minute"),
        (["--time-format", "%c"], "--time-format '%c': %c is not understood"),
        (["--time-format", "%d.%m.%Y %H:%M %f"], "%f is not understood"),
        (["--time-zone", "Mars/Olympus"], "--time-zone Mars/Olympus: is no time zone"),
        (["--encoding", "utf-99"], "--encoding utf-99: is no encoding"),
    ],
    ids=["incomplete", "unknown", "fraction", "zone", "encoding"],
)
def test_an_option_that_means_nothing_is_refused(
    store: Store, run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, output = run("import", "--file", write(tmp_path / "events.csv", GOOD), *arguments)
    assert (code, message in output) == (2, True), output
    assert nothing_imported(store)


def test_text_that_is_not_utf_8_is_refused_or_converted(store: Store, run: Run, tmp_path: Path) -> None:
    row = GOOD.replace("anna", "佐藤")
    file = write(tmp_path / "events.csv", GOOD, row, encoding="cp932")
    code, output = run("import", "--file", file)
    assert code == 2
    assert "line 3, column user_name:" in output
    assert "is not UTF-8. Say how the file is encoded" in output
    assert nothing_imported(store)
    code, output = run("import", "--file", file, "--encoding", "utf-8-sig")
    assert (code, nothing_imported(store)) == (2, True), output
    code, output = run("import", "--file", file, "--encoding", "cp932")
    assert code == 0, output
    assert [each["user_name"] for each in store.rows("SELECT user_name FROM events ORDER BY user_name")] == [
        "anna",
        "佐藤",
    ]


def test_a_spreadsheet_s_unicode_text_is_read_when_its_encoding_is_named(
    store: Store, run: Run, tmp_path: Path
) -> None:
    file = write(
        tmp_path / "events.txt",
        GOOD.replace("anna", "Zoë").replace(",", "\t"),
        header=HEADER.replace(",", "\t"),
        encoding="utf-16",
    )
    code, output = run("import", "--file", file)
    assert (code, "is UTF-16. Say so with --encoding utf-16" in output) == (2, True), output
    code, output = run("import", "--file", file, "--encoding", "utf-16")
    assert code == 0, output
    assert store.rows("SELECT user_name FROM events") == [{"user_name": "Zoë"}]


def test_a_native_dump_with_other_bytes_is_refused(store: Store, run: Run, tmp_path: Path) -> None:
    stock_table(store)
    fill(store, events(3))
    store.post(
        "INSERT INTO old.events (scope, source, timestamp, user_name) VALUES ('a', 'client', now(), unhex('8d93'))"
    )
    path = tmp_path / "dump"
    answer = store.post(
        "SELECT base64Encode(user_name) AS n FROM old.events WHERE NOT isValidUTF8(ifNull(user_name, ''))"
    )
    assert "jZM" in answer
    url = (
        f"http://127.0.0.1:{store.http_port}/?user=admin&password={store.context.secrets['clickhouse_admin']}"
    )
    with urllib.request.urlopen(
        url, data=b"SELECT * FROM old.events ORDER BY timestamp FORMAT Native", timeout=30
    ) as answered:
        path.write_bytes(answered.read())
    code, output = run("import", "--file", path)
    assert (code, "row 4, column user_name:" in output, nothing_imported(store)) == (2, True, True), output


@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_separators_ids_of_data_frames_and_empty_last_lines_are_read(
    store: Store, run: Run, tmp_path: Path, delimiter: str
) -> None:
    row = GOOD.replace(",1,1,1,951,", ",5.0,6.00,7,951.0,").replace(",", delimiter)
    file = write(tmp_path / "events.csv", row, "", "", header=HEADER.replace(",", delimiter))
    code, output = run("import", "--file", file)
    assert code == 0, output
    assert store.rows("SELECT project_id, task_id, job_id, user_id FROM events") == [
        {"project_id": 5, "task_id": 6, "job_id": 7, "user_id": 951}
    ]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (",951,", ",5.5,", "line 3, column user_id: '5.5' is not a whole number that fits (Nullable(UInt64))"),
        (",951,", ",-1,", "column user_id: '-1' is not a whole number"),
        (",951,", ",NaN,", "column user_id: 'NaN' is not a whole number"),
        (",951,", ",18446744073709551616,", "column user_id: '18446744073709551616' is not a whole number"),
        (",,0,", ",,4294967296,", "column duration: '4294967296' is not a whole number that fits (UInt32)"),
        (",,0,", ",x,0,", "column count: 'x' is not a whole number"),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_named(
    store: Store, run: Run, tmp_path: Path, before: str, after: str, message: str
) -> None:
    code, output = run("import", "--file", write(tmp_path / "events.csv", GOOD, GOOD.replace(before, after)))
    assert (code, message in output, nothing_imported(store)) == (2, True, True), output


def test_an_empty_line_within_the_rows_is_named(store: Store, run: Run, tmp_path: Path) -> None:
    code, output = run("import", "--file", write(tmp_path / "events.csv", GOOD, "", GOOD))
    assert (code, "has an empty line before row 2" in output, nothing_imported(store)) == (2, True, True), (
        output
    )


def test_rows_that_melt_into_one_event_are_counted_and_said(store: Store, run: Run, tmp_path: Path) -> None:
    rows = [
        GOOD.replace("2026-11-28 17:35:02.4", f"2026-11-28 17:{minute}:00")
        for minute in (35, 36)
        for _ in range(5)
    ]
    code, output = run("import", "--file", write(tmp_path / "events.csv", *rows))
    assert code == 0, output
    assert (
        "Note: 8 of 10 rows have the same values as another row. All times are whole minutes: where they were cut, different events are one now."
        in output
    )
    code, output = run("import", "--file", write(tmp_path / "twice.csv", GOOD, GOOD))
    assert "Note: 1 of 2 rows have the same values as another row.\n" in output


def test_what_cvat_exports_melts_nothing(store: Store, run: Run, tmp_path: Path) -> None:
    rows = [event | {"obj_id": number} for number, event in enumerate(events(50))]
    file = tmp_path / "events.csv"
    file.write_text(cvat_csv(rows), newline="")
    code, output = run("import", "--file", file)
    assert (code, "Note: " in output and "same values" in output) == (0, False), output
    assert len(content(store, f"{store.database}.events")) == 50


def test_a_pattern_s_letters_do_not_run_into_each_other() -> None:
    assert TimeFormat("%Y%m%d %H:%M").joda() == "yyyyMMdd' 'H':'m"
    with pytest.raises(InputError, match="is no time zone"):
        TimeFormat(zone="")

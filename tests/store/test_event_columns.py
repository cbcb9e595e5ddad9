"""What the SQL and the VRL say of an event's columns is what `cvat_analytics/store/event_columns.py` says."""

from __future__ import annotations

import re

from cvat_analytics.base.project import ROOT
from cvat_analytics.store.event_columns import COLUMNS

TABLE = "clickhouse/init.sql"
NORMALISE = "templates/vector/normalise.vrl"


def declared() -> dict[str, tuple[int, str]]:
    """Return for each column of `events` that an INSERT may name its line in init.sql and its type, without how it is kept."""
    columns = {}
    inside = False
    for number, line in enumerate((ROOT / TABLE).read_text().splitlines(), 1):
        inside = inside or line == "CREATE TABLE IF NOT EXISTS events"
        if inside and line == ")":
            break
        match = re.match(r"    ([a-z_]+) ((?:[A-Za-z0-9]+(?:\((?:[^()]|\([^()]*\))*\))?))", line)
        if inside and match and "MATERIALIZED" not in line:
            columns[match[1]] = (number, re.sub(r"^LowCardinality\((.*)\)$", r"\1", match[2]))
    return columns


def test_the_table_has_them_in_their_order_with_their_types() -> None:
    table = declared()
    wrong = [
        f"{TABLE}:{number}: {name} is {kind}, in event_columns.py {COLUMNS.get(name)}"
        for name, (number, kind) in table.items()
        if COLUMNS.get(name) != kind
    ]
    assert wrong == []
    assert list(table) == list(COLUMNS)


def test_the_pipeline_makes_each_of_them_and_nothing_else() -> None:
    lines = (ROOT / NORMALISE).read_text().splitlines()
    named: dict[str, tuple[int, set[str]]] = {}
    for number, line in enumerate(lines, 1):
        if match := re.match(r'(texts|numbers) = split\("([a-z_ ]+)", " "\)', line):
            named[match[1]] = (number, set(match[2].split()))
    texts = {name for name, kind in COLUMNS.items() if "String" in kind}
    numbers = {name for name, kind in COLUMNS.items() if "UInt" in kind}
    for kind, wanted in (("texts", texts), ("numbers", numbers)):
        number, found = named[kind]
        assert found == wanted, f"{NORMALISE}:{number}: differs from event_columns.py in {found ^ wanted}"
    assert set(COLUMNS) == texts | numbers | {"timestamp"}

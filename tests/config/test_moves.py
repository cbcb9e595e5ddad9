"""The groups of an inventory while a part is on its way, and afterwards."""

from __future__ import annotations

import pytest

from cvat_analytics.config import moves
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.config.moves import Move

HOSTS = [
    Host("a", ["everything", "clickhouse", "vector", "grafana", "events_api", "gateway"], {}),
    Host("c", ["cold"], {}),
    Host("b", ["spare"], {"address": "10.0.0.2"}),
]


def groups(hosts: list[Host]) -> dict[str, list[str]]:
    return {
        host.name: [group for group in host.groups if group not in ("everything", "spare", "cold")]
        for host in hosts
    }


def test_the_new_host_takes_the_old_one_s_place_or_stands_before_it() -> None:
    move = Move("grafana", "a", "b", ("gateway", "events_api"))
    after = moves.regrouped(HOSTS, move)
    assert groups(after) == {
        "b": ["grafana", "gateway", "events_api"],
        "a": ["clickhouse", "vector"],
        "c": [],
    }
    assert [host.name for host in after] == ["b", "a", "c"]
    both = moves.regrouped(HOSTS, move, both=True)
    assert groups(both)["b"] == ["grafana", "gateway", "events_api"]
    assert set(groups(both)["a"]) == {"clickhouse", "vector", "grafana", "gateway", "events_api"}
    # whatever the inventory says by now
    assert groups(moves.regrouped(after, move)) == groups(after)
    assert groups(moves.regrouped(after, move, both=True))["a"] == groups(both)["a"]
    assert {name: set(each) for name, each in groups(moves.regrouped(after, move.back)).items()} == {
        name: set(each) for name, each in groups(HOSTS).items()
    }


@pytest.mark.parametrize(
    ("step", "names", "words"),
    [
        (moves.BEGUN, "a", ""),
        (
            moves.COPIED,
            "b",
            "and a is in use: first complete that by `cvat-analytics move clickhouse --to b`",
        ),
        (moves.SWITCHING, "a", "and b is in use: first complete that"),
        (moves.SWITCHED, "a", "and b is in use: first complete that"),
        (moves.MOVED, "a", "put b in the place of a in the group 'clickhouse'"),
        (moves.LEAVING, "a", "put b in the place of a in the group 'clickhouse'"),
        (moves.MOVED, "b", ""),
    ],
)
def test_nobody_works_with_a_clickhouse_that_is_not_in_use(step: str, names: str, words: str) -> None:
    told = Move("clickhouse", "a", "b", step=step).elsewhere({"clickhouse": [names]})
    assert words in told if words else not told
    # of another part both are at work, or the old one is stopped
    assert Move("vector", "a", "b", step=step).elsewhere({"clickhouse": ["a"], "vector": [names]}) == ""


def test_what_is_noted_is_read_and_what_is_no_note_is_none() -> None:
    move = Move("grafana", "a", "b", ("gateway",), moves.SWITCHED, "today")
    assert moves.read(move.text()) == move
    for text in ("", "{", "[]", '{"part": "vector"}', '{"along": []}'):
        assert moves.read(text) is None

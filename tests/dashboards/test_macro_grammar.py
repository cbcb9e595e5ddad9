"""Macros are found as the plugin's own parser finds them: grafana/macropro says so, for our queries and for random ones."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence

import pytest

from cvat_analytics.dashboards import load
from cvat_analytics.dashboards.expansion import sent_by_the_browser
from cvat_analytics.dashboards.macro_grammar import (
    NEWEST,
    V4_19,
    V4_20,
    Grammar,
    interpolate,
    interpolate_before_4_19,
)
from cvat_analytics.dashboards.macros import MACROS
from tests.dashboards.events import RANGE
from tests.dashboards.plugin_driver import PluginDriver
from tests.dashboards.test_queries import ALL_OF_ALL, ONE, SEVERAL

NAMES = [name.removeprefix("__") for name in MACROS]
_PIECES = [
    *(f"$__{name}" for name in [*NAMES, "nothing", "timeFilter_", "interval_m", ""]),
    "$", "$$", "$__", "$a$", "$b$", "'", "''", '"', '""', "`", "``", "\\", "\\'", "--", "/*", "*/", "-", "/", "\n", "\r",
    "(", ")", "(", ")", "(", ")", ",", ",", "()", " ", "\t", "\u00a0", "\u3000", "\x1c", "x", "é", "日", "1", "[", "]", "{", "}", "_", ";", "%",
]  # fmt: skip


def _echo(name: str) -> Callable[[Sequence[str]], str]:
    return lambda arguments: "⟦" + "¦".join([name, *arguments]) + "⟧"


ECHOES = {name: _echo(name) for name in NAMES}
"""Every macro becomes its name and its arguments: what the program in `driver/` makes of it as well."""


def _random_texts(count: int) -> list[str]:
    """Return texts of pieces that mean something to the parser, another set in each run."""
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)  # pytest shows it when the test fails
    chance = random.Random(seed)
    texts = []
    for _ in range(count):
        pieces = _PIECES + chance.choices(string.printable, k=5)
        few = chance.choices(pieces, k=8)  # few different ones meet more often
        texts.append(
            "".join(chance.choices(few if chance.random() < 0.5 else pieces, k=chance.randrange(1, 40)))
        )
    return texts


def _compare(driver: PluginDriver, texts: list[str]) -> None:
    answers = driver.macros(NAMES, texts)
    for text, answer in zip(texts, answers, strict=True):
        assert interpolate(text, ECHOES, V4_19) == answer["older"], repr(text)
        # what 4.20 changed lies in the arguments only; the comments of the newest are those of the other style
        assert interpolate(text, ECHOES, Grammar(nested=False, all_quotes=True)) == answer["newer"], repr(
            text
        )


def test_our_queries_are_read_as_the_plugin_reads_them(driver: PluginDriver) -> None:
    _compare(
        driver,
        [
            sent_by_the_browser(
                query,
                dashboard,
                RANGE,
                {name: values[name] for name in values if name in dashboard.variables},
            )
            for dashboard in load()
            for query in dashboard.queries
            for values in ({}, ONE, SEVERAL, ALL_OF_ALL)
        ],
    )


def test_random_texts_are_read_as_the_plugin_reads_them(driver: PluginDriver) -> None:
    _compare(driver, _random_texts(30_000))


@pytest.mark.parametrize(
    ("text", "before", "older", "newer"),
    [
        ("$__timeFilter(f($__fromTime))", "⟦timeFilter¦f(⟦fromTime⟧)⟧", "⟦timeFilter¦f($__fromTime)⟧", "⟦timeFilter¦f(⟦fromTime⟧)⟧"),
        ("$__dt($__dt(a, b), c)", "⟦dt¦⟦dt¦a¦b⟧¦c⟧", "⟦dt¦$__dt(a, b)¦c⟧", "⟦dt¦⟦dt¦a¦b⟧¦c⟧"),
        ("$__dt('a, b')", "⟦dt¦'a¦b'⟧", "⟦dt¦'a, b'⟧", "⟦dt¦'a, b'⟧"),
        ("-- $__dt", "-- ⟦dt⟧", " " * 8, " " * 8),
        ("$__interval_s $__interval_ms", "⟦interval_s⟧ ⟦interval_ms⟧", "⟦interval_s⟧ ⟦interval_ms⟧", "⟦interval_s⟧ ⟦interval_ms⟧"),
    ],
)  # fmt: skip
def test_versions_of_one_major_line_differ(text: str, before: str, older: str, newer: str) -> None:
    assert interpolate_before_4_19(text, ECHOES) == before
    assert interpolate(text, ECHOES, V4_19) == older
    assert interpolate(text, ECHOES, V4_20) == interpolate(text, ECHOES, NEWEST) == newer


def test_what_nobody_could_nest_by_hand_ends() -> None:
    text = "$__timeFrom(" * 200 + ")" * 200
    with pytest.raises(ValueError, match="nested deeper than 128 times"):
        interpolate(text, ECHOES)

"""Run Vector's own unit tests (templates/vector/tests.toml.j2) without Vector, in the VRL runtime."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics import render
from cvat_analytics.embedded.vector_substitute import unit_tests
from tests.vector.conftest import context, transforms

TESTS = tomllib.loads(render.render("vector/tests.toml.j2", context(Path("/")).variables()))["tests"]


@pytest.mark.parametrize("test", TESTS, ids=[test["name"] for test in TESTS])
def test_vector_unit_test(test: dict[str, Any], document: dict[str, Any]) -> None:
    assert unit_tests.failure_of(test, transforms(document)) == ""


def test_tests_have_names_of_their_own() -> None:
    names = [test["name"] for test in TESTS]
    assert len(names) == len(set(names))


def test_a_test_that_does_not_hold_fails(document: dict[str, Any]) -> None:
    test = next(test for test in TESTS if test["name"] == "a single object")
    wrong = test | {
        "outputs": [
            {
                "extract_from": "normalise",
                "conditions": [{"type": "vrl", "source": 'assert_eq!(.scope, "x")'}],
            }
        ]
    }
    assert unit_tests.failure_of(wrong, transforms(document)).startswith("a single object: ")
    nothing = test | {"outputs": [{"extract_from": "dead_letter", "conditions": []}]}
    assert "dead_letter gave nothing" in unit_tests.failure_of(nothing, transforms(document))

"""Run Vector's own unit tests (templates/vector/tests.toml.j2) without Vector, in the VRL runtime."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.embedded.vector_substitute import unit_tests
from cvat_analytics.rendering import render
from tests.vector.configuration import context, transforms

TESTS = tomllib.loads(render.render("vector/tests.toml.j2", context(Path("/")).variables()))["tests"]


@pytest.mark.parametrize("test", TESTS, ids=[test["name"] for test in TESTS])
def test_vector_unit_test(test: dict[str, Any], document: dict[str, Any]) -> None:
    assert unit_tests.failure_of(test, transforms(document)) == ""


def test_tests_have_names_of_their_own() -> None:
    names = [test["name"] for test in TESTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("test", TESTS, ids=[test["name"] for test in TESTS])
def test_conditions_leave_the_event_as_it_is(test: dict[str, Any]) -> None:
    """Vector compiles them with a read-only event (src/conditions/vrl.rs), which the runtime here does not know."""
    for output in test["outputs"]:
        for condition in output["conditions"]:
            assert not re.search(r"^\s*\.[\w.]* =[^=]|\bdel\(\.", condition["source"], re.MULTILINE)


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

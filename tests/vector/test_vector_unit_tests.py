"""Run Vector's own unit tests (templates/vector/tests.toml.j2) without Vector, in the VRL runtime."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import vector_vrl

from cvat_analytics import render
from cvat_analytics.embedded.vector_substitute import remap
from tests.vector.conftest import context, transforms

TESTS = tomllib.loads(render.render("vector/tests.toml.j2", context(Path("/")).variables()))["tests"]


@pytest.mark.parametrize("test", TESTS, ids=[test["name"] for test in TESTS])
def test_vector_unit_test(test: dict[str, Any], document: dict[str, Any]) -> None:
    chain = transforms(document)
    (entry,) = test["inputs"]
    outputs = remap.run_all(chain, "cvat", [json.dumps(entry["log_fields"])])
    assert entry["insert_at"] == chain[0].name
    for output in test["outputs"]:
        events = list(outputs[output["extract_from"]])
        assert events, f"{output['extract_from']} gave nothing, but: {outputs}"
        for condition in output["conditions"]:
            program = f'. = {{"event": to_string({{\n{condition["source"]}\n}})}}'
            results = vector_vrl.execute_vrl(program, events)
            assert any(result.get("event") == "true" for result in results), results


def test_tests_have_names_of_their_own() -> None:
    names = [test["name"] for test in TESTS]
    assert len(names) == len(set(names))

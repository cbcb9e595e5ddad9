"""What the tests of the pipeline share: its transforms in the VRL runtime, and the programs that run them, one after the other."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cvat_analytics.embedded.vector_substitute import remap
from tests.vector.configuration import Run, transforms, write_configuration
from tests.vector.fake_clickhouse import FakeClickHouse, fake_clickhouse
from tests.vector.running import PROGRAMS, Substitute, substitute

SENDER, HEADER = "10.0.0.4", "X-CVAT-Analytics-Sender"
"""Where a body comes from, and how a large one says so when it comes back."""


@pytest.fixture(scope="module", params=list(PROGRAMS))
def program(request: pytest.FixtureRequest) -> str:
    """Return which of the programs runs."""
    return str(request.param)


@pytest.fixture(scope="module")
def clickhouse(program: str) -> Iterator[FakeClickHouse]:
    """Return one for each program: none finds what the other has sent."""
    with fake_clickhouse() as fake:
        yield fake


@pytest.fixture(scope="module")
def vector(
    program: str, clickhouse: FakeClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Substitute]:
    with substitute(tmp_path_factory.mktemp("vector"), clickhouse.port, program) as running:
        yield running


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the rendered vector.toml, parsed."""
    path = write_configuration(tmp_path_factory.mktemp("rendered"))
    return tomllib.loads(path.read_text())


@pytest.fixture(scope="session")
def run(document: dict[str, Any]) -> Run:
    """Return a function that takes a request body through the transforms and gives the rows of each output."""
    chain = transforms(document)

    def run_body(body: str | bytes) -> dict[str, list[dict[str, Any]]]:
        data = body.encode() if isinstance(body, str) else body
        event = json.dumps(remap.message(data) | {"path": SENDER})
        outputs = remap.run_all(chain, {"cvat_8282": [event]})
        if not outputs["one_large_body"]:
            return {name: _rows(name, events) for name, events in outputs.items()}
        # what the sink `large_bodies` sends comes back at the source `large`
        (line,) = outputs["one_large_body"]
        assert remap.message_bytes(json.loads(line)) == data
        event = json.dumps(remap.message(data) | {"path": "/", HEADER: f"from {SENDER}"})
        outputs = remap.run_all(chain, {"large": [event]})
        return {name: _rows(name, events) for name, events in outputs.items()}

    return run_body


def _rows(name: str, events: Sequence[str]) -> list[dict[str, Any]]:
    """Return what came of a body at the output `name`, each without its sender, which all but a letter's whole text has."""
    rows = [json.loads(event) for event in events]
    for row in rows:
        assert name == "whole_original" or SENDER in (
            row.pop("sender", ""),
            row.get("path"),
            row.get(HEADER, "")[5:],
        )
    return rows

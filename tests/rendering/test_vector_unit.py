"""What Vector may take of a host, and what it is told of sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cvat_analytics.config import limits
from cvat_analytics.rendering import render
from cvat_analytics.rendering.memory import VECTOR_NEEDS
from tests.vector.configuration import context

GIB = 2**30


@pytest.mark.parametrize(("host", "limit"), [(2, 1.5), (4, 1.5), (6, 1.5), (8, 2), (64, 16)])
def test_the_largest_request_has_room_on_every_host(host: int, limit: float) -> None:
    unit = render.render(
        "systemd/vector.conf.j2", replace(context(Path("/")), memory_bytes=host * GIB).variables()
    )
    values = dict(re.findall(r"^(Memory\w+)=(\d+)$", unit, re.MULTILINE))
    assert values == {"MemoryMax": str(int(limit * GIB)), "MemoryHigh": str(int(limit * GIB) * 4 // 5)}
    assert int(values["MemoryHigh"]) > 9 * limits.VECTOR_BODY, (
        "what was measured (docs/reference/pipeline.md)"
    )
    assert int(values["MemoryMax"]) >= VECTOR_NEEDS


def test_the_unit_and_the_embedded_stack_start_vector_alike() -> None:
    unit = render.render("systemd/vector.conf.j2", context(Path("/")).variables())
    for name, value in limits.VECTOR_ENVIRONMENT.items():
        assert f"\nEnvironment={name}={value}\n" in unit

"""The embedded stack takes its share of what its container or control group has, not of the whole machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_analytics.embedded import stack

GIB = 2**30


@pytest.mark.parametrize(
    ("groups", "files", "least"),
    [
        ("0::/box/inner\n", {"box/inner/memory.max": "max", "box/memory.max": f"{4 * GIB}"}, 4 * GIB),
        # a container without a namespace of its own: the name is the one outside
        ("0::/docker/8f1c\n", {"memory.max": f"{2 * GIB}"}, 2 * GIB),
        ("4:memory:/box\n3:cpu:/\n", {"memory/box/memory.limit_in_bytes": f"{3 * GIB}"}, 3 * GIB),
        ("0::/\n", {}, None),
        ("", {}, None),
    ],
    ids=["version 2, the group above", "a container", "version 1", "no limit", "no groups"],
)
def test_the_narrowest_group_counts(
    tmp_path: Path, groups: str, files: dict[str, str], least: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    found = min(stack.group_limits(tmp_path))

    assert (found if least else found > 2**60) == (least or True)

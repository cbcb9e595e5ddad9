"""Write down the state of a checkout, for the tests of those that come after it (docs/developing.md#keep-a-release).

    PYTHONPATH=DIRECTORY .venv/bin/python tests/releases/keep.py NAME

Of the checkout in DIRECTORY, into a directory NAME beside this file: the SQL scripts as they run; the files that its deploy with the
defaults leaves on a host, with `modes.txt` (mode, user, group and path of each) and `deployed.json`, its note of the settings; and some
events as Vector inserts them. Done when a release is made; what was kept is never changed.

The passwords in it are `test-NAME`, and hashes of these. Dashboards and Vector's own tests are left out: they are large, no service needs
them to run, and they are in git.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cvat_analytics.base.project import ROOT
from cvat_analytics.config import deployed, topology
from cvat_analytics.config.settings import GROUPS
from cvat_analytics.credentials import secrets
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from cvat_analytics.store import migrations

EVENTS = 60


def event(number: int) -> dict[str, object]:
    """Return one row of some weeks of a small team."""
    kinds: list[dict[str, object]] = [
        {"scope": "create:shapes", "source": "server", "count": number, "payload": json.dumps({"request": {"id": f"r{number}"}})},
        {"scope": "draw:object", "source": "client", "duration": 700, "job_id": number % 5, "task_id": 1, "user_name": f"annotator {number % 3}"},
        {"scope": "update:job", "source": "server", "obj_name": "state", "obj_val": "completed", "job_id": number % 7},
        {"scope": "send:working_time", "source": "client", "payload": json.dumps({"working_time": 1200, "request": {"id": f"w{number}"}})},
    ]  # fmt: skip
    at = f"2026-10-{1 + number % 28:02} {8 + number % 10:02}:{number:02}:00.000"
    usual = {"timestamp": at, "obj_id": number, "user_id": number % 3, "org_id": 3, "org_slug": "house"}
    return usual | kinds[number % len(kinds)]


def main(name: str) -> None:
    """Write the state under that name."""
    target = Path(__file__).parent / name
    for script in migrations.read(ROOT / "clickhouse"):
        path = target / "clickhouse" / script.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script.sql)
    generated = secrets.generate()
    context = Context(
        "host",
        topology.build({group: ["host"] for group in GROUPS}, {"host": {}}, where="release"),
        type(generated)({name: f"test-{name}" for name in generated}),
    )
    files = [
        file
        for file in (
            *render.clickhouse_files(context),
            *render.vector_files(context),
            *render.grafana_files(context),
        )
        if not file.path.startswith(context.paths.dashboards) and not file.path.endswith("/tests.toml")
    ]
    for file in files:
        path = target / "files" / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
    modes = sorted(f"{file.mode} {file.user} {file.group} {file.path}\n" for file in files)
    (target / "modes.txt").write_text("".join(modes))
    (target / "deployed.json").write_text(deployed.note(context.settings, list(GROUPS)))
    lines = [json.dumps(event(number)) for number in range(EVENTS)]
    (target / "events.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

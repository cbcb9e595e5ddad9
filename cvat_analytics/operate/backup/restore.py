"""Bring a backup into a stack: beside its tables first, then into them, then what journals and files beside them have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.operate.backup import restoring
from cvat_analytics.operate.backup.reaching import Reached
from cvat_analytics.operate.backup.running import Said, Tell

_DIGESTS_AT_ONCE = 1000
"""More would not fit into a command line."""


@dataclass(frozen=True)
class Restored:
    """What has come back."""

    manifest: Said
    replayed: int
    originals: int


def run(reached: Reached, name: str, chosen: Sequence[str], tell: Tell) -> Restored:
    """Restore the backup `name`, all of it or what the agent's options `chosen` say. What was cut off is completed by the same once more.

    Raises CvatAnalyticsError, also where somebody else restores into the stack: `reached.hold` is whoever calls this.
    """
    views = ["--views"] if restoring.has_erasures(reached.access, reached.list_file) else []
    manifest: Said = reached.run(["prepare", name, *chosen, *views], tell)["manifest"]
    for step in restoring.Restoring(
        reached.access, reached.list_file, manifest["beside"], manifest, not chosen
    ).run():
        tell({"step": step, "state": "done"})
    replayed = 0 if chosen else reached.replay(manifest, tell)
    originals = _originals(reached, manifest, tell) if "events_dead_letter" in manifest["wanted"] else 0
    reached.run(["drop"], tell)
    return Restored(manifest, replayed, originals)


def _originals(reached: Reached, manifest: Said, tell: Tell) -> int:
    """Bring the whole originals of the dead letters that there are back to beside the Vectors, each to its own, and return how many."""
    with explained(STORE):
        query = f"SELECT DISTINCT original_sha256 FROM {reached.access.database}.events_dead_letter WHERE original_sha256 != '' ORDER BY 1"
        digests = [str(row[0]) for row in reached.access.client().query(query).result_rows]
    parts = [named.partition(" of ") for named in manifest["parts"]]
    backed_up = [host or manifest["host"] for part, _, host in parts if part == "journal"]
    added = 0
    for number, (vector, agent) in enumerate(reached.beside_vectors.items()):
        # of a host that is there no more the first has them
        theirs = [
            host
            for host in backed_up
            if host == vector or (number == 0 and host not in reached.beside_vectors)
        ]
        if not (theirs and digests):
            continue
        fetch = [
            "fetch",
            manifest["name"],
            "journal",
            "--only=dead-letters-*",
            *(f"--of={host}" for host in theirs),
        ]
        try:
            for place in agent(fetch, tell)["places"].values():
                for begin in range(0, len(digests), _DIGESTS_AT_ONCE):
                    some = digests[begin : begin + _DIGESTS_AT_ONCE]
                    added += int(agent(["originals", place, *some], tell)["added"])
        except BaseException:
            # what was fetched is people's, and takes room; a host that is away takes it away with its next backup
            with suppress(CvatAnalyticsError):
                agent(["drop"], tell)
            raise
        agent(["drop"], tell)
    if added:
        tell({"step": "whole originals of dead letters", "state": "done", "rows": added})
    return added

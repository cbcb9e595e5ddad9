"""A stack that can be backed up and restored: its agents, the way to it, its list of erasures and its journals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.access import Access
from cvat_analytics.operate import erasure_list
from cvat_analytics.operate.backup.running import Said, Tell
from cvat_analytics.pipeline import journal
from cvat_analytics.pipeline.replay import Range, Replay
from cvat_analytics.rendering.files import Paths

Agent = Callable[[Sequence[str], Tell], Said]
"""Runs the agent with these arguments."""


@dataclass(frozen=True)
class Reached:
    """A stack."""

    run: Agent
    """Has the agents do something (of several hosts each backs up its own parts), and returns what that of ClickHouse's host says."""
    access: Access
    list_file: Path
    journals: Callable[[], Sequence[tuple[str, Sequence[journal.File]]]]
    """Finds the journals that the stack has: what names each, and its files."""
    journal_at: Callable[[str], Sequence[journal.File]]
    """Finds a journal in a directory on ClickHouse's host."""
    hold: Callable[[], AbstractContextManager[None]]
    """Keeps other restores into the stack away meanwhile."""
    beside_vectors: Mapping[str, Agent]
    """The agent beside each Vector, by its host."""

    def replay(self, manifest: Said, tell: Tell) -> int:
        """Bring back what the backup's journal and the stack's own have since the backup began. Return how many events that was."""
        begin = datetime.fromisoformat(manifest["replay_since"])
        since, inserted = Range(begin, None, "arrival"), 0
        sources = list(self.journals())
        if any(part.split()[0] == "journal" for part in manifest["parts"]):
            hours = int((datetime.fromisoformat(manifest["finished"]) - begin) / timedelta(hours=1)) + 2
            # one more for a Vector whose clock is ahead; with the hour, or of earlier versions with the day alone
            names = {f"events-{begin + timedelta(hours=hour):%Y-%m-%dT%H}.*" for hour in range(hours)}
            names |= {f"events-{begin + timedelta(hours=hour):%Y-%m-%d}.*" for hour in range(hours)}
            only = [f"--only={name}" for name in sorted(names)]
            places = self.run(["fetch", manifest["name"], "journal", *only], tell)["places"]
            sources += [
                (f"backup {manifest['name']} of {host}", self.journal_at(place))
                for host, place in places.items()
            ]
        for source, files in sources:
            chosen = since.files(files)
            size = sum(file.size for file in chosen)

            def progress(done: int, size: int = size) -> None:
                tell({"step": "replay", "state": "going on", "done": done, "total": size})

            inserted += Replay(self.access, source, chosen, since).run(progress).inserted
        tell({"step": "replay", "state": "done", "rows": inserted})
        return inserted


def found(find: Callable[[], Sequence[journal.File]]) -> Sequence[journal.File]:
    """Return the files of a journal; nothing where there is none."""
    try:
        return find()
    except InputError:
        return ()


@contextmanager
def of_hosts(inventory: Path, at: str, *, partly: bool = False) -> Iterator[Reached]:
    """Yield a deployed stack; `at`: a target in the place of the setting; `partly`: also where hosts are away of which nothing is wanted, or a backup does without.

    Raises as `remote.reach_hosts` does.
    """
    from cvat_analytics.connect import remote
    from cvat_analytics.operate.backup import over_ssh

    place = f"{Paths().vector_data}/journal"
    with remote.reach_hosts(inventory, partly=partly, looks=False) as (described, access, hosts):

        def at_host(host: str, directory: str) -> Sequence[journal.File]:
            return found(lambda: journal.find_on_host(hosts[host].shell, directory))

        yield Reached(
            partial(over_ssh.run, described, hosts, at, away=access.away),
            access,
            described.secrets_file.with_name(erasure_list.FILE_NAME),
            lambda: [
                (f"{host}:{place}", at_host(host, place)) for host in described.topology.groups["vector"]
            ],
            partial(at_host, described.topology.clickhouse_host),
            lambda: over_ssh.held(
                hosts[described.topology.clickhouse_host].shell,
                [hosts[host].shell for host in described.topology.groups["vector"] if host in hosts],
            ),
            {
                host: partial(over_ssh.on_host, hosts[host].shell, at)
                for host in described.topology.groups["vector"]
                if host in hosts
            },
        )

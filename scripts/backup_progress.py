"""What the commands about backups have in common: their options, the stack they are about, and how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from scripts.target import Target
from scripts.terminal import echo, rewritten

if TYPE_CHECKING:
    from cvat_analytics.operate.backup.reaching import Reached
    from cvat_analytics.operate.backup.running import Said, Tell

_WORDS = {
    "target": "looking at the target",
    "clickhouse": "ClickHouse writes its tables",
    "tables": "tables",
    "grafana": "Grafana's database",
    "journal": "the journal",
    "inventory": "inventory and passwords",
    "others": "what other hosts have put there",
    "manifest": "the manifest",
    "forget": "choosing what to keep",
    "prune": "giving room back",
    "read": "reading all of the target",
    "manifests": "looking at each backup",
    "fetch": "fetching",
    "restore": "restoring beside the live tables",
    "compare": "comparing each table and month with the manifest",
    "schema": "migrations and views",
    "queries": "asking the dashboards' queries",
    "replay": "replaying the journal",
}


def json_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")(
        function
    )


def at_option(option: str) -> Callable[[Any], Any]:
    """Return what adds the option of that name, which says where backups are."""
    return click.option(
        option,
        "at",
        metavar="TARGET",
        default="",
        help="A directory, sftp:user@host:/path or s3:https://host/bucket.  [default: the setting 'backup_target']",
    )


@contextmanager
def opened(target: Target, at: str, *, partly: bool = False) -> Iterator[Reached]:
    """Yield the stack, `partly` also where hosts of it are away. Raises as `target.reach` does, and InputError without a target."""
    if target.inventory:
        from cvat_analytics.operate.backup import reaching

        with reaching.of_hosts(target.inventory, at, partly=partly) as reached:
            yield reached
    else:
        from cvat_analytics.embedded import backup

        yield backup.reached(target.embedded(), at)


def shown(as_json: bool) -> Tell:
    """Return what shows how far it is: with `--json` nothing."""
    return _quiet if as_json else _show


def _show(said: Said) -> None:
    """Show a line for each step, on a terminal with how far it is."""
    words, terminal = _WORDS.get(said["step"], said["step"]), sys.stderr.isatty()
    if said["state"] == "going on" and terminal and said.get("total"):
        rewritten(f"{words}: {100 * said['done'] // said['total']} %   ")
    elif said["state"] == "done":
        if terminal:
            rewritten(" " * len(f"{words}: 100 %   "))
        rows = f", {said['rows']:,} rows" if "rows" in said else ""
        echo(f"{words}{rows}: done", err=True)


def _quiet(said: Said) -> None:
    """Show nothing: what came of it is printed as JSON."""


def size(number: float) -> str:
    """Return bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"

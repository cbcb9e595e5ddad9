"""What `adopt` says: how the old side is reached, the plan, how far it is, what to do with CVAT, and what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.volumes import size
from scripts import hints
from scripts.target import Target
from scripts.terminal import echo, rewritten

if TYPE_CHECKING:
    from cvat_analytics.importing.copying import Month
    from cvat_analytics.operate.adopt.carrying import Ended
    from cvat_analytics.operate.adopt.containers import Compose
    from cvat_analytics.operate.adopt.hand_made import Taken
    from cvat_analytics.operate.adopt.survey import Plan

_OVERRIDE = "docker-compose.analytics.yml"
_WORDS = {
    "copy": "copying the stock events",
    "dashboards": "hand-made dashboards",
    "switch": "waiting until CVAT sends here alone",
    "stop": "stopping",
    "rest": "copying the rest",
    "compare": "comparing both sides",
}


def how_to_reach(target: Target) -> str:
    """Return how the addresses are found out, for pasting: the stock compose publishes no port."""
    command = hints.command("adopt", "plan", *target.options)
    format_ = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return (
        "say where CVAT's ClickHouse and Grafana answer (--from and --grafana; --no-grafana without its dashboards). The stock compose "
        "publishes no port of theirs. On the machine of CVAT's docker their containers' addresses do:\n"
        f" address() {{ docker inspect -f '{format_}' \"$1\"; }}\n"
        f' {command} --from "http://$(address cvat_clickhouse):8123" --grafana "http://$(address cvat_grafana):3000"\n'
        "From another machine, through SSH, with the name of CVAT's in the place of cvat.example.org:\n"
        f' address() {{ ssh cvat.example.org docker inspect -f "\'{format_}\'" "$1"; }}\n'
        ' ssh -fN -L 18123:"$(address cvat_clickhouse)":8123 -L 13000:"$(address cvat_grafana)":3000 cvat.example.org\n'
        f" DOCKER_HOST=ssh://cvat.example.org {command} --from http://127.0.0.1:18123 --grafana http://127.0.0.1:13000"
    )


def show_plan(found: Plan) -> None:
    events = found.events
    span = f", {events.first} to {events.last}" if events.first else ""
    room = "size not known" if events.bytes is None else size(events.bytes)
    echo(f"ClickHouse  {events.version}: {events.rows:,} rows{span}, {room}")
    done = events.rows - events.expired - events.to_copy
    echo(f"to copy     {events.to_copy:,} rows{f'; {done:,} are here already' if done else ''}")
    if events.implausible:
        echo(f"implausible {events.implausible:,} rows: they become dead letters")
    if events.unknown_columns:
        echo(f"unknown     {', '.join(events.unknown_columns)}")
    if found.grafana:
        there = found.grafana
        titles = ", ".join(each.title for each in there.hand_made)
        echo(
            f"Grafana     {there.version}: {len(there.hand_made)} hand-made dashboards{f' ({titles})' if titles else ''}, {len(there.stock)} of CVAT's own"
        )
    containers = found.containers
    echo(
        f"containers  {containers.unknown or ', '.join([*(f'{name} runs' for name in containers.running), *(f'{name} is stopped' for name in containers.stopped)])}"
    )
    if containers.still_sending:
        echo(f"            sending to the stock Vector: {', '.join(containers.still_sending)}")
    needed = "not known" if found.needed_bytes is None else size(found.needed_bytes)
    free = "not known" if found.free_bytes is None else size(found.free_bytes)
    echo(f"room        {needed} needed, {free} free")
    echo(f"time        about {max(1, round(found.seconds / 60))} min for the events")
    for title, lines in (("Note", found.notes), ("Cannot be taken", found.not_taken)):
        for line in lines:
            echo(f"{title}: {hints.pasteable(line)}")
    echo("What `apply` does:")
    for number, step in enumerate(found.steps, 1):
        echo(f"  {number}. {step}")
    if found.refused:
        echo("It does not begin:")
        for text in found.refused:
            echo(f"  {hints.pasteable(text)}")


def tell(as_json: bool, said: dict[str, Any]) -> None:
    """Show on standard error how far it is; on a terminal with how much of it."""
    words = _WORDS[said["step"]]
    if said["state"] == "begin":
        echo(f"{words} {said.get('text', '')}".rstrip() + " ...", err=True)
    elif said["state"] == "done":
        rows = f", {said['rows']:,}" if "rows" in said else ""
        echo(f"{words} {said.get('text', '')}".rstrip() + f"{rows}: done", err=True)
    elif "text" in said:
        echo(f"  {said['text']}", err=True)
    elif sys.stderr.isatty() and not as_json and said["total"]:
        rewritten(f"  {100 * said['done'] // said['total']} %  ")


def tell_cvat(begun: tuple[str, list[str]], files: Path, target: Target, as_json: bool) -> None:
    """Print the override with which CVAT sends here, and what to do with it."""
    text, notes = begun
    write(files, text)
    if not as_json:
        echo(text, nl=False)
    for note in notes:
        echo(f"Note: {hints.pasteable(note)}.", err=True)
    echo(
        f"{files / _OVERRIDE} has it. Put it beside CVAT's docker-compose.yml, the password into CVAT's .env, and start CVAT with it; the "
        "stock containers go on:\n"
        f"  {hints.command('cvat-env', *target.options, '--password-file', '.env')}\n"
        f"  docker compose -f docker-compose.yml -f {_OVERRIDE} up -d",
        err=True,
    )


def write(files: Path, text: str) -> None:
    """Have the override `text` in the directory `files`."""
    from cvat_analytics.base.files import write_atomically

    path = files / _OVERRIDE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text, 0o644)
    except OSError as error:
        raise InputError(
            Code.OUTPUT_UNWRITABLE, f"{path}: cannot be written ({error.strerror}). See --files"
        ) from None


def report(
    months: Sequence[Month], taken: Sequence[Taken], ended: Ended | None, left: Sequence[str], compose: Compose, files: Path,
    lasting: str, as_json: bool,
) -> None:  # fmt: skip
    """Write the override that lasts, and say what came of it, and how to go back."""
    from cvat_analytics.operate.adopt.containers import CLICKHOUSE, GRAFANA, VECTOR
    from scripts.import_ import show

    write(files, lasting)
    stop, back = (
        compose.command(
            verb, *(VECTOR, GRAFANA, CLICKHOUSE) if verb == "stop" else (CLICKHOUSE, VECTOR, GRAFANA)
        )
        for verb in ("stop", "start")
    )
    if as_json:
        echo(json.dumps({
            "months": [asdict(month) for month in months],
            "dashboards": [{**asdict(each), "findings": [str(finding) for finding in each.findings]} for each in taken],
            "ended_before": ended.at.isoformat() if ended else None,
            "to_stop": list(left),
            "stop": stop,
            "back": back,
            "override": str(files / _OVERRIDE),
        }))  # fmt: skip
        return
    for each in taken:
        echo(f"dashboard {each.title}: {each.file or 'not taken'} ({each.grafana})")
        for finding in each.findings:
            echo(
                f"  {finding.where}: {finding.what}. {finding.next_step}"
                if finding.where
                else f"  {finding.what}. {finding.next_step}"
            )
    if ended:
        echo(
            f"All was brought and compared at {ended.at:%Y-%m-%d %H:%M} UTC ({ended.rows:,} rows), and the stock ClickHouse is stopped."
        )
    else:
        show(months)
        echo("All events of the stock table are stored. An event that it has twice is stored once.")
    if left:
        echo(f"Stop the old containers where CVAT's docker is:\n  {stop}")
    else:
        echo("The old containers are stopped; nothing was removed.")
    echo(
        f"CVAT's next `up` starts them again, unless {files / _OVERRIDE}, which was written anew, takes the place of the one beside CVAT's "
        "files: then they are removed, and the volume cvat_events_db stays.\n"
        f"To go back, start CVAT without the override, and them; what has come here since stays here:\n  {back}"
    )

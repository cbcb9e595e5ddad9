"""`cvat-analytics adopt`: take the place of CVAT's stock analytics, with its events and its hand-made dashboards."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.base.texts import UTF_8
from cvat_analytics.connect.volumes import size
from scripts import hints
from scripts.cvat_env import compose_options, described, override
from scripts.target import Target, target_options
from scripts.terminal import confirm, echo, secret_from_file

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access
    from cvat_analytics.dashboards.grafana import Grafana
    from cvat_analytics.operate.adopt.carrying import Adoption, Ended
    from cvat_analytics.operate.adopt.containers import Compose
    from cvat_analytics.operate.adopt.hand_made import Taken, There
    from cvat_analytics.operate.adopt.survey import Plan, Source

_OVERRIDE = "docker-compose.analytics.yml"
_STOCK_LOGIN = "user"
"""Name and password that the stock compose gives its ClickHouse."""


@dataclass(frozen=True)
class _Side:
    """How the stock side is reached."""

    source: Source
    grafana: str
    login: tuple[str, str] | None
    compose: Compose

    def ask_grafana(self) -> Grafana | None:
        """Return the stock Grafana; None where it is not wanted, or its container is stopped, as it is at the end of an adoption."""
        from cvat_analytics.dashboards.grafana import Elsewhere, Grafana
        from cvat_analytics.operate.adopt.containers import GRAFANA

        if not self.grafana:
            return None
        try:
            return Grafana(Elsewhere(self.grafana, self.login))
        except UnreachableError:
            if GRAFANA in self.compose.look().stopped:
                return None
            raise


def _side_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how the stock side is reached; the function gets a `side`."""

    @functools.wraps(function)
    def command(
        *arguments: Any, url: str, user: str, password_file: Path | None, database: str, table: str, leave_out: tuple[str, ...],
        encoding: str, grafana: str, no_grafana: bool, grafana_user: str, grafana_password_file: Path | None, project: str,
        target: Target, **options: Any,
    ) -> None:  # fmt: skip
        from cvat_analytics.operate.adopt.containers import Compose
        from cvat_analytics.operate.adopt.survey import Source
        from scripts.encoding import codec

        if not url or not (grafana or no_grafana):
            raise InputError(Code.ADOPT_ADDRESS, _how_to_reach(target))
        if bool(grafana_user) != bool(grafana_password_file):
            raise click.UsageError("--grafana-user and --grafana-password-file go together")
        if grafana and not grafana.startswith(("http://", "https://")):
            raise InputError(
                Code.OPTION_VALUE, f"--grafana {grafana}: is no address, as in http://127.0.0.1:3000"
            )
        password = secret_from_file(password_file) if password_file else _STOCK_LOGIN
        login = (grafana_user, secret_from_file(grafana_password_file)) if grafana_password_file else None
        source = Source(url, user, password, database, table, leave_out, codec(encoding))
        side = _Side(source, "" if no_grafana else grafana.rstrip("/"), login, Compose(project))
        function(*arguments, side=side, target=target, **options)

    file = click.Path(path_type=Path, exists=True, dir_okay=False)
    for option in reversed((
        click.option("--from", "url", default="", metavar="URL", help="HTTP address of the stock ClickHouse."),
        click.option("--user", default=_STOCK_LOGIN, show_default=True, help="User to log in there as."),
        click.option("--password-file", type=file, help="File with that user's password.  [default: the stock compose's]"),
        click.option("--database", default="cvat", show_default=True, help="Its database."),
        click.option("--table", default="events", show_default=True, help="Its table."),
        click.option("--leave-out", multiple=True, metavar="COLUMN", help="Do without this unknown column. May be repeated."),
        click.option("--encoding", default=UTF_8, show_default=True, help="How text that is not UTF-8 is encoded, such as cp932."),
        click.option("--grafana", default="", metavar="URL", help="HTTP address of the stock Grafana."),
        click.option("--no-grafana", is_flag=True, help="Do not look for hand-made dashboards."),
        click.option("--grafana-user", default="", help="User to log in there as, where it does not let everybody in."),
        click.option("--grafana-password-file", type=file, help="File with that user's password."),
        click.option("--project", default="cvat", show_default=True, help="Name of CVAT's compose project."),
    )):  # fmt: skip
        command = option(command)
    return command


def _how_to_reach(target: Target) -> str:
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


@click.group()
def adopt() -> None:
    """Take the place of CVAT's stock analytics: bring its events and hand-made dashboards, switch CVAT, stop the old containers.

    No event is lost and none doubled, while CVAT goes on (docs/how-to/adopt-the-stock-stack.md).
    """


@adopt.command("plan")
@target_options
@_side_options
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
def plan(side: _Side, as_json: bool, target: Target) -> None:
    """Show what is there, what will be done, how long it takes, and what cannot be taken. Nothing is changed.

    Exit code 1 when `apply` would not begin: an unknown column, text that is not UTF-8, too little room; 3 when a side cannot be reached.
    """
    from cvat_analytics.operate.adopt import hand_made, survey

    with target.reach() as access:
        grafana = side.ask_grafana()
        there = hand_made.look(grafana) if grafana else None
        found = survey.look(side.source, access, there, side.compose, access.volumes())
    if as_json:
        echo(json.dumps(found.as_json()))
    else:
        _show_plan(found)
        if not found.refused:
            echo("\nIt is done by `adopt apply` with the same options.")
    sys.exit(1 if found.refused else 0)


def _show_plan(found: Plan) -> None:
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


@adopt.command("apply")
@target_options
@_side_options
@click.option(
    "--files", type=click.Path(path_type=Path, file_okay=False), default=Path("adopted"), show_default=True,
    help="Directory for the override and the hand-made dashboards.",
)  # fmt: skip
@click.option(
    "--quiet",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds for which the stock table must stand still.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help="Seconds to wait until CVAT sends here.",
)
@compose_options
@click.option("--yes", is_flag=True, help="Stop the old containers without a question.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print as one JSON object, and how far it is on standard error."
)
def apply(
    side: _Side, files: Path, quiet: float, wait: float, cvat_compose: tuple[Path, ...], docker_config: Path | None, yes: bool,
    as_json: bool, target: Target,
) -> None:  # fmt: skip
    """Bring the stock events and dashboards, wait until CVAT sends here, bring the rest, and stop the old containers last.

    The same command completes a run that was cut off anywhere. Nothing is removed. Exit code 1 when something is missing in the end, or
    CVAT was not switched in the time of --wait; 2 when nothing was begun; 3 when a side cannot be reached.
    """
    from cvat_analytics.operate.adopt import carrying, hand_made, survey

    tell = functools.partial(_tell, as_json)
    begun, lasting = _overrides(target, cvat_compose, docker_config)
    taken: list[Taken] = []
    with target.reach(begin="the adoption") as access:
        try:
            adoption = carrying.opened(side.source, access, side.compose, tell)
        except UnreachableError as error:
            _report(
                None, taken, carrying.ended(access, side.compose, error), (), side, files, lasting, as_json
            )
            return
        grafana = side.ask_grafana()
        there = hand_made.look(grafana) if grafana else None
        found = survey.look(side.source, access, there, side.compose, access.volumes())
        if found.refused:
            raise InputError(Code.ADOPT_REFUSED, "\n".join(found.refused))
        for note in found.notes:
            echo(f"Note: {note}.", err=True)
        adoption.begin_anew()
        adoption.bring("copy")
        if grafana and there:
            taken = _take(there, grafana, side, access, files, tell)
        if not adoption.is_switched:
            _tell_cvat(begun, files, target, as_json)
        adoption.wait_for_cvat(quiet, wait)
        _ask(adoption, yes)
        adoption.close_intake()
        months = adoption.finish()
        left = adoption.stop_the_rest()
    _report(months, taken, None, left, side, files, lasting, as_json)


def _overrides(
    target: Target, cvat_compose: tuple[Path, ...], docker_config: Path | None
) -> tuple[tuple[str, list[str]], str]:
    """Return the override with which the stock containers go on, with what is to be said of it, and the one that keeps them from starting."""
    from cvat_analytics.gateway import cvat_env as library

    topology, _, authority = described(target)
    env = library.environment(topology, authority is None)
    if env.refused:
        raise InputError(Code.CVAT_ENV_REFUSED, env.refused)
    text, more = override(env, False, cvat_compose, docker_config, keep_stock=True)
    notes = [*env.notes, *more]
    return (text, notes), override(env, False, cvat_compose, docker_config)[0]


def _take(
    there: There,
    stock: Grafana,
    side: _Side,
    access: Access,
    files: Path,
    tell: Callable[[dict[str, Any]], None],
) -> list[Taken]:
    """Bring the hand-made dashboards, and say of each what became of it."""
    from cvat_analytics.dashboards import engine
    from cvat_analytics.dashboards.grafana import Grafana
    from cvat_analytics.operate.adopt import hand_made

    own: Grafana | None = None
    missing = ""
    try:
        own = Grafana(access)
    except UnreachableError as error:
        missing = "not put into a Grafana"
        echo(hints.pasteable(f"Note: the dashboards are kept as files alone: {error}."), err=True)
    refusal = engine.refusal(access)
    taken = []
    tell({"step": "dashboards", "state": "begin", "total": len(there.hand_made)})
    for found in there.hand_made:
        try:
            each = hand_made.take(
                found, stock, own, side.source.database, files / "dashboards", refusal, missing
            )
        except CvatAnalyticsError as error:
            if error.exit_code != 1:
                raise
            each = hand_made.Taken(found.uid, found.title, "", (), str(error))
        taken.append(each)
        tell({"step": "dashboards", "state": "going on", "done": len(taken), "total": len(there.hand_made)})
    tell({"step": "dashboards", "state": "done", "rows": len(taken)})
    return taken


def _tell_cvat(begun: tuple[str, list[str]], files: Path, target: Target, as_json: bool) -> None:
    """Print the override with which CVAT sends here, and what to do with it."""
    text, notes = begun
    _write(files / _OVERRIDE, text)
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


def _write(path: Path, text: str) -> None:
    from cvat_analytics.base.files import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text, 0o644)
    except OSError as error:
        raise InputError(
            Code.OUTPUT_UNWRITABLE, f"{path}: cannot be written ({error.strerror}). See --files"
        ) from None


def _ask(adoption: Adoption, yes: bool) -> None:
    """Ask whether the old containers may be stopped; where that cannot be done from here, whether the stock Vector is."""
    from cvat_analytics.operate.adopt.containers import VECTOR

    look = adoption.compose.look()
    if look.unknown:
        echo(
            f"CVAT sends here. Stop the stock Vector, so that nothing more can go there ({look.unknown}):\n"
            f"  {adoption.compose.command('stop', VECTOR)}",
            err=True,
        )
        question = "Is it stopped?"
    else:
        question = f"CVAT sends here. Stop {', '.join(look.running)}? {VECTOR} goes first, the others when the rest is here and compared"
    if not yes and (look.unknown or look.running):
        confirm(question, abort=True, err=True)


def _report(
    months: Any, taken: list[Taken], ended: Ended | None, left: Any, side: _Side, files: Path, lasting: str, as_json: bool
) -> None:  # fmt: skip
    """Write the override that lasts, and say what came of it, and how to go back."""
    from cvat_analytics.operate.adopt.containers import CLICKHOUSE, GRAFANA, VECTOR
    from scripts.import_ import show

    _write(files / _OVERRIDE, lasting)
    stop, back = (
        side.compose.command(
            verb, *(VECTOR, GRAFANA, CLICKHOUSE) if verb == "stop" else (CLICKHOUSE, VECTOR, GRAFANA)
        )
        for verb in ("stop", "start")
    )
    if as_json:
        echo(json.dumps({
            "months": [asdict(month) for month in months or ()],
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


_WORDS = {
    "copy": "copying the stock events",
    "dashboards": "hand-made dashboards",
    "switch": "waiting until CVAT sends here alone",
    "stop": "stopping",
    "rest": "copying the rest",
    "compare": "comparing both sides",
}


def _tell(as_json: bool, said: dict[str, Any]) -> None:
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
        # a number of our own, which may go back to the line's beginning
        sys.stderr.write(f"  {100 * said['done'] // said['total']} %  \r")
        sys.stderr.flush()

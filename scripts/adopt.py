"""`cvat-analytics adopt`: take the place of CVAT's stock analytics, with its events and its hand-made dashboards."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.base.texts import UTF_8
from scripts import adopting, hints
from scripts.cvat_env import compose_options, described, override
from scripts.target import Target, target_options
from scripts.terminal import confirm, echo, secret_from_file

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access
    from cvat_analytics.dashboards.grafana import Grafana
    from cvat_analytics.operate.adopt.carrying import Adoption
    from cvat_analytics.operate.adopt.containers import Compose
    from cvat_analytics.operate.adopt.hand_made import Taken, There
    from cvat_analytics.operate.adopt.survey import Source

_STOCK_LOGIN = "user"
"""Name and password that the stock compose gives its ClickHouse."""


@dataclass(frozen=True)
class _Side:
    """How the stock side is reached."""

    source: Source
    grafana: str
    login: tuple[str, str] | None
    compose: Compose

    def ask_grafana(self, access: Access) -> Grafana | None:
        """Return the stock Grafana; None where it is not wanted, or was stopped when everything of both sides had been brought.

        Raises UnreachableError, where its container is stopped with the command that starts it.
        """
        from cvat_analytics.dashboards.grafana import Elsewhere, Grafana
        from cvat_analytics.operate.adopt import carrying
        from cvat_analytics.operate.adopt.containers import GRAFANA

        if not self.grafana:
            return None
        try:
            return Grafana(Elsewhere(self.grafana, self.login))
        except UnreachableError as error:
            look = self.compose.look()
            if GRAFANA not in look.stopped:
                raise
            if carrying.is_noted(access, self.source, look):
                return None
            raise UnreachableError(
                Code.ADOPT_STOPPED_EARLY,
                f"{error}. Its container is stopped, and the dashboards that people made may be in it alone. Start it, or do without them "
                f"(--no-grafana), then run the same command again:\n {self.compose.command('start', GRAFANA)}",
            ) from None


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
            raise InputError(Code.ADOPT_ADDRESS, adopting.how_to_reach(target))
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
        grafana = side.ask_grafana(access)
        there = hand_made.look(grafana) if grafana else None
        found = survey.look(side.source, access, there, side.compose, access.volumes())
    if as_json:
        echo(json.dumps(found.as_json()))
    else:
        adopting.show_plan(found)
        if not found.refused:
            echo("\nIt is done by `adopt apply` with the same options.")
    sys.exit(1 if found.refused else 0)


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

    tell = functools.partial(adopting.tell, as_json)
    begun, lasting = _overrides(target, cvat_compose, docker_config)
    with target.reach(begin="the adoption") as access:
        try:
            adoption = carrying.opened(side.source, access, side.compose, tell)
        except UnreachableError as error:
            ended = carrying.ended(access, side.source, side.compose, error)
            adopting.report([], [], ended, ended.running, side.compose, files, lasting, as_json)
            return
        grafana = side.ask_grafana(access)
        there = hand_made.look(grafana) if grafana else None
        found = survey.look(side.source, access, there, side.compose, access.volumes())
        if found.refused:
            raise InputError(Code.ADOPT_REFUSED, "\n".join(found.refused))
        for note in found.notes:
            echo(f"Note: {note}.", err=True)
        for line in found.not_taken:
            echo(f"Cannot be taken: {hints.pasteable(line)}.", err=True)
        adoption.bring("copy")
        taken = _take(there, grafana, side, access, files, tell) if grafana and there else []
        lost = [each for each in taken if not each.file]
        for each in lost:
            echo(f"dashboard {each.title}: is not taken ({each.grafana})", err=True)
        if not adoption.is_switched:
            adopting.tell_cvat(begun, files, target, as_json)
        adoption.wait_for_cvat(quiet, wait)
        _ask(adoption, yes)
        months = adoption.finish(adoption.close_intake(), not lost)
        if lost:
            # neither stopped, nor an override under which compose removes them: the stock Grafana has no volume
            adopting.write(files, begun[0])
            titles = ", ".join(each.title for each in lost)
            raise CvatAnalyticsError(
                Code.ADOPT_NOT_STOPPED,
                f"the events are here, and these dashboards are not: {titles}. So the stock Grafana and ClickHouse were not stopped. Mend what "
                "is said above of each, then run the same command again, or do without them (--no-grafana)",
            )
        left = adoption.stop_the_rest()
    adopting.report(months, taken, None, left, side.compose, files, lasting, as_json)


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


def _ask(adoption: Adoption, yes: bool) -> None:
    """Ask whether the old containers may be stopped; where that cannot be done from here, whether the stock Vector is.

    Raises CvatAnalyticsError where nobody is asked (`yes`) and docker does not tell.
    """
    from cvat_analytics.operate.adopt.containers import VECTOR

    look = adoption.compose.look()
    if look.unknown:
        if yes or adoption.by_docker:
            adoption.refuse_unseen(look)
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

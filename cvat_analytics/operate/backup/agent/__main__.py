"""The agent's command line. Exit codes: 0 fine, 1 a step failed, 2 bad input or settings, 3 something cannot be reached."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent import (
    config,
    creating,
    keeping,
    noting,
    originals,
    putting,
    questions,
    report,
    restoring,
)
from cvat_analytics.operate.backup.agent.restic import PARTS, Restic

_TRIES = 4
"""How often what a timer starts is tried."""
_SIGN_OF_LIFE = 1.0
_MOMENT = 5.0
"""Seconds for a restore that was killed to be found gone."""


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="cvat-analytics-backup", description="Back up what is on this machine."
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--target", help="in the place of the configuration's")
    parser.add_argument(
        "--again",
        type=float,
        default=0,
        metavar="SECONDS",
        help="try three times more what fails, after so long",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a backup")
    create.add_argument(
        "--with",
        dest="brought",
        action="append",
        default=[],
        metavar="SNAPSHOT",
        help="what another host has made for it (may be repeated)",
    )
    create.add_argument(
        "--wait", type=float, default=0, help="so many seconds for what other hosts have not put there yet"
    )
    commands.add_parser("list", help="list the backups")
    verify = commands.add_parser("verify", help="read the repository, and with --restore restore a backup")
    verify.add_argument("name", nargs="?", default="", help="the backup (default: the newest)")
    verify.add_argument("--restore", action="store_true", help="restore it beside the live data and compare")
    prepare = commands.add_parser("prepare", help="restore a backup beside the live data, compared")
    prepare.add_argument("name", nargs="?", default="", help="the backup (default: the newest)")
    prepare.add_argument("--table", action="append", default=[], help="this table only (may be repeated)")
    prepare.add_argument(
        "--month", action="append", default=[], help="this month only, as 202611 (may be repeated)"
    )
    prepare.add_argument(
        "--views", action="store_true", help="make its views too, also where its schema is today's"
    )
    fetch = commands.add_parser("fetch", help="bring a part that is no table into a directory of the agent's")
    fetch.add_argument("name", help="the backup")
    fetch.add_argument("part", choices=PARTS[1:])
    fetch.add_argument(
        "--only", action="append", default=[], help="files of that pattern only (may be repeated)"
    )
    fetch.add_argument("--of", action="append", default=[], help="that of this host only (may be repeated)")
    whole = commands.add_parser(
        "originals", help="put whole originals of dead letters that were fetched beside the journal"
    )
    whole.add_argument("place", help="where `fetch` has put a journal")
    whole.add_argument("digests", nargs="*", help="the SHA-256 of those that are wanted")
    commands.add_parser("hold", help="keep other restores away for as long as somebody listens")
    commands.add_parser("drop", help="remove what `prepare` has made")
    commands.add_parser("prune", help="forget what is older than is to be kept")
    arguments = parser.parse_args()
    left, arguments.began = _TRIES if arguments.again else 1, datetime.now(timezone.utc)
    while True:
        left -= 1
        try:
            return tried(arguments)
        except report.AgentError as error:
            # what is wrong in settings or at the target no time mends
            if not left or error.exit_code == report.BAD_INPUT or isinstance(error, report.DamagedError):
                return report.result(error.exit_code, str(error), code=error.code)
            report.say(
                arguments.command,
                "note",
                message=f"failed, and is tried again in {arguments.again:g} s: {error}",
            )
        time.sleep(arguments.again)


def tried(arguments: argparse.Namespace) -> int:
    """Do what is asked for once, and return the exit code. Raises AgentError."""
    try:
        settings = config.load(arguments.config)
        if arguments.target:
            settings = replace(settings, target=arguments.target)
        return run(settings, arguments)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        words = f"{what}{error.strerror or error}. Look at that on this host, then run this again"
        raise report.AgentError(Code.BACKUP_AGENT, words) from error


def run(settings: config.Config, arguments: argparse.Namespace) -> int:
    """Do what is asked for, and return the exit code."""
    Path(settings.state).mkdir(mode=0o700, parents=True, exist_ok=True)
    restic = Restic(settings)
    command = arguments.command
    if command == "list":
        restic.open()
        return report.result(0, backups=keeping.backups(restic))
    if command == "hold":
        return hold(settings)
    with alone(settings):
        if command == "originals":
            return report.result(0, added=originals.add(settings, Path(arguments.place), arguments.digests))
        if command == "create":
            return make(settings, restic, keeping.Awaited(arguments.began, arguments.brought, arguments.wait))
        if command == "drop":
            putting.ended(settings)
            shutil.rmtree(Path(settings.state) / "fetched", ignore_errors=True)
            if settings.clickhouse_url:
                questions.drop(settings, restoring.beside(settings.database))
            return report.result(0)
        restic.open()
        if command == "prune":
            pruned = keeping.prune(settings, restic)
            noting.end_gone(settings, pruned["kept"])
            return report.result(0, **pruned)
        if command == "verify" and not arguments.restore:
            return report.result(0, **restoring.check(settings, restic))
        # a lock that a run left when it was killed would keep everybody out
        restic.unlock()
        backup = keeping.chosen(
            keeping.backups(restic), arguments.name, settings.target, to_restore=command == "prepare"
        )
        putting.refuse(settings, "" if command == "verify" else backup["name"])
        if command == "fetch":
            directory = Path(settings.state) / "fetched"
            shutil.rmtree(directory, ignore_errors=True)
            with report.step("fetch"):
                places = restoring.fetch(
                    settings, restic, backup, arguments.part, directory, arguments.only, arguments.of
                )
            *_, newest = places.values()
            by_host = {host: str(place) for host, place in places.items()}
            return report.result(0, place=str(newest), places=by_host)
        if command == "prepare":
            putting.ended(settings)
            manifest = restoring.prepare(settings, restic, backup, arguments.table, arguments.month)
            # whoever is taken out of the restored tables is taken out of what is made of them, too
            erased = manifest.get("erasing") or manifest["tables"].get("erasures")
            if arguments.views or erased or questions.is_older(settings, manifest["migrations"]):
                questions.bring_up_to_date(settings, manifest["beside"], manifest["migrations"])
            putting.begun(settings, backup["name"])
            return report.result(0, manifest=manifest)
        return prove(settings, restic, backup)


def make(settings: config.Config, restic: Restic, awaited: keeping.Awaited) -> int:
    """Make a backup, and note what came of it."""
    now = datetime.now(timezone.utc)
    name = creating.name_of(now)
    noting.end_cut_off(settings)
    noting.note(settings, name, noting.RUNNING)
    try:
        manifest = creating.create(settings, restic, now, awaited)
    except BaseException as error:
        noting.note(settings, name, noting.FAILED, message=str(error) or type(error).__name__)
        with suppress(report.AgentError, OSError):
            creating.clean(settings)
        raise
    size = sum(each["bytes"] for each in manifest["parts"].values())
    state, message = noting.made(manifest.get("lacks"))
    noting.note(settings, name, state, size=size, message=message)
    return report.result(0, manifest=manifest)


def prove(settings: config.Config, restic: Restic, backup: dict[str, Any]) -> int:
    """Restore a backup beside the live data, compare it, ask it what dashboards ask, and drop it."""
    beside = restoring.beside(settings.database)
    state, message = noting.made(backup["lacks"])
    try:
        manifest = restoring.prepare(settings, restic, backup)
        questions.bring_up_to_date(settings, beside, manifest["migrations"])
        asked = questions.ask_all(settings, beside)
    except report.DamagedError as error:
        noting.note(settings, backup["name"], noting.DAMAGED, message=str(error))
        # a target that is damaged may not take it; the note has it then
        with suppress(report.AgentError):
            restic.run("tag", f"--add={keeping.DAMAGED}", f"--remove={keeping.PROVEN}", backup["snapshot"])
        raise
    except report.AgentError as error:
        noting.note(settings, backup["name"], state, message=f"cannot be restored: {error}")
        raise
    finally:
        with suppress(report.AgentError):
            creating.clean(settings)
            questions.drop(settings, beside)
    if backup["damaged"] or not backup["proven"]:
        restic.run("tag", f"--add={keeping.PROVEN}", f"--remove={keeping.DAMAGED}", backup["snapshot"])
    noting.note(settings, backup["name"], state, proven=True, message=message)
    return report.result(0, proven=backup["name"], queries=asked, tables=manifest["wanted"])


def hold(settings: config.Config) -> int:
    """Keep the lock of restores until nobody listens any more: whoever restores is over then, or was killed. Raises AgentError where another has it."""
    with alone(settings, "restoring.lock", "another restore", _MOMENT):
        try:
            while True:
                report.say("hold", "held")
                time.sleep(_SIGN_OF_LIFE)
        except BrokenPipeError:
            os._exit(0)  # whatever is left to be written goes nowhere


@contextmanager
def alone(
    settings: config.Config,
    name: str = "lock",
    who: str = "another backup, restore or check",
    patience: float = 0,
) -> Iterator[None]:
    """Let one run at a time work here. Raises AgentError where another does, after `patience` seconds."""
    with (Path(settings.state) / name).open("a+") as lock:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
            lock.seek(0)
            raise report.AgentError(
                Code.BACKUP_BUSY,
                f"{who} is at work here ({lock.read().strip()}). Wait for its end, then run this again",
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC\n")
        lock.flush()
        yield


if __name__ == "__main__":
    sys.exit(main())

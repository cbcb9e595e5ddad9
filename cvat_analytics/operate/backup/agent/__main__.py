"""The agent's command line. Exit codes: 0 fine, 1 a step failed, 2 bad input or settings, 3 something cannot be reached."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
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
    putting,
    questions,
    report,
    restoring,
)
from cvat_analytics.operate.backup.agent.restic import PARTS, Restic


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="cvat-analytics-backup", description="Back up what is on this machine."
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--target", help="in the place of the configuration's")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create", help="make a backup")
    commands.add_parser("list", help="list the backups that are complete")
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
    commands.add_parser("drop", help="remove what `prepare` has made")
    commands.add_parser("prune", help="forget what is older than is to be kept")
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments.config)
        if arguments.target:
            settings = replace(settings, target=arguments.target)
        return run(settings, arguments)
    except report.AgentError as error:
        return report.result(error.exit_code, str(error), code=error.code)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        words = f"{what}{error.strerror or error}. Look at that on this host, then run this again"
        return report.result(report.FAILED, words, code=Code.BACKUP_AGENT)


def run(settings: config.Config, arguments: argparse.Namespace) -> int:
    """Do what is asked for, and return the exit code."""
    Path(settings.state).mkdir(mode=0o700, parents=True, exist_ok=True)
    restic = Restic(settings)
    command = arguments.command
    if command == "list":
        restic.open()
        return report.result(0, backups=keeping.backups(restic))
    with alone(settings):
        if command == "create":
            return create(settings, restic)
        if command == "drop":
            putting.ended(settings)
            shutil.rmtree(Path(settings.state) / "fetched", ignore_errors=True)
            questions.drop(settings, restoring.beside(settings.database))
            return report.result(0)
        restic.open()
        if command == "prune":
            pruned = keeping.prune(settings, restic)
            for name in pruned["gone"]:
                noting.note(settings, name, noting.GONE)
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
                places = restoring.fetch(settings, restic, backup, arguments.part, directory, arguments.only)
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


def create(settings: config.Config, restic: Restic) -> int:
    """Make a backup, and note what came of it."""
    now = datetime.now(timezone.utc)
    name = creating.name_of(now)
    noting.note(settings, name, noting.RUNNING)
    try:
        manifest = creating.create(settings, restic, now)
    except BaseException as error:
        noting.note(settings, name, noting.FAILED, message=str(error) or type(error).__name__)
        with suppress(report.AgentError, OSError):
            creating.clean(settings)
        raise
    size = sum(each["bytes"] for each in manifest["parts"].values())
    noting.note(settings, name, noting.COMPLETE, size=size)
    return report.result(0, manifest=manifest)


def prove(settings: config.Config, restic: Restic, backup: dict[str, Any]) -> int:
    """Restore a backup beside the live data, compare it, ask it what dashboards ask, and drop it."""
    beside = restoring.beside(settings.database)
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
        noting.note(settings, backup["name"], noting.COMPLETE, message=f"cannot be restored: {error}")
        raise
    finally:
        with suppress(report.AgentError):
            creating.clean(settings)
            questions.drop(settings, beside)
    if backup["damaged"] or not backup["proven"]:
        restic.run("tag", f"--add={keeping.PROVEN}", f"--remove={keeping.DAMAGED}", backup["snapshot"])
    noting.note(settings, backup["name"], noting.COMPLETE, proven=True)
    return report.result(0, proven=backup["name"], queries=asked, tables=manifest["wanted"])


@contextmanager
def alone(settings: config.Config) -> Iterator[None]:
    """Let one run at a time work here. Raises AgentError where another does."""
    with (Path(settings.state) / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise report.AgentError(
                Code.BACKUP_BUSY,
                f"another backup, restore or check is at work here ({lock.read().strip()}). Wait for its end, then run this again",
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC\n")
        lock.flush()
        yield


if __name__ == "__main__":
    sys.exit(main())

"""The lock of deploys on a host: what holds it there, and an upgrade or a move that holds it over all its runs, smoke tests included.

A program on the host holds it for as long as its standard input is open, which is the other end of a connection: when a deploy is
over, or is killed, the host's kernel takes the lock back. A deploy has it alone (deploys/lock.py). An upgrade takes it alone, too, and
then shares it with its own runs, each of which is a process of its own: one that outlives an upgrade that was killed keeps others away
until it has ended.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.base.errors import InputError, UnreachableHostError
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.connect import ssh
from cvat_analytics.connect.shell import Session, Shell
from cvat_analytics.operate.removal import LOCK

MOMENT = 10
"""Seconds that another deploy, which may be just ending, is given."""
_SIGN_OF_LIFE = 30
_TAKEN, _HELD, _LOST = "taken", "held", "lost"


def who() -> str:
    """Return whose a lock is, as others are told."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def holder(
    who: str, how: Literal["alone", "to be shared", "shared"], file: str = LOCK, moment: int = MOMENT
) -> str:
    """Return the command that says whether it has the lock, and then holds it while its standard input is open.

    `how`: "shared" is for a run of the upgrade called `who`, which has taken it "to be shared".
    """
    # what a former holder has left there is of no use to anybody, and its process may be another one by now
    note = f": > {file}"
    held = f'{{ echo "{_HELD} $(cat {file})"; exit; }}'
    if how == "shared":
        # who could have it alone is the only one: the upgrade's own holder has ended
        taken = f"""! flock -n 9 || {{ {note}; echo {_LOST}; exit; }}
flock -s -w {moment} 9 || {held}
before=$(cat {file}); case $before in {shlex.quote(f"{who}, since ")}*) ;; *) echo {_LOST}; exit ;; esac
trap 'if flock -n 9; then {note}; else echo "$before" > {file}; fi' EXIT"""
    else:
        taken = f"flock -w {moment} 9 || {held}\ntrap {shlex.quote(note)} EXIT"
    share = ""
    if how == "to be shared":
        # a run of its own that is still at work has its note there
        share = f"""trap 'flock -n 9 && {note}' EXIT
flock -s -w {moment} 9 || {held}"""
    # a run names the upgrade's process beside its own: each of them holds the lock
    script = f"""exec 9>>{file} || exit
before=
{taken}
echo {shlex.quote(who)}, "since $(date -u '+%F %T') UTC" ${{before##* UTC }} $$ > {file}
{share}
echo {_TAKEN}
while :; do
  read -r -t {_SIGN_OF_LIFE} line
  case $? in 0) ;; 1) exit ;; *) echo ;; esac
done"""
    # bash complains of a locale that the host does not have, before it does anything
    return f"exec env LC_ALL=C bash -c {shlex.quote(script)} 2>&1"


def judge(host: str, said: str, login: str, file: str = LOCK) -> None:
    """Raise InputError when the first line that the holder on `host` has said is not that it has the lock; `login`: how to get there."""
    word, _, rest = said.strip().partition(" ")
    if word == _HELD:
        raise locked(host, rest, login)
    if word == _LOST:
        raise InputError(
            Code.CONNECTION_LOST,
            f"host {host}: this command has lost its lock there, as its connection has ended. Run it again: it goes on from there",
        )
    if word != _TAKEN:
        raise InputError(
            Code.DEPLOY_LOCK_FAILED,
            f"host {host}: its lock {file}, which keeps other deploys away, cannot be taken: {word} {rest}",
        )


def locked(host: str, note: str, login: str) -> InputError:
    """Return the error of whoever finds another at work on `host`, by the note in the lock's file; `login`: how to get there."""
    found = re.fullmatch(r"(.+?)((?: \d+)+)", note)
    whose, processes = (found[1], found[2]) if found else (note or "it has not said whose it is yet", "")
    end = f"; `{f'{login} ' if login else ''}sudo kill{processes}` ends it now" if processes else ""
    return InputError(
        Code.DEPLOY_LOCKED,
        f"host {host}: another deploy is at work there: {whose}. Wait until it has ended. If its machine is gone for good, its lock "
        f"goes within a quarter of an hour{end}",
    )


@dataclass(frozen=True)
class Held:
    """The lock of hosts, which an upgrade or a move has. `name`: what its runs are told, to share it."""

    name: str
    sessions: Mapping[str, Session]

    def look(self) -> None:
        """Raise InputError where a host has taken its lock back meanwhile: another deploy may have been there since."""
        if lost := [host for host, session in self.sessions.items() if session.ended()]:
            judge(", ".join(lost), _LOST, "")


@contextmanager
def held(inventory: Path) -> Iterator[Held]:
    """Hold the lock of all hosts, and yield it.

    Raises InputError when another deploy is at work on one of them.
    """
    stack = inventories.load(inventory)
    with ExitStack() as opened:
        clients, away = ssh.connect(stack.hosts, opened)
        if away:
            text = "\n".join(away.values())
            raise UnreachableHostError(first_code(text) or Code.HOST_UNREACHABLE, text)
        yield opened.enter_context(
            held_on([Shell(host.name, host.data, clients[host.name]) for host in stack.hosts], "an upgrade")
        )


@contextmanager
def held_on(shells: Sequence[Shell], what: str) -> Iterator[Held]:
    """Hold the lock of these hosts for `what`, and yield it. Raises InputError as `held` does."""
    name = f"{who()}, {what} (process {os.getpid()})"
    sessions = {}
    with ExitStack() as opened:
        # in the order of their names, as deploys do, so that of two that begin together one gets all of them
        for shell in sorted(shells, key=lambda each: each.host):
            session = opened.enter_context(shell.session(holder(name, "to be shared")))
            login = ssh.login_command(Host(shell.host, (), shell.data)) if shell.client else ""
            judge(shell.host, next(session.lines, ""), login)
            sessions[shell.host] = session
        yield Held(name, sessions)

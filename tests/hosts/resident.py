"""Run `cvat-analytics` in a fork of a process that has loaded its libraries: to load them takes most of what a command takes.

One such process for each process of tests, and one for the pyinfra that deploys start, which has other libraries and has them changed by
gevent. It starts no thread, talks to nobody and runs no command itself; each fork gets the command line, the environment, the directory
and the files of whoever asks, and is left as a program is. That the programs do the same as these is shown by tests/hosts/test_harness.py
and by whatever starts them itself.
"""

from __future__ import annotations

import array
import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

from cvat_analytics.base.project import ROOT

# as they are before gevent changes them
_fork, _waitpid, _select, _Socket = os.fork, os.waitpid, select.select, socket.socket

COMMAND, PYINFRA = "cvat_analytics.__main__", "pyinfra_cli.main"
"""What runs in a fork: the `main` of which module."""
_LIBRARIES = {
    COMMAND: (
        *("clickhouse_connect", "httpx", "paramiko"),
        *("scripts.deploy", "scripts.secrets", "scripts.smoke", "scripts.status"),
        "cvat_analytics.connect.remote",
    ),
    # its own first, which has gevent change what the others find
    PYINFRA: (PYINFRA, *(f"deploys.{file.stem}" for file in sorted((ROOT / "deploys").glob("[!_]*.py")) if file.stem != "watch_config")),
}  # fmt: skip
_HEAD = 1 << 20


def run(arguments: list[str], timeout: float, *, patient: bool = False) -> tuple[int, str, str]:
    """Run `arguments`, the program's name first; return the exit code, and what it said on both of its outputs.

    `patient`: with the limits of tests/patient.py.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
        about = {
            "arguments": arguments,
            "directory": str(Path.cwd()),
            "environment": dict(os.environ),
            "patient": patient,
            "pyinfra": _server(PYINFRA),
        }
        code = _ask(_server(COMMAND), about, output.fileno(), error.fileno(), timeout)
        return code, _text(output), _text(error)


def _ask(server: str, about: Mapping[str, Any], output: int, error: int, timeout: float | None = None) -> int:
    """Have the process at `server` run something with these files, and return its exit code."""
    with Path(os.devnull).open("rb") as nothing, _Socket(socket.AF_UNIX) as connection:
        connection.connect(server)
        files = array.array("i", [nothing.fileno(), output, error])
        connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        connection.sendall(json.dumps(about).encode())
        connection.shutdown(socket.SHUT_WR)
        answers = connection.makefile()
        process = int(answers.readline())
        connection.settimeout(timeout)
        try:
            return int(answers.readline())
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(about["arguments"], timeout or 0) from None
        finally:
            answers.close()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _run_pyinfra(
    server: str,
    otherwise: Any,
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stderr: int | None = None,
    capture_output: bool = False,
    **options: Any,
) -> Any:
    """Do as `subprocess.run` does, but let a command that is pyinfra run in a fork of the process at `server`."""
    if list(command[1:3]) != ["-m", "pyinfra"]:
        return otherwise(command, cwd=cwd, env=env, stderr=stderr, capture_output=capture_output, **options)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
        about = {
            "arguments": ["pyinfra", *command[3:]],
            "directory": str(cwd or Path.cwd()),
            "environment": dict(env if env is not None else os.environ),
        }
        shown = stderr is None and not capture_output
        code = _ask(server, about, output.fileno(), 2 if shown else error.fileno())
        return subprocess.CompletedProcess(command, code, _text(output), _text(error))


@cache
def _server(what: str) -> str:
    """Return the socket of the process, after starting it. It ends with this process."""
    # a socket's path must stay short, which a test's own directory is not
    directory = tempfile.TemporaryDirectory(prefix="resident-")
    path = f"{directory.name}/socket"
    process = subprocess.Popen(
        [sys.executable, "-c", f"from tests.hosts import resident; resident.serve({what!r}, {path!r})"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        process.communicate(timeout=60)
        directory.cleanup()

    atexit.register(end)
    return path


def serve(what: str, path: str) -> None:
    """Load the libraries, then run what is asked for until the standard input ends."""
    for name in _LIBRARIES[what]:
        import_module(name)
    # or each fork would copy all of it, by looking for what is not needed any more
    gc.freeze()
    with _Socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in (ready := _select([sys.stdin, listener], [], [], 60)[0]):
            with suppress(ChildProcessError):
                while _waitpid(-1, os.WNOHANG)[0]:
                    pass
            if ready:
                connection, _ = listener.accept()
                if not _fork():
                    listener.close()
                    _attend(what, connection)
                connection.close()


def _attend(what: str, connection: socket.socket) -> NoReturn:
    """Run a command in another fork and tell how it ended."""
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    files.frombytes(ancillary[0][2])
    about = json.loads(b"".join(iter(lambda: connection.recv(_HEAD), b"")))
    process = _fork()
    if not process:
        connection.close()
        _become(what, files.tolist(), about)
    connection.sendall(f"{process}\n".encode())
    code = os.waitstatus_to_exitcode(_waitpid(process, 0)[1])
    with suppress(OSError):  # nobody waits any more
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(what: str, files: list[int], about: dict[str, Any]) -> NoReturn:
    """Be the program that was asked for, until it ends as programs do."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(about["environment"])
    os.chdir(about["directory"])
    sys.argv[:] = about["arguments"]
    if what == COMMAND:
        sys.path[0] = str(Path(sys.argv[0]).parent)
        subprocess.run = partial(_run_pyinfra, about["pyinfra"], subprocess.run)
    if about.get("patient"):
        import_module("tests.patient").raise_limits()
    code: object = None
    try:
        import_module(what).main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    # what Python does at its end, but for taking to pieces all that the two processes share
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))

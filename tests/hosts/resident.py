"""Run `cvat-analytics` in a fork of a process that has loaded its libraries: to load them takes most of what a command takes.

One such process for each process of tests. It starts no thread, talks to nobody and runs no command itself; each fork gets the command
line, the environment, the directory and the files of whoever asks, and is left as a program is.
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
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from cvat_analytics.__main__ import main
from cvat_analytics.base.project import ROOT
from tests import patient

_LIBRARIES = (
    *("clickhouse_connect", "httpx", "paramiko", "pyinfra.api"),
    *(
        "scripts.deploy",
        "scripts.secrets",
        "scripts.smoke",
        "scripts.status",
        "cvat_analytics.connect.remote",
    ),
)
_HEAD = 1 << 20


def run(arguments: list[str], timeout: float, *, patient: bool = False) -> tuple[int, str, str]:
    """Run `arguments`, the program's name first; return the exit code, and what it said on both of its outputs.

    `patient`: with the limits of tests/patient.py.
    """
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as error,
        Path(os.devnull).open("rb") as nothing,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.connect(_server())
        about = {
            "arguments": arguments,
            "directory": str(Path.cwd()),
            "environment": dict(os.environ),
            "patient": patient,
        }
        files = array.array("i", [nothing.fileno(), output.fileno(), error.fileno()])
        connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        connection.sendall(json.dumps(about).encode())
        connection.shutdown(socket.SHUT_WR)
        answers = connection.makefile()
        process = int(answers.readline())
        connection.settimeout(timeout)
        try:
            code = int(answers.readline())
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, timeout) from None
        finally:
            answers.close()
        texts = []
        for file in (output, error):
            file.seek(0)
            texts.append(file.read().decode())
        return code, texts[0], texts[1]


@cache
def _server() -> str:
    """Return the socket of the process, after starting it. It ends with this process."""
    # a socket's path must stay short, which a test's own directory is not
    directory = tempfile.TemporaryDirectory(prefix="resident-")
    path = f"{directory.name}/socket"
    process = subprocess.Popen(
        [sys.executable, "-c", f"from tests.hosts import resident; resident.serve({path!r})"],
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


def serve(path: str) -> None:
    """Load the libraries, then run what is asked for until the standard input ends."""
    for name in _LIBRARIES:
        import_module(name)
    # or each fork would copy all of it, by looking for what is not needed any more
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in (ready := select.select([sys.stdin, listener], [], [], 60)[0]):
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if ready:
                connection, _ = listener.accept()
                if not os.fork():
                    listener.close()
                    _attend(connection)
                connection.close()


def _attend(connection: socket.socket) -> NoReturn:
    """Run a command in another fork and tell how it ended."""
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    files.frombytes(ancillary[0][2])
    about = json.loads(b"".join(iter(lambda: connection.recv(_HEAD), b"")))
    process = os.fork()
    if not process:
        connection.close()
        _become(files.tolist(), about)
    connection.sendall(f"{process}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(OSError):  # nobody waits any more
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(files: list[int], about: dict[str, Any]) -> NoReturn:
    """Be the program that was asked for, until it ends as programs do."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(about["environment"])
    os.chdir(about["directory"])
    sys.argv[:] = about["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    if about["patient"]:
        patient.raise_limits()
    code: object = None
    try:
        main()
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

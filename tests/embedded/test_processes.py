"""A process has ended when nothing of it is left, and not before."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cvat_analytics.embedded.processes import Part, Processes
from tests.clickhouse import free_ports
from tests.waiting import PATIENCE, until

FIRST_THREAD_ENDS = """
import ctypes, http.server, sys, threading
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a part outlives, on purpose, what started it
def test_a_process_whose_first_thread_is_dead_runs_until_it_is_stopped(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    processes = Processes(tmp_path)
    command = [sys.executable, "-c", FIRST_THREAD_ENDS, str(port)]
    processes.ensure(Part("part", command, f"http://127.0.0.1:{port}/", "1"), timeout=PATIENCE)
    pid = processes.pid("part")
    state = Path(f"/proc/{pid}/stat")
    until(
        lambda: state.read_text().rpartition(")")[2].split()[0],
        "its first thread is dead",
        lambda letter: letter == "Z",
    )
    assert processes.pid("part") == pid, "the threads that are left hold its files and its port"
    assert processes.stop("part")
    assert processes.pid("part") is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_process_of_another_start_of_the_machine_is_somebody_else_s(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    processes = Processes(tmp_path)
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    processes.ensure(Part("part", command, f"http://127.0.0.1:{port}/", "1"), timeout=PATIENCE)
    pid = processes.pid("part")
    note = tmp_path / "run" / "part.json"
    mine = note.read_text()
    try:
        note.write_text(json.dumps(json.loads(mine) | {"boot": "00000000-0000-0000-0000-000000000000"}))
        assert processes.pid("part") is None
        assert not processes.stop("part"), "same id and same ticks, but it is not the one that was noted"
        assert Path(f"/proc/{pid}").exists()
    finally:
        note.write_text(mine)
        assert processes.stop("part")

"""An inventory that is plain Python is read in this process, as pyinfra itself reads it; any other by pyinfra."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config import inventory_file
from cvat_analytics.config.inventory_file import Host

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes an inventory and the files of its `group_data/`."""

    def write(text: str, **group_data: str) -> Path:
        (tmp_path / "group_data").mkdir()
        for group, lines in group_data.items():
            (tmp_path / "group_data" / f"{group}.py").write_text(lines)
        (tmp_path / "hosts.py").write_text(text)
        return tmp_path / "hosts.py"

    return write


def as_json(hosts: Sequence[Host]) -> object:
    """Return hosts in the form in which pyinfra prints them; in which order it names groups, and how often, means nothing."""
    plain = [(host.name, sorted(set(host.groups)), host.data) for host in hosts]
    return json.loads(json.dumps(plain, default=str))


PLAIN = {
    "one list for all groups": ('everything = ["a"]\nclickhouse = vector = grafana = everything\n', {}),
    "data of hosts": ('clickhouse = [("a", {"address": "10.0.0.1"})]\nvector = [("b", {"ssh_port": 2222}), "a"]\n', {}),
    "a host's data in two groups": ('clickhouse = [("a", {"x": 1, "y": 1})]\nvector = [("a", {"x": 2})]\n', {}),
    "data of a group beside its hosts": ('clickhouse = (["a"], {"x": 1, "y": 1})\nvector = (["a", ("b", {"y": 3})], {"x": 2})\n', {}),
    "files of data": (
        'clickhouse = ["a"]\nvector = (["a", "b"], {"x": "inventory", "z": 1})\n',
        {"all": "x = 'all'\ny = 'all'\n_sudo = True\n", "clickhouse": "y = 'clickhouse'\n", "vector": "x = 'vector'\n", "nobody": "q = 1\n"},
    ),
    "data for the file's own name": ('clickhouse = ["a"]\n', {"hosts": "x = 1\n", "all": "x = 2\n"}),
    "all, said by itself": ('all = (["b", ("a", {"x": 1})], {"x": 0, "y": 0})\nclickhouse = ["a", "not in all"]\n', {"all": "y = 9\n"}),
    "a group called as the file": ('hosts = ["a"]\nclickhouse = ["b"]\n', {"hosts": "x = 1\n"}),
    "what is no group": ('_hidden = ["x"]\nport = 1\nnames = [1, 2]\nclickhouse = ["a"]\ndef f(): return 1\n', {}),
    "this machine": ('clickhouse = [("@local", {"x": 1})]\nvector = ["@local"]\n', {"all": "y = 1\n"}),
    "imports of Python's own": (
        'import os\nfrom pathlib import Path as P\nclickhouse = [f"h{i}" for i in range(len(os.sep) + 1)]\n',
        {"all": "import re\nfrom datetime import timedelta as t, date\npath = str(re.compile('x').pattern)\n"},
    ),
    "what is exported": ('clickhouse = ["a"]\n', {"all": "__all__ = ['x', 're']\nre = 3\nx = 1\ny = 2\n"}),
    "files beside it": ('from pathlib import Path\nclickhouse = Path("names").read_text().split()\nhere = [str(__file__)]\n', {}),
    "no host": ("clickhouse = []\n", {}),
    "the same host twice": ('clickhouse = ["a", "a"]\nvector = ["a"]\n', {}),
}  # fmt: skip


@pytest.mark.parametrize("case", PLAIN)
def test_it_is_read_here_as_pyinfra_reads_it(
    write: Write, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "names").write_text("one two")
    text, group_data = PLAIN[case]
    path = write(text, **group_data)
    expected = as_json(inventory_file.by_pyinfra(path))
    monkeypatch.setattr(
        inventory_file, "by_pyinfra", lambda path: pytest.fail("a second process was started")
    )
    assert as_json(inventory_file.read(path)) == expected


def test_this_project_s_own_inventory_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = as_json(inventory_file.by_pyinfra(ROOT / "inventory/hosts.py"))
    monkeypatch.setattr(
        inventory_file, "by_pyinfra", lambda path: pytest.fail("a second process was started")
    )
    assert as_json(inventory_file.read(ROOT / "inventory/hosts.py")) == expected


OTHERS = {
    "pyinfra's own objects": ('clickhouse = ["a"]\n', {"all": "from pyinfra import inventory\nx = len(inventory.groups['clickhouse'])\n"}),
    "a module beside it": ("from beside import NAMES\nclickhouse = NAMES\n", {}),
    "an import within a function": ("def f():\n    import beside\n    return beside.NAMES\nclickhouse = f()\n", {}),
    "a connector": ('clickhouse = ["@docker/image"]\n', {}),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_another_one_is_read_by_pyinfra(write: Write, tmp_path: Path, case: str) -> None:
    (tmp_path / "beside.py").write_text('NAMES = ["a", "b"]\n')
    text, group_data = OTHERS[case]
    path = write(text, **group_data)
    assert as_json(inventory_file.read(path)) == as_json(inventory_file.by_pyinfra(path))
    assert "beside" not in sys.modules


@pytest.mark.parametrize(
    ("text", "group_data", "reason"),
    [
        ("clickhouse = [\n", {}, "SyntaxError"),
        ("clickhouse = [undefined]\n", {}, "NameError: name 'undefined' is not defined"),
        ('clickhouse = ["a"]\n', {"all": "x = 1 / 0\n"}, "ZeroDivisionError"),
        ("import nowhere_at_all\n", {}, "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit\n", {}, "it is not usable"),
        ('clickhouse = ["a"]\nprint("hello")\n', {}, "it is not usable"),
    ],
    ids=["syntax", "name", "group data", "import", "exit", "output"],
)
def test_what_cannot_be_read_is_said_in_pyinfra_s_words(
    write: Write, text: str, group_data: dict[str, str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(text, **group_data)
    with pytest.raises(InputError) as ours:
        inventory_file.read(path)
    with pytest.raises(InputError) as theirs:
        inventory_file.by_pyinfra(path)
    assert str(ours.value) == str(theirs.value)
    assert reason in str(ours.value)
    assert capfd.readouterr() == ("", "")


def test_reading_leaves_the_process_as_it_was(write: Write, tmp_path: Path) -> None:
    path = write('import os\nclickhouse = vector = grafana = ["a"]\n', all="vector_port = 1234\n")
    program = """
import os, sys, socket, pathlib
from cvat_analytics.config import inventory
before = os.getcwd(), socket.socket, list(sys.path)
stack = inventory.load(pathlib.Path(sys.argv[1]))
assert stack.topology.settings["a"].vector_port == 1234
assert (os.getcwd(), socket.socket, sys.path) == before
loaded = {"gevent", "pyinfra", "pyinfra_cli", "paramiko", "cryptography"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=True)

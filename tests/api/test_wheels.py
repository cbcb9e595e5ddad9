"""The wheels of the events API in an offline bundle: what is missed, what is fetched, what is refused."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner

from cvat_analytics.base.errors import InputError
from cvat_analytics.config.validation import validate
from cvat_analytics.rendering import events_api_archive, events_api_wheels
from cvat_analytics.rendering.events_api_wheels import Target
from scripts.cli import main
from tests.api import pythons
from tests.killing import killed
from tests.serving import QuietServer, served

OLD, NEW, ARM = Target("3.10", "amd64"), Target("3.13", "amd64"), Target("3.13", "arm64")
PURE_OLD, PURE_NEW = "pure-1.0-py3-none-any.whl", "pure-2.0-py3-none-any.whl"
BUILT_OLD, BUILT_NEW, BUILT_ARM = (
    f"built-1.0-cp{python}-cp{python}-manylinux_2_17_{machine}.whl"
    for python, machine in (("310", "x86_64"), ("313", "x86_64"), ("313", "aarch64"))
)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        assert isinstance(self.server, QuietServer)
        _asked.append(self.path)
        super().do_GET()


_asked: list[str] = []


@dataclass
class Index:
    """A package index with two made-up packages, one of which is another version on an old Python, and its lock file."""

    root: Path
    lock: Path
    asked: list[str] = field(default_factory=lambda: _asked)

    def file(self, name: str) -> Path:
        """Return a file of the index."""
        return self.root / "files" / name

    def remove(self, name: str) -> None:
        """Let the index not have a file."""
        self.file(name).unlink()
        self.list()

    def list(self) -> None:
        """Write the pages of the index (PEP 503)."""
        for package in ("pure", "built"):
            links = "".join(
                f'<a href="/files/{file.name}#sha256={_sha256(file)}">{file.name}</a>\n'
                for file in sorted((self.root / "files").glob(f"{package}-*"))
            )
            page = self.root / "simple" / package / "index.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


def _sha256(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def _make_wheel(file: Path) -> None:
    name, version, *_, tag = file.stem.split("-", 2)
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{name}.py", f"# {file.name}\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{about}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Return the index, which pip is set to."""
    package_index = Index(tmp_path / "index", tmp_path / "requirements-test.lock")
    (package_index.root / "files").mkdir(parents=True)
    for name in (PURE_OLD, PURE_NEW, BUILT_OLD, BUILT_NEW, BUILT_ARM):
        _make_wheel(package_index.file(name))
    package_index.list()
    hashes = {
        part: " \\\n".join(
            f"    --hash=sha256:{_sha256(file)}"
            for file in sorted((package_index.root / "files").glob(f"{part}*"))
        )
        for part in ("pure-1", "pure-2", "built")
    }
    package_index.lock.write_text(
        f"built==1.0 \\\n{hashes['built']}\n    # via pure\n"
        f"pure==1.0 ; python_full_version < '3.11' \\\n{hashes['pure-1']}\n"
        f"pure==2.0 ; python_full_version >= '3.11' \\\n{hashes['pure-2']}\n"
    )
    monkeypatch.setattr(events_api_wheels, "LOCK", package_index.lock)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _asked.clear()
    with served(
        QuietServer(("127.0.0.1", 0), partial(_Handler, directory=str(package_index.root)))
    ) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}/simple")
        yield package_index


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def test_each_host_gets_the_versions_of_its_own_python(index: Index, bundle: Path) -> None:
    new = events_api_wheels.fetch(bundle, [OLD, NEW])
    assert names(bundle) == {PURE_OLD, PURE_NEW, BUILT_OLD, BUILT_NEW} == {file.name for file in new}
    for target in (OLD, NEW):
        events_api_wheels.complete(bundle, target)
    # on its way to another processor only what is built for it is new
    assert [file.name for file in events_api_wheels.fetch(bundle, [ARM])] == [BUILT_ARM]


def test_what_is_there_is_not_fetched_again(index: Index, bundle: Path) -> None:
    events_api_wheels.fetch(bundle, [NEW])
    index.asked.clear()
    assert events_api_wheels.fetch(bundle, [NEW]) == []
    assert index.asked == []


def test_a_bundle_without_a_wheel_is_told_by_name_and_with_the_command(index: Index, bundle: Path) -> None:
    events_api_wheels.fetch(bundle, [OLD])
    with pytest.raises(InputError) as refused:
        events_api_wheels.complete(bundle, ARM)
    assert str(refused.value) == (
        f"package_source {bundle}: lacks wheels of the events API for Python 3.13 on arm64: built 1.0, pure 2.0. On a machine that "
        f"reaches the Python package index, `cvat-analytics bundle wheels {bundle} --system debian-13 --architecture arm64` gets them"
    )


def test_a_file_that_is_not_what_the_lock_file_names_is_told_and_replaced(index: Index, bundle: Path) -> None:
    events_api_wheels.fetch(bundle, [NEW])
    (bundle / BUILT_NEW).write_bytes((bundle / BUILT_NEW).read_bytes()[:-1])
    with pytest.raises(
        InputError, match=rf"built 1\.0 \({BUILT_NEW} has another content than requirements-test\.lock says\)"
    ):
        events_api_wheels.complete(bundle, NEW)
    assert [file.name for file in events_api_wheels.fetch(bundle, [NEW])] == [BUILT_NEW]
    events_api_wheels.complete(bundle, NEW)


def test_an_index_that_serves_something_else_is_refused_and_nothing_of_it_kept(
    index: Index, bundle: Path
) -> None:
    with index.file(PURE_NEW).open("ab") as file:
        file.write(b"more")
    index.list()
    with pytest.raises(InputError, match=r"the wheels for Python 3\.13 on amd64 cannot be fetched: .*HASHES"):
        events_api_wheels.fetch(bundle, [NEW])
    assert names(bundle) == set()


def test_an_index_that_lacks_a_wheel_is_said_with_its_name(index: Index, bundle: Path) -> None:
    index.remove(BUILT_ARM)
    with pytest.raises(InputError, match=r"Python 3\.13 on arm64 cannot be fetched: .* built==1\.0"):
        events_api_wheels.fetch(bundle, [NEW, ARM])
    # what had been fetched for the others stays, as a whole
    assert names(bundle) == {PURE_NEW, BUILT_NEW}


def test_without_a_network_it_says_so(index: Index, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(InputError, match="this machine does not reach the Python package index"):
        events_api_wheels.fetch(bundle, [NEW])
    assert names(bundle) == set()


def test_a_directory_that_cannot_be_one_is_named(index: Index, bundle: Path) -> None:
    bundle.write_text("a file")
    with pytest.raises(InputError, match=f"the wheels cannot be kept in {bundle}: File exists"):
        events_api_wheels.fetch(bundle, [NEW])


def test_the_command_fills_a_bundle_for_the_hosts_that_one_has(index: Index, bundle: Path) -> None:
    done = CliRunner().invoke(
        main, ["bundle", "wheels", str(bundle), "--system", "ubuntu-22.04", "--architecture", "amd64"]
    )
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[:2] == [f"fetched  {BUILT_OLD}", f"fetched  {PURE_OLD}"]
    assert f"{bundle}: has every wheel for ubuntu-22.04 on amd64 (2 new" in done.output
    assert names(bundle) == {BUILT_OLD, PURE_OLD}


def test_a_fetch_that_is_killed_leaves_whole_wheels_and_is_completed(index: Index, bundle: Path) -> None:
    words = ("bundle", "wheels", bundle, "--system", "ubuntu-22.04", "--architecture", "amd64")
    lock = {"cvat_analytics.rendering.events_api_wheels:LOCK": index.lock}
    killed("pathlib:Path.replace", *words, times=2, values=lock)
    assert len({name for name in names(bundle) if not name.startswith(".wheels-")}) == 1
    done = CliRunner().invoke(main, [*map(str, words)])
    assert "(1 new" in done.output, done.output
    assert {name for name in names(bundle) if not name.startswith(".wheels-")} == {BUILT_OLD, PURE_OLD}


def test_an_archive_of_a_bundle_is_that_of_the_index(bundle: Path) -> None:
    target = Target(pythons.OLDEST, "arm64")
    events_api_wheels.fetch(bundle, [target])
    made = [
        events_api_archive.archive(validate(settings, where="test"), target.python, target.architecture)
        for settings in ({}, {"package_source": str(bundle)})
    ]
    assert made[0] == made[1]

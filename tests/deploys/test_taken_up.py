"""What a deploy writes is taken up by a ClickHouse that runs, which goes by times of files only.

The real engine inside the stand-in of clickhouse-server for test hosts, which looks at its files as a server does: it proves the
times, not a server's reload (tests/hosts/test_reload.py, with `--packages vendor`).
"""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.embedded import engine
from cvat_analytics.rendering.files import RenderedFile
from deploys import operations
from tests import missing, tls_port
from tests.clickhouse import free_ports
from tests.waiting import until

PROGRAM = Path(__file__).parents[1] / "hosts" / "programs" / "clickhouse_server.py"
PACKAGE_FILES = Path(engine.__file__).parent / "package_files"
CONFIG = """<clickhouse>
    <path>{root}/data/</path>
    <protocols>
        <one><type>http</type><host>127.0.0.1</host><port>{http}</port></one>
        <two><type>tcp</type><host>127.0.0.1</host><port>{tcp}</port></two>
    </protocols>
    <https_port>{https}</https_port>
    <tcp_port_secure>{secure}</tcp_port_secure>
    <listen_host>127.0.0.1</listen_host>
    <openSSL><server>
        <certificateFile>{root}/etc/shown.pem</certificateFile>
        <privateKeyFile>{root}/etc/shown-key.pem</privateKeyFile>
    </server></openSSL>
    <user_directories><users_xml><path>users.xml</path></users_xml></user_directories>
    <default_profile>default</default_profile>
</clickhouse>
"""
USERS = """<clickhouse><users><cvat>
    <password_sha256_hex>{hash}</password_sha256_hex>
    <networks><ip>{address}</ip></networks>
    <profile>default</profile><quota>default</quota>
</cvat></users></clickhouse>
"""


class Store:
    """A running stand-in whose files are written as a deploy writes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority = Authority(root / "authority")
        self.authority.make()
        self.https, *others = free_ports(4)
        for directory in ("etc/users.d", "etc/config.d", "run"):
            (root / directory).mkdir(parents=True)
        values = dict(zip(("http", "tcp", "secure"), others, strict=True))
        (root / "etc/config.xml").write_text(CONFIG.format(root=root, https=self.https, **values))
        shutil.copy(PACKAGE_FILES / "users.xml", root / "etc/users.xml")
        for part in ("config", "users"):
            shutil.copy(PACKAGE_FILES / f"engine_{part}.xml", root / f"etc/{part}.d/zz-engine.xml")
        self.users("first", "127.0.0.1")
        self.renew("one")
        self.log = root / "log"
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(root / "run")}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, root / "etc/config.xml"],
                stdout=log,
                stderr=log,
                env=environment,
            )

    def write(self, **files: str) -> None:
        """Write files below etc, each argument's name with `__` for a slash and `_` for a dot."""
        owner, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        command = operations.written(
            [
                RenderedFile(f"/etc/{name.replace('__', '/').replace('_', '.')}", text, owner, group, "600")
                for name, text in files.items()
            ],
            f"{self.root}/",
        )
        text = "\n".join(command.connector_arguments["_stdin"])
        subprocess.run(["sh", "-c", str(command)], input=text, text=True, check=True)

    def users(self, password: str, address: str) -> None:
        """Let the user `cvat` log in so, and from there."""
        text = USERS.format(hash=sha256(password.encode()).hexdigest(), address=address)
        self.write(users_d__cvat_xml=text)

    def renew(self, name: str) -> None:
        """Show another certificate of the authority."""
        pair = self.authority.issue(name, ("127.0.0.1",))
        self.write(**{"shown_pem": pair.certificate, "shown-key_pem": pair.key})
        self.serial = pair.x509.serial_number

    def login(self, password: str) -> int:
        """Return the status of the answer to that login, 0 when there is none."""
        trust = ssl.create_default_context(cafile=self.authority.certificate_file)
        return tls_port.login("127.0.0.1", self.https, password, trust)

    def shown(self) -> int:
        """Return the serial number of the certificate that is shown."""
        return tls_port.shown("127.0.0.1", self.https)

    def until(self, look: Callable[[], int], expected: int) -> None:
        """Wait until `look` sees what is expected."""

        def seen() -> int:
            assert self.process.poll() is None, self.log.read_text()
            return look()

        until(seen, f"{expected}", expected.__eq__, told=self.log.read_text)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a running one."""
    try:
        engine.library()
    except InputError as error:
        missing.give_up(str(error))
    running = Store(tmp_path)
    try:
        running.until(lambda: running.login("first"), 200)
        yield running
    finally:
        running.process.terminate()
        running.process.wait(60)


def test_a_password_an_address_and_a_certificate_are_taken_up_by_the_process_that_runs(store: Store) -> None:
    store.users("second", "127.0.0.1")
    store.until(lambda: store.login("second"), 200)
    assert store.login("first") == 403
    store.users("second", "192.0.2.7")
    store.until(lambda: store.login("second"), 403)
    store.users("second", "127.0.0.1")
    store.until(lambda: store.login("second"), 200)
    before = store.serial
    assert store.shown() == before
    store.renew("two")
    assert store.serial != before
    store.until(store.shown, store.serial)
    assert store.login("second") == 200
    # the one process all the while, which says what it did
    assert store.process.poll() is None
    assert (
        store.log.read_text().count("users.d/cvat.xml has another modification time: the engine inside") == 3
    )

"""For which names the private authority may sign, in the eyes of real clients: OpenSSL's, Python's and Go's."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from cvat_analytics.credentials import certificates
from cvat_analytics.credentials.certificates import Authority, Pair
from tests.missing import give_up

OURS = ("analytics.example.org", "10.0.0.5", "fd00::5", "127.0.0.1", "localhost", "::1")
THEIRS = ("bank.example.com", "192.0.2.1", "2001:db8::1")
GO = """package main

import ("crypto/x509"; "encoding/pem"; "fmt"; "os")

func main() {
	authority, _ := os.ReadFile(os.Args[1])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	text, _ := os.ReadFile(os.Args[2])
	block, _ := pem.Decode(text)
	shown, err := x509.ParseCertificate(block.Bytes)
	if err == nil { _, err = shown.Verify(x509.VerifyOptions{Roots: roots, DNSName: os.Args[3]}) }
	if err != nil { fmt.Println(err); os.Exit(1) }
}
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates", permitted=OURS)


def stolen(authority: Authority, directory: Path, *names: str) -> Pair:
    """Return what somebody with the authority's key alone would sign."""
    own = authority.make()
    free = Authority(directory)
    directory.mkdir()
    key = serialization.load_pem_private_key(own.key.encode(), None)
    # the same name and key, and no word of constraints
    name, public = own.x509.subject, own.x509.public_key()
    builder = certificates._builder(name, name, public, datetime.now(UTC), timedelta(days=9))  # type: ignore[arg-type]
    unlimited = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(certificates._usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )
    (directory / "ca-key.pem").write_text(own.key)
    (directory / "ca.pem").write_bytes(unlimited.public_bytes(serialization.Encoding.PEM))
    return free.issue("stolen", names)


def by_openssl(authority: Path, shown: Path, name: str) -> bool:
    option = "-verify_ip" if ":" in name or name[0].isdigit() else "-verify_hostname"
    command: list[str | Path] = [
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        authority,
        option,
        name,
        shown,
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def by_python(authority: Path, shown: Path, name: str) -> bool:
    """Shake hands with a server of Python's ssl, over a pair of sockets."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown, shown.with_name(f"{shown.stem}-key.pem"))
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = Thread(target=serve)
    thread.start()
    try:
        ssl.create_default_context(cafile=authority).wrap_socket(ours, server_hostname=name).close()
    except ssl.SSLCertVerificationError:
        return False
    finally:
        ours.close()
        thread.join(60)
    return True


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program that verifies as every client in Go does, Grafana and its plugin among them."""
    directory = tmp_path_factory.mktemp("go")
    (directory / "main.go").write_text(GO)
    (directory / "go.mod").write_text("module verify\n\ngo 1.21\n")
    # this environment's own, as the plugin's driver is built
    program = Path(sys.executable).with_name("go")
    if not program.exists():
        give_up(f"{program}: missing; run `make test`, which installs it")
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    environment.pop("GOROOT", None)
    subprocess.run([program, "build", "-o", "verify", "."], cwd=directory, env=environment, check=True)
    return directory / "verify"


@pytest.mark.parametrize(
    "names", [OURS, ("10.0.0.5",), ("analytics.example.org",)], ids=["all", "an address", "a name"]
)
def test_the_inventorys_names_are_accepted_and_no_others(
    authority: Authority, tmp_path: Path, names: tuple[str, ...]
) -> None:
    authority.issue("host", names)
    shown = authority.directory / "host.pem"
    for name in names:
        assert by_openssl(authority.certificate_file, shown, name), name
        assert by_python(authority.certificate_file, shown, name), name
    for number, name in enumerate(THEIRS):
        directory = tmp_path / str(number)
        stolen(authority, directory, name)
        forged = directory / "stolen.pem"
        assert by_openssl(directory / "ca.pem", forged, name), "without constraints it would be accepted"
        assert not by_openssl(authority.certificate_file, forged, name), name
        assert not by_python(authority.certificate_file, forged, name), name


def test_so_it_is_for_clients_in_go(authority: Authority, tmp_path: Path, go: Path) -> None:
    authority.issue("host", OURS)

    def verified(shown: Path, name: str, trusted: Path = authority.certificate_file) -> bool:
        return subprocess.run([go, trusted, shown, name], capture_output=True, check=False).returncode == 0

    assert [name for name in OURS if not verified(authority.directory / "host.pem", name)] == []
    for number, name in enumerate(THEIRS):
        stolen(authority, tmp_path / str(number), name)
        forged = tmp_path / str(number) / "stolen.pem"
        assert verified(forged, name, tmp_path / str(number) / "ca.pem")
        assert not verified(forged, name), name


def test_the_extension_is_critical_and_has_exactly_the_names(authority: Authority) -> None:
    own = authority.make()
    assert own.x509.extensions.get_extension_for_class(x509.NameConstraints).critical
    assert own.permitted() == set(OURS)
    assert authority.make() == own


def test_a_host_that_joins_is_permitted_and_nobody_else_has_to_do_anything(
    authority: Authority, tmp_path: Path
) -> None:
    authority.issue("host", OURS)
    trusted_by_others = tmp_path / "before.pem"
    trusted_by_others.write_text(authority.make().certificate)
    larger = Authority(authority.directory, permitted=(*OURS, "new.example.org"))
    larger.issue("new", ("new.example.org",))
    assert larger.make().permitted() == {*OURS, "new.example.org"}
    assert larger.make().key == authority.make().key
    for trusted, shown, name, accepted in (
        (larger.certificate_file, "new.pem", "new.example.org", True),
        (larger.certificate_file, "host.pem", "analytics.example.org", True),
        # who has the one from before goes on with the hosts that it knows, and needs the new one for the new host
        (trusted_by_others, "host.pem", "analytics.example.org", True),
        (trusted_by_others, "new.pem", "new.example.org", False),
    ):
        assert by_openssl(trusted, authority.directory / shown, name) == accepted, (trusted, shown)


def test_one_of_an_earlier_version_keeps_working_and_can_be_limited(
    authority: Authority, tmp_path: Path
) -> None:
    stolen(authority, tmp_path / "old", "analytics.example.org")
    old = Authority(tmp_path / "old", permitted=OURS)
    before = old.make()
    assert before.permitted() is None
    kept = old.issue("stolen", ("analytics.example.org",))
    assert (old.make(), old.issue("other", ("10.0.0.5",)).names()) == (before, ("10.0.0.5",))
    trusted_by_others = tmp_path / "before.pem"
    trusted_by_others.write_text(before.certificate)
    assert old.constrain().permitted() == set(OURS)
    assert old.issue("stolen", ("analytics.example.org",)) == kept, "what it has signed stays"
    for trusted in (old.certificate_file, trusted_by_others):
        assert by_openssl(trusted, old.directory / "stolen.pem", "analytics.example.org")


def test_a_certificate_by_hand_widens_it(authority: Authority) -> None:
    authority.issue("proxy", ("*.proxy.example.org", "10.9.9.9"))
    assert authority.make().permitted() == {*OURS, "proxy.example.org", "10.9.9.9"}
    shown = authority.directory / "proxy.pem"
    assert by_openssl(authority.certificate_file, shown, "a.proxy.example.org")


def test_a_preview_widens_nothing(authority: Authority) -> None:
    own = authority.make()
    preview = Authority(authority.directory, preview=True, permitted=(*OURS, "new.example.org"))
    assert "new.example.org" in (preview.make().permitted() or ())
    assert certificates.Authority(authority.directory, permitted=OURS).make() == own

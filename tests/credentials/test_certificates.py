"""The private authority: what it signs, when it signs anew, and what it says about an operator's own files."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from cvat_analytics.base.errors import InputError
from cvat_analytics.credentials import certificates
from cvat_analytics.credentials.certificates import Authority

NAMES = ("analytics.example.org", "10.0.0.5")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def test_a_client_that_trusts_the_authority_accepts_the_host_by_its_name_and_no_other(
    authority: Authority,
) -> None:
    pair = authority.issue("host", NAMES)
    store = Store(x509.load_pem_x509_certificates(authority.certificate_file.read_bytes()))

    def verify(name: str) -> None:
        PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name)).verify(pair.x509, [])

    verify("analytics.example.org")
    with pytest.raises(x509.verification.VerificationError):
        verify("other.example.org")
    assert pair.names() == ("10.0.0.5", "analytics.example.org")


def test_keys_are_for_their_owner_alone(authority: Authority) -> None:
    authority.issue("host", NAMES)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in authority.directory.iterdir()}
    assert modes == {"ca-key.pem": 0o600, "ca.pem": 0o644, "host-key.pem": 0o600, "host.pem": 0o644}
    assert "PRIVATE" not in repr(authority.make())


def test_a_certificate_stays_until_its_names_its_authority_or_its_time_change(
    authority: Authority, tmp_path: Path
) -> None:
    first = authority.issue("host", NAMES)
    assert authority.issue("host", tuple(reversed(NAMES))) == first
    late = datetime.now(UTC) + certificates.CERTIFICATE_LIFETIME - timedelta(days=30)
    assert authority.issue("host", NAMES, now=late) != first
    renamed = authority.issue("host", ("new.example.org",))
    assert renamed.names() == ("new.example.org",)
    for name in ("ca.pem", "ca-key.pem"):
        (authority.directory / name).unlink()
    assert authority.issue("host", ("new.example.org",)) != renamed


def test_a_preview_signs_as_a_deploy_would_and_writes_nothing(authority: Authority) -> None:
    preview = Authority(authority.directory, preview=True)
    first = preview.issue("host", NAMES)
    assert (preview.issue("host", NAMES), preview.make()) == (first, preview.make())
    assert not authority.directory.exists()
    kept = authority.issue("host", NAMES)
    assert Authority(authority.directory, preview=True).issue("host", NAMES) == kept
    renamed = Authority(authority.directory, preview=True).issue("host", ("new.example.org",))
    renamed.x509.verify_directly_issued_by(authority.make().x509)
    assert authority.issue("host", NAMES) == kept


def test_damaged_files_are_named_and_not_replaced(authority: Authority) -> None:
    authority.issue("host", NAMES)
    damaged = authority.directory / "host.pem"
    damaged.write_text("garbage")
    with pytest.raises(InputError, match=r"host\.pem: this certificate or its key is damaged"):
        authority.issue("host", NAMES)
    assert damaged.read_text() == "garbage"


def test_a_name_that_no_certificate_can_have(authority: Authority) -> None:
    with pytest.raises(InputError, match="'bäd' cannot be in a certificate"):
        authority.issue("host", ("bäd",))


@pytest.mark.parametrize(
    ("name", "is_for"),
    [("a.example.org", True), ("b.example.org", True), ("a.b.example.org", False), ("example.org", False)],
)
def test_a_given_certificate_must_be_for_the_host(authority: Authority, name: str, is_for: bool) -> None:
    authority.issue("own", ("a.example.org", "*.example.org"))
    files = authority.directory / "own.pem", authority.directory / "own-key.pem"
    if is_for:
        assert certificates.given(*files, name).key == files[1].read_text()
    else:
        with pytest.raises(InputError, match=f"not for {name}"):
            certificates.given(*files, name)


def test_given_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    authority.issue("own", ("a.example.org",))
    authority.issue("other", ("a.example.org",))
    own, own_key = authority.directory / "own.pem", authority.directory / "own-key.pem"
    with pytest.raises(InputError, match=r"'gateway_certificate_key': .*missing\.pem cannot be read"):
        certificates.given(own, tmp_path / "missing.pem", "a.example.org")
    with pytest.raises(InputError, match=r"other-key.pem is not the key of .*own.pem"):
        certificates.given(own, authority.directory / "other-key.pem", "a.example.org")
    with pytest.raises(InputError, match="not a PEM certificate"):
        certificates.given(own_key, own_key, "a.example.org")
    past = datetime.now(UTC) - timedelta(days=500)
    authority.issue("old", ("a.example.org",), now=past)
    with pytest.raises(InputError, match=r"old\.pem ended on"):
        certificates.given(
            authority.directory / "old.pem", authority.directory / "old-key.pem", "a.example.org"
        )

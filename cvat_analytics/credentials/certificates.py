"""The stack's own certificate authority: made once beside the inventory, it signs what no operator has given.

Its key never leaves the operator's machine (0600, outside git). Hosts get a certificate and its key; browsers and CVAT
get `ca.pem`, once, and then trust whatever this stack presents.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically

AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=397)
"""Thirteen months: a deploy a year renews it in time."""
RENEW_BEFORE = timedelta(days=60)

_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both as PEM text."""

    certificate: str
    key: str = field(repr=False)

    @property
    def x509(self) -> x509.Certificate:
        """Return the certificate, parsed."""
        return x509.load_pem_x509_certificate(self.certificate.encode())

    @property
    def expires(self) -> datetime:
        """Return the end of its validity, in UTC."""
        return self.x509.not_valid_after_utc

    def names(self) -> tuple[str, ...]:
        """Return the host names and addresses that it is valid for, sorted."""
        try:
            extension = self.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return tuple(
            sorted(
                [
                    *extension.get_values_for_type(x509.DNSName),
                    *map(str, extension.get_values_for_type(x509.IPAddress)),
                ]
            )
        )


@dataclass(frozen=True)
class Authority:
    """The authority whose files are in `directory`."""

    directory: Path
    preview: bool = False
    """Whether what it makes is for this object alone, and not written."""
    _made: dict[str, Pair] = field(default_factory=dict, repr=False, compare=False)

    @property
    def certificate_file(self) -> Path:
        """Return the file that others must trust."""
        return self.directory / "ca.pem"

    def make(self) -> Pair:
        """Return the authority's own pair, made at the first call. Raises InputError when its files are damaged."""
        pair = self._found("ca")
        if pair:
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cvat-analytics private CA")])
        now = datetime.now(UTC)
        certificate = (
            _builder(name, name, key.public_key(), now, AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return self._keep("ca", _pair(certificate, key))

    def issued(self) -> dict[str, Pair]:
        """Return every certificate in the directory by its name, the authority's own (`ca`) first."""
        names = sorted(
            file.stem
            for file in self.directory.glob("*.pem")
            if not file.stem.endswith("-key") and file.stem != "ca"
        )
        pairs = {name: _read(self.directory, name) for name in ("ca", *names)}
        return {name: pair for name, pair in pairs.items() if pair}

    def issue(self, name: str, names: Sequence[str], *, now: datetime | None = None) -> Pair:
        """Return the certificate called `name` for the host `names`, addresses among them.

        The one that is there is returned again while it has the same names, this authority's signature, and more than
        60 days to live; otherwise a new one is made. Raises InputError for a name that no certificate can have.
        """
        authority = self.make()
        now = now or datetime.now(UTC)
        subject_names = tuple(sorted(set(names)))
        pair = self._found(name)
        if (
            pair
            and pair.names() == subject_names
            and pair.expires - now > RENEW_BEFORE
            and _signed(pair, authority)
        ):
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject_names[0][:64])])
        issuer_key = serialization.load_pem_private_key(authority.key.encode(), None)
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `make` writes no other kind
        certificate = (
            _builder(subject, authority.x509.subject, key.public_key(), now, CERTIFICATE_LIFETIME)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(each) for each in subject_names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
            )
            .sign(issuer_key, hashes.SHA256())
        )
        return self._keep(name, _pair(certificate, key))

    def _found(self, name: str) -> Pair | None:
        return self._made.get(name) or _read(self.directory, name)

    def _keep(self, name: str, pair: Pair) -> Pair:
        if self.preview:
            self._made[name] = pair
        else:
            _write(self.directory, name, pair)
        return pair


OF_GATEWAY = ("gateway_certificate", "gateway_certificate_key")
OF_VECTOR = ("vector_tls_certificate", "vector_tls_key")


def given(
    certificate_file: Path, key_file: Path, host_name: str = "", settings: tuple[str, str] = OF_GATEWAY
) -> Pair:
    """Return an operator's own certificate (with its chain) and key; `settings` are what names the two files.

    Raises InputError when a file is missing or not PEM, when they do not belong together, when the certificate is out
    of date, or when it is not for `host_name`; without one, any name will do.
    """
    of_certificate, of_key = settings
    texts = []
    for setting, path in ((of_certificate, certificate_file), (of_key, key_file)):
        try:
            texts.append(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InputError(f"setting {setting!r}: {path} cannot be read: {reason}") from None
    pair = Pair(*texts)
    try:
        certificate = pair.x509
        key = serialization.load_pem_private_key(pair.key.encode(), None)
    except (ValueError, TypeError):
        raise InputError(
            f"settings {of_certificate!r} and {of_key!r}: {certificate_file} and {key_file} are not a PEM "
            "certificate and an unencrypted PEM key. Convert them with openssl"
        ) from None
    if key.public_key() != certificate.public_key():
        raise InputError(
            f"setting {of_key!r}: {key_file} is not the key of {certificate_file}. Give the pair that belongs together"
        )
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise InputError(
            f"setting {of_certificate!r}: {certificate_file} ended on {certificate.not_valid_after_utc:%Y-%m-%d}. Renew it"
        )
    if host_name and not any(_matches(host_name, name) for name in pair.names()):
        raise InputError(
            f"setting {of_certificate!r}: {certificate_file} is for {', '.join(pair.names())}, not for {host_name} "
            "(the host in 'grafana_root_url')"
        )
    return pair


def _matches(host_name: str, pattern: str) -> bool:
    """Return whether `pattern`, perhaps a wildcard for one label, covers `host_name` (RFC 6125)."""
    if pattern.startswith("*."):
        return host_name.partition(".")[2].lower() == pattern[2:].lower()
    return host_name.lower() == pattern.lower()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise InputError(
            f"{name!r} cannot be in a certificate: it is neither a host name nor an address"
        ) from None


def _signed(pair: Pair, authority: Pair) -> bool:
    try:
        pair.x509.verify_directly_issued_by(authority.x509)
    except Exception:  # the library raises several kinds; each means no
        return False
    return True


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def _read(directory: Path, name: str) -> Pair | None:
    files = directory / f"{name}.pem", directory / f"{name}-key.pem"
    if not all(file.exists() for file in files):
        return None
    pair = Pair(*(file.read_text() for file in files))
    try:
        _ = pair.x509
        serialization.load_pem_private_key(pair.key.encode(), None)
    except (ValueError, TypeError):
        raise InputError(
            f"{files[0]}: this certificate or its key is damaged. Restore both from your backup, or remove them to have new ones made"
        ) from None
    return pair


def _write(directory: Path, name: str, pair: Pair) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file, text, mode in (
        (directory / f"{name}-key.pem", pair.key, 0o600),
        (directory / f"{name}.pem", pair.certificate, 0o644),
    ):
        write_atomically(file, text, mode)

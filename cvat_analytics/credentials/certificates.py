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

from cvat_analytics.base.addresses import LOCAL
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically

AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=397)
"""Thirteen months: a deploy a year renews it in time."""
RENEW_BEFORE = timedelta(days=60)

_CLOCK_SKEW = timedelta(hours=1)
_NO_HOST = "cvat-analytics"
"""The common name of a certificate for addresses only."""


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

    def permitted(self) -> set[str] | None:
        """Return the names and addresses for which an authority may sign; None where its certificate does not limit them."""
        try:
            limits = self.x509.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return None
        return {str(tree.value).partition("/")[0] for tree in limits.permitted_subtrees or ()}


@dataclass(frozen=True)
class Authority:
    """The authority whose files are in `directory`."""

    directory: Path
    preview: bool = False
    """Whether what it makes is for this object alone, and not written."""
    permitted: tuple[str, ...] = ()
    """The names and addresses for which it may sign: its certificate says so, and clients believe it for no others."""
    _made: dict[str, Pair] = field(default_factory=dict, repr=False, compare=False)

    @property
    def certificate_file(self) -> Path:
        """Return the file that others must trust."""
        return self.directory / "ca.pem"

    def make(self, *needed: str) -> Pair:
        """Return the authority's own pair, made at the first call, which may sign for its `permitted` names and those `needed`.

        Where a name is missing in its certificate, that is signed anew with the same key: whoever trusts the one from before goes
        on to accept what it was for. One that says nothing of names, from an earlier version, stays so (`constrain`). Raises
        InputError when its files are damaged.
        """
        pair = self._found("ca")
        if pair:
            known = pair.permitted()
            if known is None or {_base(each) for each in (*self.permitted, *needed)} <= known:
                return pair
        return self._sign_own(pair, needed)

    def constrain(self) -> Pair:
        """Return the authority's pair after its certificate was signed anew for its names alone; its key, and what it signed, stay."""
        return self._sign_own(self._found("ca"), ())

    def _sign_own(self, pair: Pair | None, needed: Sequence[str]) -> Pair:
        key = _key(pair) if pair else ec.generate_private_key(ec.SECP256R1())
        issued = [each for kept in self.issued().values() for each in kept.names()]
        # never none of a kind: of that everything would be permitted
        names = sorted({*map(_base, (*LOCAL, *self.permitted, *issued, *needed))})
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cvat-analytics private CA")])
        certificate = (
            _builder(name, name, key.public_key(), datetime.now(UTC), AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.NameConstraints([_subtree(each) for each in names], None), critical=True)
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
        subject_names = tuple(sorted(set(names)))
        alternatives = [_general_name(each) for each in subject_names]
        authority = self.make(*subject_names)
        now = now or datetime.now(UTC)
        pair = self._found(name)
        # OpenSSL takes the common name for a host's name, which an authority's limits are for, where there is no other
        common_name = next(
            (each for each in subject_names if _is_host_name(each) and not each.startswith("*")), _NO_HOST
        )
        named = any(map(_is_host_name, subject_names))
        if (
            pair
            and pair.names() == subject_names
            and (named or pair.x509.subject.rfc4514_string() == f"CN={_NO_HOST}")
            and pair.expires - now > RENEW_BEFORE
            and _signed(pair, authority)
            # of one that was killed between its two files, the certificate is of before
            and _key(pair).public_key() == pair.x509.public_key()
        ):
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
        issuer_key = _key(authority)
        certificate = (
            _builder(subject, authority.x509.subject, key.public_key(), now, CERTIFICATE_LIFETIME)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
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
            raise InputError(
                Code.CERTIFICATE_PAIR, f"setting {setting!r}: {path} cannot be read: {reason}"
            ) from None
    pair = Pair(*texts)
    try:
        certificate = pair.x509
        key = serialization.load_pem_private_key(pair.key.encode(), None)
    except (ValueError, TypeError):
        raise InputError(
            Code.CERTIFICATE_PAIR,
            f"settings {of_certificate!r} and {of_key!r}: {certificate_file} and {key_file} are not a PEM "
            "certificate and an unencrypted PEM key. Convert them with openssl",
        ) from None
    if key.public_key() != certificate.public_key():
        raise InputError(
            Code.CERTIFICATE_PAIR,
            f"setting {of_key!r}: {key_file} is not the key of {certificate_file}. Give the pair that belongs together",
        )
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise InputError(
            Code.CERTIFICATE_ENDED,
            f"setting {of_certificate!r}: {certificate_file} ended on {certificate.not_valid_after_utc:%Y-%m-%d}. Renew it",
        )
    if host_name and not any(_matches(host_name, name) for name in pair.names()):
        raise InputError(
            Code.CERTIFICATE_NAME,
            f"setting {of_certificate!r}: {certificate_file} is for {', '.join(pair.names())}, not for {host_name} "
            "(the host in 'grafana_root_url')",
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
            Code.CERTIFICATE_NAME,
            f"{name!r} cannot be in a certificate: it is neither a host name nor an address",
        ) from None


def _base(name: str) -> str:
    """Return what has to be permitted so that `name`, perhaps a wildcard or an address, is."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.removeprefix("*.").lower()


def _is_host_name(name: str) -> bool:
    return isinstance(_general_name(name), x509.DNSName)


def _subtree(name: str) -> x509.GeneralName:
    """Return `name` as a constraint: an address alone is a network of one."""
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return _general_name(name)


def _key(pair: Pair) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pair.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `make` writes no other kind
    return key


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
            Code.CERTIFICATE_DAMAGED,
            f"{files[0]}: this certificate or its key is damaged. Restore both from your backup, or remove them to have new ones made",
        ) from None
    return pair


def _write(directory: Path, name: str, pair: Pair) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file, text, mode in (
        (directory / f"{name}-key.pem", pair.key, 0o600),
        (directory / f"{name}.pem", pair.certificate, 0o644),
    ):
        write_atomically(file, text, mode)

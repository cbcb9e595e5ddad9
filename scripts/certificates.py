"""`cvat-analytics certificates`: what the stack's own authority has signed, and more of it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography.hazmat.primitives import hashes

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import inventory as inventories
from cvat_analytics.credentials.certificates import RENEW_BEFORE
from scripts import hints
from scripts.target import inventory_option
from scripts.terminal import echo


@click.group()
def certificates() -> None:
    """The stack's own certificate authority, in `certificates/` beside the passwords.

    It is made when it is first needed: by a deploy with `clickhouse_tls`, `vector_tls` or `grafana_tls`, or with a gateway that
    has no certificate of yours, or by `issue`. A deploy issues and renews what these show.
    Keep its directory like the passwords; only `ca.pem` is for others: whoever trusts it trusts this stack.
    """


@certificates.command("list")
@inventory_option
def list_(inventory: Path) -> None:
    """Show every certificate, the hosts that it is for, and when it ends; exit code 1 when one ends soon."""
    authority = inventories.load(inventory).authority
    soon = False
    pairs = authority.issued()
    if not pairs:
        echo(
            f"{authority.directory}: no certificates yet. A deploy with a gateway or TLS makes them, or `certificates issue`"
        )
    for name, pair in pairs.items():
        days = (pair.expires - datetime.now(UTC)).days
        soon = soon or days < RENEW_BEFORE.days
        hosts = ", ".join(pair.names())
        if not hosts:
            permitted = pair.permitted()
            limits = (
                f"for {', '.join(sorted(permitted))}"
                if permitted
                else "for ANY name: `cvat-analytics certificates constrain` limits it"
            )
            hosts = f"the authority, {hints.pasteable(limits)}; sha256 {pair.x509.fingerprint(hashes.SHA256()).hex()}"
        echo(f"{authority.directory / name}.pem  ends {pair.expires:%Y-%m-%d} ({days} days)  {hosts}")
    if soon:
        echo(
            f"One ends soon: the next deploy renews what it has made; `certificates issue` renews the others. [{Code.CERTIFICATE_ENDS}]",
            err=True,
        )
        sys.exit(1)


@certificates.command()
@click.argument("name")
@click.argument("hosts", nargs=-1, required=True)
@inventory_option
def issue(name: str, hosts: tuple[str, ...], inventory: Path) -> None:
    """Sign a certificate called NAME for HOSTS (names and addresses), for a setting that takes one.

    The one that is there stays while it is for the same hosts and has more than 60 days to live.
    """
    if not name.replace("-", "").isalnum() or name in ("ca",) or name.endswith("-key"):
        raise InputError(
            Code.CERTIFICATE_NAME,
            f"{name!r} cannot be the name of a certificate's file: use letters, digits and hyphens, not `ca` and no `-key` at the end",
        )
    authority = inventories.load(inventory).authority
    pair = authority.issue(name, hosts)
    echo(f"certificate  {authority.directory / name}.pem  (until {pair.expires:%Y-%m-%d})")
    echo(f"key          {authority.directory / name}-key.pem")
    echo(f"authority    {authority.certificate_file}  (give it to those who connect)")


@certificates.command()
@inventory_option
def constrain(inventory: Path) -> None:
    """Limit an authority of an earlier version to the inventory's names, as a new one is, and this one to today's.

    Its certificate is signed anew with its own key: every certificate that it has signed stays, and so does the trust of all who
    have the `ca.pem` from before. Who takes the new one believes the authority for these names only.
    """
    authority = inventories.load(inventory).authority
    if not authority.certificate_file.exists():
        raise InputError(
            Code.AUTHORITY_MISSING,
            f"{authority.directory}: there is no authority to limit. The first deploy that needs one makes it so",
        )
    names = authority.constrain().permitted() or ()
    echo(f"{authority.certificate_file}  signs for {', '.join(sorted(names))} and nobody else")
    echo(
        f"Bring it to the hosts: `{hints.command('deploy', '--inventory', inventory)}`. Give it to those who connect when it suits."
    )

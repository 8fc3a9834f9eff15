"""People and devices with certificates: good ones, and all kinds of bad ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from driftline_cloud.trust.authority import Authority, make_authority
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_shared.trust.credentials import Credentials
from driftline_shared.trust.keys import FileKey, named, new_key
from driftline_shared.trust.newcomers import newcomer


def credentials(
    authority: Authority, role: Role, *, key: FileKey | None = None, days: float = 30.0
) -> Credentials:
    """For a TLS client of that role."""
    key = key or new_key()
    chain = LocalIssuer(authority, days=days).issue(key.key.public_key(), role)
    return Credentials(key=key.key_pem, chain=chain, roots=authority.roots_pem)


def stranger(authority: Authority) -> Credentials:
    """Of a newcomer."""
    key, chain = newcomer()
    return Credentials(key=key, chain=chain, roots=authority.roots_pem)


def foreigner(authority: Authority, folder: Path) -> Credentials:
    """An operator of another cloud, who trusts this one."""
    other = credentials(make_authority(folder, name="elsewhere"), Role.OPERATOR)
    return Credentials(key=other.key, chain=other.chain, roots=authority.roots_pem)


def ended(authority: Authority, role: Role) -> Credentials:
    """Whose certificate was good until a minute ago."""
    return credentials(authority, role, days=-1 / 1440)


def forged(authority: Authority, role: Role) -> Credentials:
    """A newcomer that made itself an issuing authority of the real one's name, by the key that
    every newcomer has.
    """
    from driftline_shared.trust import newcomers

    now = datetime.now(UTC)
    middle, leaf = new_key(), new_key()
    false_issuing = (
        x509.CertificateBuilder()
        .subject_name(authority.issuing.subject)
        .issuer_name(named(newcomers.LABEL))
        .public_key(middle.key.public_key())
        .serial_number(2)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(newcomers.newcomers_key().key, hashes.SHA256())
    )
    liar = LocalIssuer(
        Authority(root=newcomers.newcomers_root(), issuing=false_issuing, key=middle), days=1.0
    )
    return Credentials(
        key=leaf.key_pem,
        chain=liar.issue(leaf.key.public_key(), role),
        roots=authority.roots_pem,
    )

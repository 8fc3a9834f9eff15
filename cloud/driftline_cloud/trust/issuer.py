"""Who signs certificates: our own authority; later step-ca, EST or SPIFFE as well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from driftline_cloud.trust.authority import Authority
from driftline_shared.trust.certificates import BACKDATED, is_issued_by, to_pem
from driftline_shared.trust.credentials import SERVER_NAME
from driftline_shared.trust.keys import identity_of

LEAF_DAYS = 30


class Role(StrEnum):
    """What the holder of a certificate may do."""

    DEVICE = "device"
    OPERATOR = "operator"
    READER = "reader"
    SERVER = "server"
    NEWCOMER = "newcomer"


class Issuer(Protocol):
    """Signs, and knows its own signature again."""

    @property
    def roots_pem(self) -> bytes:
        """Whom others are to trust."""

    def issue(self, public: ec.EllipticCurvePublicKey, role: Role) -> bytes:
        """A chain (PEM, leaf first, without root) for the holder of this public key."""

    def role_of(self, certificate: x509.Certificate) -> Role | None:
        """What it issued that certificate for; None if it did not."""


class LocalIssuer:
    """The authority in the cloud's own state folder."""

    def __init__(self, authority: Authority, *, days: float = LEAF_DAYS) -> None:
        self._authority, self._days = authority, days

    @property
    def roots_pem(self) -> bytes:
        return self._authority.roots_pem

    @property
    def fingerprint(self) -> str:
        """Of the root."""
        return self._authority.fingerprint

    def issue(self, public: ec.EllipticCurvePublicKey, role: Role) -> bytes:
        identity, now = identity_of(public), datetime.now(UTC)
        is_server = role is Role.SERVER
        # A name is always there, so that no client falls back to the subject, and only the server's
        # is the one that clients ask for.
        name: x509.GeneralName = (
            x509.DNSName(SERVER_NAME)
            if is_server
            else x509.UniformResourceIdentifier(f"driftline:{role}/{identity}")
        )
        usage = ExtendedKeyUsageOID.SERVER_AUTH if is_server else ExtendedKeyUsageOID.CLIENT_AUTH
        issuing = self._authority.issuing
        if not is_server and self._authority.next_issuing is not None:
            issuing = self._authority.next_issuing  # by the root that is to come: it knows both
        end = min(now + timedelta(days=self._days), issuing.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(
                x509.Name(
                    [
                        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, str(role)),
                        x509.NameAttribute(NameOID.COMMON_NAME, identity),
                    ]
                )
            )
            .issuer_name(issuing.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        leaf = builder.sign(self._authority.key.key, hashes.SHA256())
        return to_pem([leaf, issuing])

    def role_of(self, certificate: x509.Certificate) -> Role | None:
        issuers = (self._authority.issuing, *self._authority.before)
        if not any(is_issued_by(certificate, one) for one in issuers):
            return None
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        try:
            return Role(str(units[0].value))
        except (IndexError, ValueError):
            return None

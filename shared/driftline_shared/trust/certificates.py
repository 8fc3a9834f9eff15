"""Certificates: what is in one, who issued whom, and what is wrong with one, in words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from driftline_shared.errors import ConfigError

MAX_CHAIN_BYTES = 16 << 10
"""Of a chain in PEM; one of ours has some 1.2 KB."""

MOST_CERTIFICATES = 8

BACKDATED = timedelta(minutes=5)
"""A certificate holds from so long before it was made: clocks differ."""


def read_chain(pem: bytes) -> list[x509.Certificate]:
    """The certificates of `pem`, at least one; ValueError for anything else."""
    if len(pem) > MAX_CHAIN_BYTES:
        raise ValueError(f"{len(pem)} bytes are more than the {MAX_CHAIN_BYTES} of a chain")
    try:
        found = x509.load_pem_x509_certificates(pem)
        for one in found[: MOST_CERTIFICATES + 1]:
            # What is read late is read here: nobody after this meets anything odd.
            _ = (one.public_key(), one.not_valid_before_utc, one.not_valid_after_utc, one.subject)
    except ValueError:
        raise
    except Exception as error:  # what the parser raises for odd bytes is not one kind
        raise ValueError(f"no certificates: {error}") from error
    if len(found) > MOST_CERTIFICATES:
        raise ValueError(f"{len(found)} certificates, at most {MOST_CERTIFICATES} are read")
    return found


def to_pem(chain: Sequence[x509.Certificate]) -> bytes:
    """The certificates one after another."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


def fingerprint(certificate: x509.Certificate) -> str:
    """sha256 of the certificate (DER), in hex: what an operator compares."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return hashlib.sha256(der).hexdigest()


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed `certificate`, by name and signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def leads_to(chain: Sequence[x509.Certificate], root: x509.Certificate) -> bool:
    """Whether each of `chain` was issued by the next, and the last by `root`."""
    above = [*chain[1:], root]
    return bool(chain) and all(
        is_issued_by(one, issuer) for one, issuer in zip(chain, above, strict=True)
    )


def due_unix_s(certificate: x509.Certificate) -> float:
    """When it is to be renewed: two thirds of its time have passed."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (start + (end - start) * 2 / 3).timestamp()


def trouble_with(certificate: x509.Certificate, now: datetime | None = None) -> str:
    """Why it does not hold now, in words; empty: it holds."""
    now = now or datetime.now(UTC)
    if now < certificate.not_valid_before_utc:
        return (
            f"it holds from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, and this "
            f"machine's clock says {now:%Y-%m-%d %H:%M} UTC"
        )
    if now > certificate.not_valid_after_utc:
        return (
            f"it ended on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and this "
            f"machine's clock says {now:%Y-%m-%d %H:%M} UTC"
        )
    return ""


def read_request(der: bytes) -> x509.CertificateSigningRequest:
    """A certificate request with a P-256 key that signed it; ConfigError for any other bytes."""
    fix = "Let `driftline device enrol` make it."
    if len(der) > MAX_CHAIN_BYTES:
        raise ConfigError("the certificate request is too large", fix=fix)
    try:
        request = x509.load_der_x509_csr(der)
        is_signed = request.is_signature_valid
        public = request.public_key()
    except Exception as error:  # what the parser raises for odd bytes is not one kind
        raise ConfigError(f"no certificate request: {error}", fix=fix) from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise ConfigError("the certificate request has no P-256 key", fix=fix)
    if not is_signed:
        raise ConfigError("the certificate request is not signed by its own key", fix=fix)
    return request

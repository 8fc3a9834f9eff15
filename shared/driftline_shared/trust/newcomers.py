"""How somebody without a certificate yet may knock.

gRPC for Python either requires a certificate of every client or asks none for it, and there is one
port. So a newcomer shows one that it makes itself, signed by the *newcomers' key*, which is public:
whoever reads this file has it. Such a certificate proves nothing, and the cloud lets it call the
methods of enrolment alone.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from driftline_shared.trust.certificates import BACKDATED, to_pem
from driftline_shared.trust.keys import FileKey, named, new_key

LABEL = "driftline newcomers (proves nothing)"
_SEED = b"driftline: the key that every newcomer has"
_HOLDS_FROM = datetime(2026, 1, 1, tzinfo=UTC)
_HOLDS_UNTIL = datetime(2099, 1, 1, tzinfo=UTC)


@cache
def newcomers_key() -> FileKey:
    """The key that everybody has."""
    number = int.from_bytes(hashlib.sha256(_SEED).digest(), "big")
    return FileKey(ec.derive_private_key(number, ec.SECP256R1()))


@cache
def newcomers_root() -> x509.Certificate:
    """What a cloud takes beside its own authority. It may issue no further authority."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(LABEL))
        .issuer_name(named(LABEL))
        .public_key(newcomers_key().key.public_key())
        .serial_number(1)
        .not_valid_before(_HOLDS_FROM)
        .not_valid_after(_HOLDS_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    return builder.sign(newcomers_key().key, hashes.SHA256())


def newcomer() -> tuple[bytes, bytes]:
    """(key, chain) in PEM to connect with at first; made anew each time."""
    key, now = new_key(), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named("newcomer"))
        .issuer_name(named(LABEL))
        .public_key(key.key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that is off must not keep a newcomer out: it is then told so in words.
        .not_valid_before(_HOLDS_FROM)
        .not_valid_after(max(now, _HOLDS_FROM) + BACKDATED + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return key.key_pem, to_pem([builder.sign(newcomers_key().key, hashes.SHA256())])

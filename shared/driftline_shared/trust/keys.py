"""A side's own key: made where it is used, kept at 0600, never sent.

Keys are on P-256, which TLS 1.3 takes everywhere. Whoever holds one is known by the digest of its
public half; a name is only a label.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_bytes, sync_folder

MAX_KEY_BYTES = 4_096

IDENTITY_CHARS = 32
"""Hex digits of a digest that stand for a public key: 128 bits, which nobody finds twice."""


class Signer(Protocol):
    """A private key that signs. A TPM or a PKCS#11 token may stand behind it, as long as TLS can be
    given its key in PEM.
    """

    @property
    def identity(self) -> str:
        """`identity_of` its public key."""

    @property
    def key_pem(self) -> bytes:
        """For TLS."""

    def request(self) -> bytes:
        """A certificate request (PKCS#10, DER) for this key."""


class FileKey:
    """A key in a file that its owner alone may read."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key = key

    @property
    def identity(self) -> str:
        return identity_of(self.key.public_key())

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def request(self) -> bytes:
        builder = x509.CertificateSigningRequestBuilder().subject_name(named(self.identity))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def new_key() -> FileKey:
    """A key that nobody had before."""
    return FileKey(ec.generate_private_key(ec.SECP256R1()))


def own_key(path: Path) -> FileKey:
    """The key in `path`, made there, durably, the first time.

    Of two processes that start at once both get the same. ConfigError if the file holds none.
    """
    with suppress(FileNotFoundError):
        return read_key(path)
    write_key(path, new_key())
    return read_key(path)


def read_key(path: Path) -> FileKey:
    """The key in `path`; FileNotFoundError, or ConfigError if there is no key of ours in it."""
    data = read_bytes(path, MAX_KEY_BYTES)
    if data is None:
        raise FileNotFoundError(path)
    fix = "Bring the file back, or remove it: then this side is a new one, and enrols anew."
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no private key: {error}", fix=fix) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ConfigError(f"{path} holds a key of another kind than P-256", fix=fix)
    return FileKey(key)


def write_key(path: Path, key: FileKey) -> None:
    """Keep `key` in `path`, unless one is there; nobody else can read it at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key.key_pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return
        except OSError:
            draft.replace(path)  # a file system without hard links, as on many memory cards
    finally:
        draft.unlink(missing_ok=True)
        sync_folder(path.parent)


def identity_of(public: object) -> str:
    """Who holds the other half of `public`: digits of the sha256 of its SubjectPublicKeyInfo."""
    assert isinstance(public, ec.EllipticCurvePublicKey)
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()[:IDENTITY_CHARS]


def named(label: str) -> x509.Name:
    """A subject with this common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])

"""Keys that sign folders, and whom their readers trust.

A key is Ed25519 as we make it, or an existing one on P-256, which the `model_signing` program of
OpenSSF takes as well. Its id is the sha256 of its public half in PEM (SubjectPublicKeyInfo), the
hint that this program puts into its signatures.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import make_folder, read_bytes, sync_folder, write_atomic

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

_ID = re.compile(r"[0-9a-f]{64}")
_MAX_KEY_BYTES = 4_096
_KINDS = "Ed25519, or EC on P-256"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trusted:
    """Whose signature counts: `id` of a key, and the key itself where it was given as a file."""

    id: str
    key: PublicKey | None = None


class SigningKey:
    """A private key with its id."""

    def __init__(self, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self.public: PublicKey = key.public_key()
        self.id = key_id(self.public)
        self.signer = CryptoSigner(key, SSlibKey.from_crypto(self.public, keyid=self.id))


def public_path(key: Path) -> Path:
    """Where the public half lies of the key in the file `key`."""
    return key.with_name(f"{key.name}.pub")


def make_key(path: Path) -> SigningKey:
    """A new key in the file `path`, which its owner alone may read, and its public half beside it;
    ConfigError where a file is already, OSError.
    """
    public = public_path(path)
    if found := next((each for each in (path, public) if os.path.lexists(each)), None):
        raise ConfigError(
            f"{found} is there already",
            fix="Leave --make-key out to sign with a key that is there, or name a new file.",
        )
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    write_atomic(public, _pem(key.public_key()))
    draft.rename(path)
    sync_folder(path.parent)
    return SigningKey(key)


def read_key(path: Path) -> SigningKey:
    """The key that signs, in the file `path`; ConfigError where there is none of a kind we know."""
    fix = "`driftline models sign PAIR --key FILE --make-key` makes one."
    try:
        data = read_bytes(path, _MAX_KEY_BYTES)
        if data is None:
            raise ConfigError(f"there is no key {path}", fix=fix)
        key = load_pem_private_key(data, password=None)
        if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise ValueError(f"it is of another kind than {_KINDS}")
        checked(key.public_key())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no key that can be used: {error}", fix=fix) from error
    return SigningKey(key)


def trusted(text: str) -> Trusted:
    """Whom `text` means: 64 hex digits are the id of a key, all else a file that holds a public
    one; ConfigError.
    """
    if _ID.fullmatch(text.lower()):
        return Trusted(id=text.lower())
    fix = "Name the file FILE.pub beside the key that signs, or the 64 digits that sign prints."
    path = Path(text)
    try:
        data = read_bytes(path, _MAX_KEY_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", fix=fix) from error
    if data is None:
        raise ConfigError(f"{text!r} is neither a key's id nor a file", fix=fix)
    if b"PRIVATE KEY" in data:
        raise ConfigError(f"{path} holds a private key, which stays with who signs", fix=fix)
    try:
        key = checked(load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no public key of ours: {error}", fix=fix) from error
    return Trusted(id=key_id(key), key=key)


def public_key(der: bytes) -> PublicKey:
    """The key in DER; ValueError."""
    try:
        return checked(load_der_public_key(der))
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error


def public_der(key: PublicKey) -> bytes:
    """As SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: PublicKey) -> str:
    """Hex sha256 of the key in PEM."""
    return hashlib.sha256(_pem(key)).hexdigest()


def checked(key: object) -> PublicKey:
    """`key`, if it is of a kind that signs folders; ValueError."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return key
    raise ValueError(f"it is of another kind than {_KINDS}")


def _pem(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

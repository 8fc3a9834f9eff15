"""Keys that sign metadata (Ed25519), each in a file that its owner alone may read."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import make_folder, read_bytes, sync_folder
from driftline_shared.trust.keys import MAX_KEY_BYTES

_FIX = "Bring the file back from where it is kept, or see docs/trust.md for lost keys."


def make_signer(path: Path) -> CryptoSigner:
    """A new key, kept in `path` durably, in place of what was there; OSError."""
    signer = new_signer()
    keep_signer(path, signer)
    return signer


def new_signer() -> CryptoSigner:
    """A new key that lies nowhere yet."""
    return CryptoSigner.generate_ed25519()


def keep_signer(path: Path, signer: CryptoSigner) -> None:
    """Keep a key in `path` durably, in place of what was there; OSError."""
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(signer.private_bytes)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def read_signer(path: Path) -> CryptoSigner:
    """The key in `path`; ConfigError where there is none of ours."""
    signer = read_any(path)
    if signer is None:
        raise ConfigError(f"{path} holds a key of another kind than Ed25519", fix=_FIX)
    return signer


def read_any(path: Path) -> CryptoSigner | None:
    """As `read_signer`; None for a key of another kind."""
    try:
        data = read_bytes(path, MAX_KEY_BYTES)
        if data is None:
            raise ConfigError(f"the key {path} is missing", fix=_FIX)
        key = load_pem_private_key(data, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no key that can be read: {error}", fix=_FIX) from error
    return CryptoSigner(key) if isinstance(key, Ed25519PrivateKey) else None

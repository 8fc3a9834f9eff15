"""What one side shows to the other: a folder with its key, its certificate and whom it trusts.

<folder>/key.pem       private, 0600
<folder>/chain.pem     its certificate and those above, without the root
<folder>/roots.pem     whom it trusts; two while a root is rolled over
<folder>/cloud.json    where the cloud is
<folder>/update_root.json  of a device: whose signatures its updates need
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import (
    make_folder,
    read_bytes,
    read_json,
    write_atomic,
    write_json,
)
from driftline_shared.program.address import check_address
from driftline_shared.trust.certificates import MAX_CHAIN_BYTES, read_chain
from driftline_shared.trust.keys import identity_of, read_key

KEY, CHAIN, ROOTS, CLOUD = "key.pem", "chain.pem", "roots.pem", "cloud.json"

UPDATE_ROOT = "update_root.json"
"""The TUF root that came with the certificate: what vouches for updates."""

IDENTITY = "identity"
"""The folder of a device, in its state folder."""

SERVER_NAME = "cloud.driftline"
"""What every cloud's own certificate names, whatever its address: its root tells clouds apart."""

_FIX = "Enrol anew with `driftline device enrol`, or bring the folder back."


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """For a TLS client, in PEM. `chain` and `key` may be a newcomer's."""

    key: bytes
    chain: bytes
    roots: bytes

    @property
    def certificate(self) -> x509.Certificate:
        """Its own."""
        return read_chain(self.chain)[0]

    @property
    def identity(self) -> str:
        """Whose it is."""
        return identity_of(self.certificate.public_key())


def has_credentials(folder: Path) -> bool:
    """Whether somebody was enrolled here."""
    return (folder / CHAIN).is_file()


def read_credentials(folder: Path) -> Credentials:
    """Those in `folder`; ConfigError where they are not whole or do not belong together."""
    try:
        found = Credentials(
            key=read_key(folder / KEY).key_pem,
            chain=_read(folder / CHAIN),
            roots=_read(folder / ROOTS),
        )
        fits = found.identity == read_key(folder / KEY).identity
        read_chain(found.roots)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the credentials in {folder} cannot be read: {error}", fix=_FIX
        ) from error
    if not fits:
        raise ConfigError(f"the certificate in {folder} is not of the key beside it", fix=_FIX)
    return found


def keep_credentials(
    folder: Path, *, chain: bytes, roots: bytes, address: str, update_root: bytes = b""
) -> None:
    """Keep what a cloud gave beside the key that is there; the chain last, which makes it whole.

    `update_root`: empty: what is there stays.
    """
    make_folder(folder)
    if update_root:
        write_atomic(folder / UPDATE_ROOT, update_root)
    write_json(folder / CLOUD, {"address": address})
    write_atomic(folder / ROOTS, roots)
    write_atomic(folder / CHAIN, chain)


def cloud_address(folder: Path) -> str:
    """host:port of the cloud that enrolled this folder; empty if none did."""
    found = read_json(folder / CLOUD) if has_credentials(folder) else None
    try:
        return check_address(str(found["address"])) if found else ""
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{folder / CLOUD} names no address", fix=_FIX) from error


def _read(path: Path) -> bytes:
    data = read_bytes(path, MAX_CHAIN_BYTES)
    if data is None:
        raise FileNotFoundError(f"{path.name} is missing")
    return data

"""This device's certificate: the first by an invitation, the next ones in time, over the same link.

    <state>/identity/      see `driftline_shared.trust.credentials`

At two thirds of its time a certificate is renewed. A device that was away for longer than that asks
as it did the first time, without a token: the cloud knows its key.
"""

from __future__ import annotations

from pathlib import Path

import grpc
import structlog

from driftline_shared.host.durable import error_text, write_atomic
from driftline_shared.rpc import trust
from driftline_shared.trust.certificates import due_unix_s, fingerprint, read_chain, trouble_with
from driftline_shared.trust.credentials import (
    IDENTITY,
    KEY,
    Credentials,
    cloud_address,
    has_credentials,
    keep_credentials,
    read_credentials,
)
from driftline_shared.trust.invitation import Invitation
from driftline_shared.trust.keys import own_key

_log = structlog.get_logger(__name__)


def enrol_by(
    invitation: Invitation, state: Path, *, label: str, timeout_s: float
) -> trust.Certified:
    """Ask the cloud that invites for a certificate and keep it, with the key's own id.

    Without a chain in what is given back an operator has yet to accept this device. LinkError,
    ConfigError, OSError.
    """
    folder = state / IDENTITY
    found = trust.enrol(invitation, own_key(folder / KEY), label=label, timeout_s=timeout_s)
    if found.chain:
        write_atomic(state / "device_id", f"{found.identity}\n".encode())
        keep_credentials(folder, chain=found.chain, roots=found.roots, address=invitation.address)
    return found


class Identity:
    """The credentials in a state folder, and their renewal. ConfigError where they are broken."""

    def __init__(self, state: Path, address: str) -> None:
        self._folder, self._address = state / IDENTITY, address
        self._take(read_credentials(self._folder))

    def _take(self, credentials: Credentials) -> None:
        # Looked at twice a second for a month: it is reckoned once.
        self.credentials, self._due_s = credentials, due_unix_s(credentials.certificate)

    @property
    def device_id(self) -> str:
        """Who this device is to its cloud."""
        return self.credentials.identity

    def renew(self, channel: grpc.Channel, *, now_s: float, timeout_s: float) -> bool:
        """Take a new certificate if it is time; whether there is one. LinkError.

        What the disk does not take is used all the same, and asked for anew after a restart.
        """
        if now_s < self._due_s:
            return False
        signer = own_key(self._folder / KEY)
        if trouble_with(self.credentials.certificate):
            root = fingerprint(read_chain(self.credentials.roots)[0])
            known = Invitation(address=self._address, root=root)
            found = trust.enrol(known, signer, label="", timeout_s=timeout_s)
        else:
            found = trust.certify(channel, signer, timeout_s=timeout_s)
        if not found.chain:
            _log.warning("identity.waits", identity=found.identity, fix="An operator accepts it.")
            return False
        self._take(Credentials(key=signer.key_pem, chain=found.chain, roots=found.roots))
        try:
            keep_credentials(
                self._folder,
                chain=found.chain,
                roots=found.roots,
                address=cloud_address(self._folder) or self._address,
            )
        except OSError as error:
            _log.error("identity.not_kept", path=str(self._folder), error=error_text(error))
        _log.info(
            "identity.renewed", until=f"{self.credentials.certificate.not_valid_after_utc:%F %R}"
        )
        return True


def identity_in(state: Path, address: str) -> Identity | None:
    """The identity of a device that was enrolled; None of one that never was."""
    return Identity(state, address) if has_credentials(state / IDENTITY) else None

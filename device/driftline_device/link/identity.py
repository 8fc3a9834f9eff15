"""This device's certificate: the first by an invitation, the next ones in time, over the same link.

    <state>/identity/      see `driftline_shared.trust.credentials`

At two thirds of its time a certificate is renewed. A device that was away for longer than that asks
as it did the first time, without a token: the cloud knows its key.
"""

from __future__ import annotations

import random
from pathlib import Path

import grpc
import structlog

from driftline_shared.errors import LinkError
from driftline_shared.host.durable import error_text, write_atomic
from driftline_shared.retry import Backoff, delays
from driftline_shared.rpc import trust
from driftline_shared.trust.certificates import due_unix_s, fingerprint, read_chain, trouble_with
from driftline_shared.trust.credentials import (
    IDENTITY,
    KEY,
    UPDATE_ROOT,
    Credentials,
    cloud_address,
    has_credentials,
    keep_credentials,
    read_credentials,
)
from driftline_shared.trust.invitation import Invitation
from driftline_shared.trust.keys import Signer, own_key

_log = structlog.get_logger(__name__)

AGAIN = Backoff(first_s=20.0, cap_s=1_800.0, floor_s=5.0)
"""Between two tries to renew a certificate that is good for ten days yet, or between two questions
whether an operator has accepted this device.
"""


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
        keep_credentials(
            folder,
            chain=found.chain,
            roots=found.roots,
            address=invitation.address,
            update_root=found.update_root,
        )
    return found


class Identity:
    """The credentials in a state folder, and their renewal. ConfigError where they are broken."""

    def __init__(self, state: Path, address: str, *, rng: random.Random | None = None) -> None:
        self._folder, self._address = state / IDENTITY, address
        self._rng = rng or random.Random()
        self._take(read_credentials(self._folder))

    def _take(self, credentials: Credentials) -> None:
        # Looked at twice a second for a month: it is reckoned once.
        self.credentials, self._due_s = credentials, due_unix_s(credentials.certificate)
        self._waits, self._next_s = delays(AGAIN, self._rng), 0.0

    @property
    def device_id(self) -> str:
        """Who this device is to its cloud."""
        return self.credentials.identity

    @property
    def is_good(self) -> bool:
        """Whether a cloud takes the certificate at this moment."""
        return not trouble_with(self.credentials.certificate)

    def doubt(self) -> None:
        """The cloud no longer knows the certificate, though it holds: ask for another soon."""
        self._due_s = 0.0

    def renew(
        self, channel: grpc.Channel, *, now_s: float, monotonic_s: float, timeout_s: float
    ) -> bool:
        """Take a new certificate if it is time; whether there is one. LinkError.

        Tried again later and later while the old one is good. What the disk does not take is used
        all the same, and asked for anew after a restart.
        """
        if now_s < self._due_s or monotonic_s < self._next_s:
            return False
        signer = own_key(self._folder / KEY)
        try:
            found = self._ask(channel, signer, timeout_s)
        except LinkError:
            if self.is_good:
                self._next_s = monotonic_s + next(self._waits)
            raise
        if not found.chain:
            self._next_s = monotonic_s + next(self._waits)
            _log.warning("identity.waits", identity=found.identity, fix="An operator accepts it.")
            return False
        self._take(Credentials(key=signer.key_pem, chain=found.chain, roots=found.roots))
        self._next_s = monotonic_s + AGAIN.first_s  # where the cloud does not know this one either
        try:
            keep_credentials(
                self._folder,
                chain=found.chain,
                roots=found.roots,
                address=cloud_address(self._folder) or self._address,
                # Once only: later roots come signed by it, never by who signs certificates.
                update_root=b"" if (self._folder / UPDATE_ROOT).exists() else found.update_root,
            )
        except OSError as error:
            _log.error("identity.not_kept", path=str(self._folder), error=error_text(error))
        _log.info(
            "identity.renewed", until=f"{self.credentials.certificate.not_valid_after_utc:%F %R}"
        )
        return True

    def _ask(self, channel: grpc.Channel, signer: Signer, timeout_s: float) -> trust.Certified:
        if self.is_good:
            return trust.certify(channel, signer, timeout_s=timeout_s)
        # Two while a root is rolled over, one of which the cloud trusts no more some day.
        roots = [fingerprint(root) for root in read_chain(self.credentials.roots)]
        invitation = Invitation(address=self._address, root=roots[0])
        return trust.enrol(invitation, signer, label="", timeout_s=timeout_s, known=roots)


def identity_in(state: Path, address: str) -> Identity | None:
    """The identity of a device that was enrolled; None of one that never was."""
    return Identity(state, address) if has_credentials(state / IDENTITY) else None

"""What a cloud with an authority has: who signs, who may come in, the face it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from driftline_cloud.intake.database import Database
from driftline_cloud.trust.authority import FOLDER, OPERATOR, read_authority
from driftline_cloud.trust.issuer import Issuer, LocalIssuer, Role
from driftline_cloud.trust.members import Members
from driftline_cloud.trust.operator import mend_operator
from driftline_cloud.trust.peers import Peers
from driftline_cloud.trust.rollover import note_served
from driftline_cloud.trust.server_identity import ServerIdentity
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import error_text
from driftline_shared.trust.credentials import has_credentials, read_credentials

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudTrust:
    """`fingerprint`: of the root. `peers` belongs to the server's event loop."""

    issuer: Issuer
    members: Members
    peers: Peers
    server: ServerIdentity
    fingerprint: str


def open_trust(
    state: Path, database: Database, *, now_s: Callable[[], float], days: float
) -> CloudTrust:
    """The trust of the authority in `state`, whose certificates hold for `days`; ConfigError."""
    authority = read_authority(state)
    issuer, members = LocalIssuer(authority, days=days), Members(database)
    try:
        note_served(state, authority, now_unix_s=now_s())
    except OSError as error:
        # Nobody counts as having come before it can be written: the cloud serves all the same.
        _log.error("trust.rollover_not_noted", error=error_text(error))
    try:
        mend_operator(state, authority)
        folder = state / FOLDER / OPERATOR
        found = read_credentials(folder) if has_credentials(folder) else None
    except ConfigError as error:  # this machine's commands are turned away, nobody else
        _log.warning("operator.not_whole", cause=str(error), fix=error.fix)
        found = None
    if found is not None:  # of whom `init` made: to be revoked like everybody
        members.add(
            found.identity, label="this machine", role=Role.OPERATOR, now_unix_s=int(now_s())
        )
    return CloudTrust(
        issuer=issuer,
        members=members,
        peers=Peers(issuer),
        server=ServerIdentity(issuer, now_s=now_s),
        fingerprint=issuer.fingerprint,
    )

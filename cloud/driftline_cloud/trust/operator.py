"""What commands show to a cloud with an authority."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from driftline_cloud.trust.authority import FOLDER, OPERATOR, Authority
from driftline_cloud.trust.issuer import Issuer, LocalIssuer, Role
from driftline_shared.errors import ConfigError
from driftline_shared.trust.certificates import is_issued_by, read_chain, trouble_with
from driftline_shared.trust.credentials import (
    KEY,
    Credentials,
    has_credentials,
    keep_credentials,
    read_credentials,
)
from driftline_shared.trust.keys import own_key

VARIABLE = "DRIFTLINE_IDENTITY"
"""Names the folder that `driftline cloud member add` made, for people on another machine."""

OPERATOR_DAYS = 365.0
"""How long a person's certificate holds."""

_log = structlog.get_logger(__name__)


def make_credentials(folder: Path, issuer: Issuer, role: Role) -> str:
    """Make a certificate for the key in `folder`, which is made if need be; its identity.
    ConfigError where it cannot be written.
    """
    try:
        key = own_key(folder / KEY)
        keep_credentials(
            folder,
            chain=issuer.issue(key.key.public_key(), role),
            roots=issuer.roots_pem,
            address="",
        )
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror or error}", fix="Name another folder."
        ) from error
    return key.identity


def mend_operator(state: Path, authority: Authority) -> bool:
    """Make the credentials of this machine's commands anew where they do not hold: a kill came
    between a new issuing key and them, or they have ended. Whether that was done; ConfigError.

    Nothing where their folder was taken away.
    """
    folder = state / FOLDER / OPERATOR
    if not folder.is_dir() or _holds(folder, authority):
        return False
    make_credentials(folder, LocalIssuer(authority, days=OPERATOR_DAYS), Role.OPERATOR)
    _log.warning("operator.made_anew", path=str(folder))
    return True


def _holds(folder: Path, authority: Authority) -> bool:
    try:
        leaf = read_chain(read_credentials(folder).chain)[0]
    except (ConfigError, ValueError, IndexError):
        return False
    issuers = (authority.issuing, *authority.before)
    return not trouble_with(leaf) and any(is_issued_by(leaf, one) for one in issuers)


def operator_credentials(
    state: Path, *, insecure: bool = False, environment: Mapping[str, str] = os.environ
) -> Credentials | None:
    """Those in the folder that `DRIFTLINE_IDENTITY` names, else the operator's of the cloud in
    `state`; None where there is neither. ConfigError where they are broken.
    """
    if named := environment.get(VARIABLE):
        try:
            return read_credentials(Path(named))
        except ConfigError as error:
            raise ConfigError(
                f"{VARIABLE}: {error}",
                fix="Name the folder that `driftline cloud member add` made, or unset it.",
            ) from error
    folder = state / FOLDER / OPERATOR
    if insecure or not has_credentials(folder):
        return None
    return read_credentials(folder)

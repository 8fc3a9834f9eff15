"""What commands do with a cloud's authority: whether it is there, credentials that it signs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from driftline_shared.errors import ConfigError, DataError

if TYPE_CHECKING:
    from driftline_cloud.config import CloudConfig
    from driftline_cloud.trust.issuer import Issuer, Role

OPERATOR_DAYS = 365.0
"""How long a person's certificate holds."""


def make_credentials(folder: Path, issuer: Issuer, role: Role) -> str:
    """Make a key and a certificate in `folder`; the identity. ConfigError where it cannot be
    written.
    """
    from driftline_shared.trust.credentials import KEY, keep_credentials
    from driftline_shared.trust.keys import own_key

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


def check_authority(settings: CloudConfig) -> None:
    """DataError for a cloud without one."""
    from driftline_cloud.trust.authority import has_authority

    if not has_authority(settings.state):
        raise DataError(
            f"the cloud in {settings.state} has no authority, so it knows nobody",
            fix="`driftline cloud init` makes one; then start the cloud anew.",
        )

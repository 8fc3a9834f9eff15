"""What commands show to a cloud with an authority."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from driftline_cloud.trust.authority import FOLDER, OPERATOR
from driftline_shared.errors import ConfigError
from driftline_shared.trust.credentials import Credentials, has_credentials, read_credentials

VARIABLE = "DRIFTLINE_IDENTITY"
"""Names the folder that `driftline cloud member add` made, for people on another machine."""


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

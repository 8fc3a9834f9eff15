"""Who this device is to its cloud, and whether it has been let in."""

from __future__ import annotations

from pathlib import Path

from driftline_shared.errors import ConfigError
from driftline_shared.plain_text import moment
from driftline_shared.program.checks import Check, fail, ok, warn
from driftline_shared.trust.certificates import trouble_with
from driftline_shared.trust.credentials import (
    IDENTITY,
    KEY,
    has_credentials,
    read_credentials,
)
from driftline_shared.trust.keys import read_key

AGAIN = "give `driftline device enrol` with the same invitation again"


def check_identity(state: Path) -> Check | None:
    """The device's fingerprint, which its operator compares; None: it never asked a cloud."""
    folder = state / IDENTITY
    try:
        if has_credentials(folder):
            return _enrolled(folder)
        identity = read_key(folder / KEY).identity
    except FileNotFoundError:
        return None
    except ConfigError as error:
        return fail("identity", str(error), error.fix)
    return warn(
        "identity",
        f"{identity} is this device's fingerprint, and no cloud has certified it: it waits for an "
        "operator, or its invitation was refused",
        "The operator compares the fingerprint and lets it in: `driftline cloud member accept "
        f"{identity[:12]}` or the page Members. Then {AGAIN}.",
    )


def _enrolled(folder: Path) -> Check:
    found = read_credentials(folder)
    trouble = trouble_with(found.certificate)
    ends = f"{moment(int(found.certificate.not_valid_after_utc.timestamp()))}Z"
    said = f"{found.identity} is this device's fingerprint; its certificate holds until {ends}"
    if trouble:
        return warn(
            "identity",
            f"{said}: {trouble}",
            "A daemon that runs asks for another by itself; an operator sees the fingerprint in "
            "`driftline cloud member list`.",
        )
    return ok("identity", said)

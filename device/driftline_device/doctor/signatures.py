"""Whether updates are believed, and until when."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from driftline_device.signatures.folder import FOLDER, enrolled_root, look
from driftline_shared.errors import Reason, explain
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.update_root import pair_root
from driftline_shared.plain_text import moment
from driftline_shared.program.checks import Check, fail, ok, warn
from driftline_shared.signing.ends import ending
from driftline_shared.trust.credentials import IDENTITY, has_credentials


def check_signatures(state: Path, pair: Pair | None, status: dict[str, Any] | None) -> Check:
    """What the daemon last found, else what lies on the disk."""
    try:
        root = (pair_root(pair.dir) if pair is not None else None) or enrolled_root(state)
    except (OSError, ValueError) as error:
        return fail(
            "signatures",
            f"the root that vouches for updates cannot be read: {error}",
            "Bring the file back, or enrol anew with `driftline device enrol`.",
        )
    if root is None:
        if has_credentials(state / IDENTITY):
            return warn(
                "signatures",
                "updates are taken unsigned: this device got no root when it was enrolled",
                "`driftline cloud keys init` on the cloud; the root comes with the next renewal of "
                "the certificate, or at once with `driftline device enrol`.",
            )
        return ok("signatures", "not asked for: this device was enrolled with no cloud that signs")
    held = look(state / FOLDER, root)
    told = ((status or {}).get("update") or {}).get("signatures") or {}
    reason = str(told.get("reason") or "")
    if held.until_unix_s and time.time() >= held.until_unix_s:
        reason = str(Reason.METADATA_EXPIRED)
    if reason in Reason.__members__.values():
        detail = str(told.get("detail") or "") or f"since {moment(held.until_unix_s)}Z"
        return warn(
            "signatures", f"no update is believed now: {reason}, {detail}", explain(Reason(reason))
        )
    if (soon := ending(held.ends, time.time())) is not None:
        return warn("signatures", soon.found, soon.fix)
    if not held.until_unix_s:
        return ok("signatures", "required; the cloud was not asked yet")
    return ok(
        "signatures",
        f"believed until {moment(held.until_unix_s)}Z, root {held.state.root}, line {held.line}",
    )

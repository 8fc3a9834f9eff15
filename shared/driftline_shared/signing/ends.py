"""Signed metadata that ends soon, told while there is time to bring two root keys together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from driftline_shared.plain_text import moment

DAY_S = 86_400.0
ROOT_SOON_S, ROLE_SOON_S = 56 * DAY_S, 14 * DAY_S
"""Before the end of a root of two years, and of a role that is signed again 90 days before it
ends: eight weeks, two weeks. A timestamp lives for hours and is not looked at.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What ends soon, and what to do."""

    found: str
    fix: str


def ending(ends: Mapping[str, float], now_s: float) -> Ending | None:
    """Of the `ends` of roles, in unix seconds, what is to be told; 0: not there."""
    if 0 < ends.get("root", 0.0) < now_s + ROOT_SOON_S:
        return Ending(
            found=f"the root {_when(ends['root'], now_s)}, and all updates with it",
            fix="Bring two root keys together where the cloud is, and `driftline cloud keys renew "
            "--root-keys FOLDER`; devices follow by themselves.",
        )
    late = {
        role: end
        for role, end in ends.items()
        if role not in ("root", "timestamp") and 0 < end < now_s + ROLE_SOON_S
    }
    if not late:
        return None
    role = min(late, key=lambda name: late[name])
    return Ending(
        found=f"the metadata of {role} {_when(late[role], now_s)}",
        fix="See that the cloud serves: it signs all again long before, by itself; its log has "
        "what keeps it from that (`signing.failed`).",
    )


def _when(end_s: float, now_s: float) -> str:
    return f"{'ended on' if end_s <= now_s else 'ends on'} {moment(end_s)}Z"

"""Which devices a version reaches first: the same for the same fleet, another set each version.

A device's place is a number in [0, 1) that follows from line, version and its id:

    place = sha256(line \\0 version \\0 device)[:8] / 2^64

Those with the lowest places come first, so a larger share holds every smaller one. The devices are
counted, not only expected: of n devices a share s reaches max(1, floor(s n)), never more.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A device of the line; `is_active`: it was seen lately, so it can say how a version does."""

    device_id: str
    is_active: bool = True


def place_of(line: str, version: int, device_id: str) -> float:
    """Where the device stands among all for this version, in [0, 1)."""
    text = f"{line}\0{version}\0{device_id}".encode()
    return (int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11) / float(1 << 53)


def size_of(share: float, num_devices: int) -> int:
    """How many of `num_devices` a share may reach: rounded down, but one where there is one."""
    return min(num_devices, max(1, math.floor(share * num_devices + 1e-9)))


def choose(
    candidates: Iterable[Candidate],
    *,
    line: str,
    version: int,
    share: float,
    members: Collection[str] = (),
    first: Collection[str] = (),
) -> list[str]:
    """Ids of the devices that `share` reaches, `members` (of an earlier phase) always among them.

    Then come those named in `first`, then those seen lately, each by their places.
    """
    known, named = set(members), set(first)
    ordered = sorted(
        (one for one in candidates if one.device_id not in known),
        key=lambda one: (
            one.device_id not in named,
            not one.is_active,
            place_of(line, version, one.device_id),
            one.device_id,
        ),
    )
    # Members that are gone count as well: each may have run the version.
    room = max(0, size_of(share, len(known) + len(ordered)) - len(known))
    return sorted(known | {one.device_id for one in ordered[:room]})

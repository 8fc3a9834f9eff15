"""What a device holds of signed metadata, on disk: written by `trusted.py`, read beside it.

<state>/trusted/root_history/<N>.root.json    every root it followed
                timestamp.json, snapshot.json, targets.json, line.<line>.json
                held.json                     its line, the highest root that it believed, and the
                                              highest version that it went to (`highest.py`)
<state>/identity/update_root.json             the root that came with its certificate
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from driftline_shared.host.durable import read_bytes, read_json
from driftline_shared.signing.bundle import MAX_METADATA_BYTES, SignedState
from driftline_shared.signing.versions import role_of
from driftline_shared.trust.credentials import IDENTITY, UPDATE_ROOT

FOLDER, HELD, ROOTS = "trusted", "held.json", "root_history"
ROLES = ("timestamp", "snapshot", "targets")


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """`state`: versions on disk. `until_unix_s`: the first end of any of them; 0: there is none
    yet. `ends`: of each by its role; 0: it cannot be read.
    """

    state: SignedState
    line: str
    until_unix_s: float
    ends: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureStatus:
    """`until_unix_s`: until when updates are believed without newer metadata; 0: there is none yet.
    `reason`: why none would be now; empty: they would. `root`: number of the root in force.
    """

    root: int
    until_unix_s: float
    reason: str
    detail: str


def enrolled_root(state: Path) -> bytes | None:
    """The root that came with the certificate in the state folder `state`, if one did; ValueError,
    OSError where it cannot be read.
    """
    return read_bytes(state / IDENTITY / UPDATE_ROOT, MAX_METADATA_BYTES)


def look(folder: Path, root: bytes = b"") -> Held:
    """What is in `folder`, unchecked; what does not read counts as not there. `root`: what it was
    begun from.
    """
    line = line_in(folder)
    newest, root_end = _newest_root(folder / ROOTS, root)
    names = [*ROLES, role_of(line)] if line else list(ROLES)
    found = {name: _read(folder / f"{name}.json") for name in names}
    ends = {"root": root_end, **{name: end for name, (_, end) in found.items()}}
    timestamp, snapshot, targets = (found[name][0] for name in ROLES)
    state = SignedState(
        root=newest,
        timestamp=timestamp,
        snapshot=snapshot,
        targets=targets,
        line=found[role_of(line)][0] if line else 0,
    )
    first = min((end for end in ends.values() if end), default=0.0)
    return Held(state=state, line=line, until_unix_s=first if timestamp else 0.0, ends=ends)


def line_in(folder: Path) -> str:
    """The device's line at its cloud, as it last heard; empty: it never did."""
    found = read_held(folder).get("line")
    return found if isinstance(found, str) else ""


def read_held(folder: Path) -> dict[str, Any]:
    """What held.json says; nothing where it cannot be read."""
    try:
        return read_json(folder / HELD) or {}
    except (OSError, ValueError):
        return {}


def _newest_root(folder: Path, first: bytes) -> tuple[int, float]:
    """(number, end) of the last root after `first` whose file says that it is the next; where there
    is no `first`, from the first file on.
    """
    number, end = _parse(first)
    while True:
        found = _read(folder / f"{number + 1}.root.json")
        if found[0] != number + 1:
            return number, end
        number, end = found


def _read(path: Path) -> tuple[int, float]:
    """(version, end in unix seconds) of a file; zeros where it cannot be read."""
    try:
        return _parse(read_bytes(path, MAX_METADATA_BYTES) or b"")
    except (OSError, ValueError):
        return 0, 0.0


def _parse(data: bytes) -> tuple[int, float]:
    try:
        signed = json.loads(data)["signed"]
        version, end = signed["version"], datetime.fromisoformat(signed["expires"]).timestamp()
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return 0, 0.0
    is_version = isinstance(version, int) and 0 <= version < 1 << 63
    return (version, end) if is_version else (0, 0.0)

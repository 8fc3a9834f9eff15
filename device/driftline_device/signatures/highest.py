"""The highest version that a device went to, and under whose keys it believed in it.

It stands for as long as the root lets the same keys sign online. Once a root has revoked them,
whoever has them may have named it: it stands only if the keys in force name it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Highest:
    """`keys`: as of `chain.online_keys`; `line`: whose metadata named it. Both are empty in what a
    device of before wrote.
    """

    version: int
    keys: str = ""
    line: str = ""


def highest_of(held: Mapping[str, Any], base_model: str) -> Highest | None:
    """What held.json says for a base model; None: nothing that reads."""
    known = held.get("highest")
    found = known.get(base_model) if isinstance(known, dict) else None
    if isinstance(found, int):
        return Highest(version=found)
    if not isinstance(found, dict):
        return None
    version, keys, line = (found.get(name) for name in ("version", "keys", "line"))
    if isinstance(version, int) and isinstance(keys, str) and isinstance(line, str):
        return Highest(version=version, keys=keys, line=line)
    return None


def with_highest(held: Mapping[str, Any], base_model: str, highest: Highest) -> dict[str, Any]:
    """What is to stand in held.json under `highest`."""
    known = held.get("highest")
    return {**(known if isinstance(known, dict) else {}), base_model: asdict(highest)}

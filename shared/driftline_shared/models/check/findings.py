"""What a check finds, and how much memory there is to hold it against."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from driftline_shared.errors import ConfigError
from driftline_shared.host.memory import total_bytes
from driftline_shared.models.check.memory import Plan, Precision

Level = Literal["error", "warning", "note"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """`what` is so, and `fix` says what to do; errors keep the pair from running."""

    level: Level
    what: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """Memory there is. `given`: by the user, so that too little is an error, not a warning."""

    num_bytes: int
    given: bool


def parse_limit(text: str | None) -> Limit:
    """`8GB`, `80GiB`, `512M`; None: what this machine has. Raises ConfigError."""
    if text is None:
        return Limit(num_bytes=machine_memory(), given=False)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise ConfigError(f"a memory size is a number with a unit, as 8GB or 80GiB, not {text!r}")
    unit = match[2].upper()
    factor = _BINARY[unit] if match[3] and unit else _UNITS[unit]
    return Limit(num_bytes=int(float(match[1]) * factor), given=True)


def machine_memory() -> int:
    """Bytes of the first GPU where torch sees one, else of this machine's RAM."""
    try:
        import torch
    except ModuleNotFoundError:
        return _ram()
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return _ram()


def too_little(
    side: str,
    plans: Mapping[Precision, Plan],
    chosen: Precision,
    limit: Limit,
    settings: Mapping[Precision, str],
) -> Iterator[Finding]:
    """A finding where `chosen` does not fit `limit`, with the smallest precision that does.

    `settings`: precision -> what to write in pair.toml for it.
    """
    if plans[chosen].num_bytes <= limit.num_bytes:
        return
    smallest = min(settings, key=lambda precision: plans[precision].num_bytes)
    least = plans[smallest].num_bytes
    largest = max(plans[chosen].items.items(), key=lambda item: item[1])
    fix = (
        f"write {settings[smallest]} ({size(least)})"
        if least <= limit.num_bytes
        else "use smaller checkpoints or a smaller image in [token_space], or a machine with "
        f"{size(least)} and write {settings[smallest]}"
    )
    yield Finding(
        level="error" if limit.given else "warning",
        what=f"the {side} needs about {size(plans[chosen].num_bytes)} of memory at {chosen} "
        f"({largest[0]}: {size(largest[1])}) and has {size(limit.num_bytes)}",
        fix=fix,
    )


def size(num_bytes: int) -> str:
    """Bytes for people, in powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} B"


def _ram() -> int:
    # Beside Linux there is no /proc.
    pages = int(os.sysconf("SC_PHYS_PAGES"))
    return total_bytes() or pages * int(os.sysconf("SC_PAGE_SIZE"))

"""What a check finds, and how much memory there is to hold it against."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from driftline_shared.errors import ConfigError
from driftline_shared.host.memory import total_bytes
from driftline_shared.models.check.memory import Plan, Precision

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is so, and `fix` says what to do; errors keep the pair from running."""

    level: Level
    what: str
    fix: str = ""


error, warning, note = (partial(Finding, level) for level in get_args(Level))


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
    factor = (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " ")
    return Limit(num_bytes=int(float(match[1]) * factor), given=True)


def machine_memory() -> int:
    """Bytes of the first GPU where torch sees one, else of this machine's RAM."""
    with suppress(ModuleNotFoundError):
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.get_device_properties(0).total_memory)
    # Beside Linux there is no /proc.
    return total_bytes() or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
    totals = {precision: sum(plan.values()) for precision, plan in plans.items()}
    if totals[chosen] <= limit.num_bytes:
        return
    smallest = min(settings, key=totals.__getitem__)
    least = totals[smallest]
    largest = max(plans[chosen].items(), key=lambda item: item[1])
    fix = (
        f"write {settings[smallest]} ({size(least)})"
        if least <= limit.num_bytes
        else "use smaller checkpoints or a smaller image in [token_space], or a machine with "
        f"{size(least)} and write {settings[smallest]}"
    )
    yield Finding(
        "error" if limit.given else "warning",
        f"the {side} needs about {size(totals[chosen])} of memory at {chosen} "
        f"({largest[0]}: {size(largest[1])}) and has {size(limit.num_bytes)}",
        fix,
    )


def size(num_bytes: int) -> str:
    """Bytes for people, in powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} B"

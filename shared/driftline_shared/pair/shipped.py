"""The weights made here: a package of data, `driftline_pairs`, that an install may hold or not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

NOT_INSTALLED = (
    "the shipped pairs, which are a wheel of their own: in a checkout of Driftline "
    "`pip install ./shared/driftline_pairs`. A device without torch needs none of them: it runs an "
    "export, made by `driftline models export` where torch and the pairs are"
)


def shipped_root() -> Path | None:
    """The folder of the weights made here; None where `driftline_pairs` is not installed."""
    found = find_spec("driftline_pairs")
    return Path(found.origin).parent if found and found.origin else None


def shipped_pairs() -> list[str]:
    """Names of the pairs inside this install."""
    root = shipped_root()
    return [] if root is None else sorted(path.parent.name for path in root.glob("*/pair.toml"))

"""The affine parameters of norm layers, by their names in an adapter."""

from __future__ import annotations

from collections.abc import Iterable


def norm_names(names: Iterable[str]) -> list[str]:
    """Those of norm layers, in name order: all that is not a LoRA matrix (`.A`, `.B`)."""
    return sorted(name for name in names if not name.endswith((".A", ".B")))

"""What a format is to a fuzzer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Target:
    """`corpus`: good documents. `read`: what the product does with one. `refusals`: what it may
    raise; anything else is a finding. `modules`: whose branches guide a fuzzer that sees them.
    """

    corpus: tuple[bytes, ...]
    read: Callable[[bytes], object]
    refusals: tuple[type[BaseException], ...]
    modules: tuple[str, ...]

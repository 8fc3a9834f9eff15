"""An adapter line: every device that runs the same base model of a pair, or a group of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from driftline_shared.ids import line_id
from driftline_shared.tokens import TokenSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """`base_model`: hex digest of the frozen student as the device runs it. `group`: of devices
    with adapters of their own; empty: all others.
    """

    pair: str
    pair_dir: Path
    base_model: str
    token_space: TokenSpace
    group: str = ""

    @property
    def id(self) -> str:
        """The name of the line."""
        return group_id(line_id(self.pair, self.base_model), self.group)


def group_id(line: str, group: str) -> str:
    """The name of the line of a group of the devices that would be on `line`."""
    return f"{line}.{group}" if group else line

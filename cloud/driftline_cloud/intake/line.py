"""An adapter line: every device that runs the same base model of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from driftline_shared.ids import line_id
from driftline_shared.tokens import TokenSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """`base_model`: hex digest of the frozen student as the device runs it."""

    pair: str
    pair_dir: Path
    base_model: str
    token_space: TokenSpace

    @property
    def id(self) -> str:
        """The name of the line."""
        return line_id(self.pair, self.base_model)

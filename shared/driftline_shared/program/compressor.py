"""Which compressor drops visual tokens: a setting of devices, and of what the cloud trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftline_shared.program.section import Section, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressorChoice:
    """A method of `models/compression/table.py` by name, and its options; not checked."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


class CompressorSettings(Section):
    """A compressor, or none."""

    compressor: str = setting(
        "",
        "a method that drops or merges visual tokens, see [compression](compression.md); empty: "
        "none. Most run on an export, too; the cloud's student learns under those that need no "
        "tower",
    )
    compressor_options: dict[str, Any] = setting(
        {}, "a table of the method's options, for example `compressor_options.keep`"
    )

    @property
    def compressor_choice(self) -> CompressorChoice | None:
        """The compressor that is wanted, if any."""
        if not self.compressor:
            return None
        return CompressorChoice(name=self.compressor, options=self.compressor_options)

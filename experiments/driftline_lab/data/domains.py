"""Domains: the source as it is, and the source seen through each drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from driftline_lab.data.easyvqa import (
    Example,
    questions_of,
    read_picture,
)
from driftline_lab.drift.base import Drift, Picture
from driftline_lab.drift.table import DRIFTS

SOURCE = "source"


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """A world: a name, and the drift between it and the source (`None` for the source itself)."""

    name: str
    drift: Drift | None = None

    def picture(self, image_id: int, *, seed: int = 0) -> Picture:
        """(64, 64, 3) uint8: the picture as this domain shows it."""
        picture = read_picture(image_id)
        if self.drift is None:
            return picture
        return self.drift.change_picture(picture, seed=seed, image_id=image_id)

    def questions(self, image_id: int, *, seed: int = 0) -> tuple[Example, ...]:
        """The picture's examples as this domain words them."""
        rows = questions_of(image_id)
        drift = self.drift
        if drift is None:
            return rows
        return tuple(
            replace(row, question=drift.change_question(row.question, seed=seed, image_id=image_id))
            for row in rows
        )


DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {SOURCE: Domain(name=SOURCE)}
    | {name: Domain(name=name, drift=drift) for name, drift in DRIFTS.items()}
)
"""Every domain by name, the source first."""

"""Gathers what training and measuring read: pictures' tokens, questions and facts, by domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import SiglipVisionModel

from driftline_lab.data.domains import DOMAINS, SOURCE
from driftline_lab.data.easyvqa import Facts, Part, facts_of, image_ids
from driftline_lab.drift.reworded import COLOURS, SHAPES
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.token_cache import cache_tokens
from driftline_lab.recipes.tiny.tower import UNKNOWN
from driftline_lab.recipes.tiny.training import View


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """All views of the data set through one tower; tokens are cached below `folder`."""

    folder: Path
    tower: SiglipVisionModel
    encoder: Encoder

    def views(self, domain: str, part: Part, *, drift_seed: int = 0) -> list[View]:
        """One view per picture of `part` in `domain`."""
        drift = DOMAINS[domain].drift
        redraws = drift is not None and drift.picture is not None
        cached = cache_tokens(
            self.folder / part,
            self.tower,
            domain if redraws else SOURCE,
            image_ids(part),
            seed=drift_seed if redraws else 0,
        )
        return [
            View(
                tokens=cached.tokens,
                row=cached.row_of[image_id],
                segments=self.encoder.segments(image_id, domain, seed=drift_seed),
                shape=shape,
                colour=colour,
            )
            for image_id in image_ids(part)
            for shape, colour in [fact_labels(facts_of(image_id))]
        ]


def fact_labels(facts: Facts) -> tuple[int, int]:
    """(shape, colour) class numbers, `UNKNOWN` where the questions do not tell."""
    shape = SHAPES.index(facts.shape) if facts.shape else UNKNOWN
    colour = COLOURS.index(facts.colour) if facts.colour else UNKNOWN
    return shape, colour

"""Gathers what training and measuring read: pictures' tokens, questions and facts, by domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import SiglipVisionModel

from driftline_lab.data.domains import DOMAINS, SOURCE
from driftline_lab.data.easyvqa import Facts, Part, facts_of, image_ids
from driftline_lab.drift.reworded import COLOURS, SHAPES
from driftline_lab.recipes.packing import Segment
from driftline_lab.recipes.tiny.questions import Encoder, worded
from driftline_lab.recipes.tiny.token_cache import cache_augmented, cache_tokens
from driftline_lab.recipes.tiny.tower import UNKNOWN
from driftline_lab.recipes.tiny.training import View

Tokens = NDArray[np.float16]

UNTOLD = Facts(shape=None, colour=None)
"""The few pictures whose questions tell nothing: training leaves them out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """All views of the data set through one tower; tokens are cached below `folder`."""

    folder: Path
    tower: SiglipVisionModel
    encoder: Encoder

    def views(self, domain: str, part: Part) -> list[View]:
        """One view per picture of `part` in `domain`, with the data set's own questions."""
        tokens = self._tokens(domain, part, drift_seed=0, mirrored=False)
        return [
            _view(tokens, row, facts_of(image_id), self.encoder.segments(image_id, domain, seed=0))
            for row, image_id in enumerate(image_ids(part))
        ]

    def training_views(
        self, domain: str, *, drift_seed: int = 0, mirrored: bool = False
    ) -> list[View]:
        """One view per train picture in `domain`, with every question its facts answer."""
        tokens = self._tokens(domain, Part.TRAIN, drift_seed=drift_seed, mirrored=mirrored)
        return self._asked(tokens, domain)

    def augmented_views(self, draw: int) -> list[View]:
        """One view per train picture, augmented; another `draw` draws all changes anew."""
        folder = self.folder / Part.TRAIN
        tokens = cache_augmented(folder, self.tower, image_ids(Part.TRAIN), seed=draw)
        return self._asked(tokens, SOURCE)

    def _asked(self, tokens: Tokens, domain: str) -> list[View]:
        """Views of the train pictures with every question that their facts answer."""
        segments: dict[Facts, tuple[Segment, ...]] = {}
        views = []
        for row, image_id in enumerate(image_ids(Part.TRAIN)):
            facts = facts_of(image_id)
            if facts == UNTOLD:
                continue
            asked = worded(facts, domain)
            if facts not in segments:
                segments[facts] = tuple(self.encoder.segment(*pair) for pair in asked.pairs)
            views.append(_view(tokens, row, facts, segments[facts], asked.chances))
        return views

    def _tokens(self, domain: str, part: Part, *, drift_seed: int, mirrored: bool) -> Tokens:
        drift = DOMAINS[domain].drift
        redraws = drift is not None and drift.picture is not None
        return cache_tokens(
            self.folder / part,
            self.tower,
            domain if redraws else SOURCE,
            image_ids(part),
            seed=drift_seed if redraws else 0,
            mirrored=mirrored,
        )


def _view(
    tokens: Tokens,
    row: int,
    facts: Facts,
    segments: tuple[Segment, ...],
    chances: NDArray[np.float64] | None = None,
) -> View:
    shape, colour = fact_labels(facts)
    return View(
        tokens=tokens,
        row=row,
        segments=segments,
        shape=shape,
        colour=colour,
        chances=chances,
    )


def fact_labels(facts: Facts) -> tuple[int, int]:
    """(shape, colour) class numbers, `UNKNOWN` where the questions do not tell."""
    shape = SHAPES.index(facts.shape) if facts.shape else UNKNOWN
    colour = COLOURS.index(facts.colour) if facts.colour else UNKNOWN
    return shape, colour

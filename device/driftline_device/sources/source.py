"""The Source protocol: where questions come from, one observation after the other."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driftline_shared.pictures import MAX_PIXELS as MAX_PIXELS
from driftline_shared.pictures import read_image as read_image

IDLE_S = 0.1
"""Longest time for which a live source keeps its reader waiting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One question about one image: `image` is (H, W, 3) uint8 RGB.

    `truth` is the true answer if the source knows it: used for scoring only, it never leaves the
    process. `domain` names where the image comes from. `place`: "file:line", for people.
    """

    image: NDArray[np.uint8]
    question: str
    truth: str | None = None
    domain: str | None = None
    place: str


class Source(Protocol):
    """A named stream of observations; broken rows are logged and left out."""

    @property
    def name(self) -> str:
        """For people: the segment."""

    @property
    def num_broken(self) -> int:
        """Rows left out so far."""

    def __iter__(self) -> Generator[Observation | None, None, None]:
        """From the start. Closing the iterator lets go of everything it holds.

        A live source yields None where it has nothing more for now: at once after an observation,
        else after `IDLE_S` at most, so that whoever reads can stop, and never waits for a batch.
        """

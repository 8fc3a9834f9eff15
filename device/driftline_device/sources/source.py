"""The Source protocol: where questions come from, one observation after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driftline_shared.pictures import MAX_PIXELS as MAX_PIXELS
from driftline_shared.pictures import read_image as read_image


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

    def __iter__(self) -> Iterator[Observation]:
        """From the start."""

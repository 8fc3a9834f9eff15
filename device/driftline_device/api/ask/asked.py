"""What a request comes down to, whichever route it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.api.ask.shape import Shape
from driftline_device.api.errors import ApiError

ANY_NAME = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request that can be answered: `image` (H, W, 3) uint8; `max_tokens` None: the pair's own
    bound. `left_out`: words for what of the request has no effect though a client may expect one.
    `num_likely`: how many tokens are wanted beside each that is written; None: no probabilities.
    """

    image: NDArray[np.uint8]
    question: str
    max_tokens: int | None
    stream: bool
    include_usage: bool
    shape: Shape
    left_out: tuple[str, ...] = ()
    num_likely: int | None = None


def check_model(name: str | None, *, pair: str, names: Sequence[str]) -> None:
    """ApiError (404) unless `name` is the pair's or one of `names`."""
    if name is None or name == pair or ANY_NAME in names or name in names:
        return
    raise ApiError(
        404,
        f"the model {name[:100]!r} does not exist here: this device runs {pair!r} "
        "(api.model_names says which other names are answered)",
        code="model_not_found",
        param="model",
    )

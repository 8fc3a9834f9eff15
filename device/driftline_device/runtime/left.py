"""What a compressor leaves of an image: which tokens may be sent, and what was read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import UploadFrom
from driftline_shared.tokens import VisualTokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One image. `tower`: its tokens that may be chosen from. `read`: those that the language model
    was given, where a method had merged or dropped some before; else the same.
    """

    tower: VisualTokens
    read: VisualTokens | None = None

    def other_than(self, sent: VisualTokens) -> VisualTokens | None:
        """What was read, unless it is what may be `sent`."""
        read = self.read or self.tower
        return None if read is sent or _same(read, sent) else read


def _same(one: VisualTokens, other: VisualTokens) -> bool:
    return np.array_equal(one.positions, other.positions) and np.array_equal(
        one.values, other.values
    )


def sendable(
    reading: Reading, survivors: NDArray[np.int64], upload_from: UploadFrom
) -> VisualTokens:
    """The tokens of an answer; `survivors` (k,) flat grid indices, rising.

    A token that stands for several others is sent as the tower, or the method within it, made it.
    """
    tokens = reading.tower
    if upload_from == "all" or len(survivors) == tokens.num_tokens:
        return tokens
    return tokens.keep(survivors)

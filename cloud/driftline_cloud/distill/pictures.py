"""What a teacher sees with its own eyes: pictures composed from the regions that came up.

Where teacher and device share a tower, the teacher reads the device's tokens and no picture is
needed. Where they do not, and images may leave, it labels from its own tower's tokens instead: all
of them, on its own grid. No token of it then belongs to one of the device's: the terms of the loss
that watch the teacher go on reading translated tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.distill.examples import Example
from driftline_shared.codec.regions import compose
from driftline_shared.errors import Reason, SampleError
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.tokens import Grid, Sample


def teacher_view(sample: Sample, positions: NDArray[np.int64], grid: Grid) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the picture composed from the regions of `sample`.

    `positions`: (K,) of its tokens on `grid`. Raises SampleError if the sample carries no regions,
    has another grid, or its regions do not decode.
    """
    if sample.regions is None:
        raise SampleError("the sample carries no regions", reason=Reason.SAMPLE_PICTURE_INVALID)
    if sample.tokens.grid != grid:
        raise SampleError(
            f"tokens on {sample.tokens.grid}, not on {grid}", reason=Reason.SAMPLE_SHAPE
        )
    return compose(sample.regions, positions, grid)


def with_own_tokens(
    teacher: MultimodalModel, samples: Sequence[Sample], examples: Sequence[Example], grid: Grid
) -> list[Example]:
    """`examples`, made from `samples`, with all tokens of the teacher's own tower for theirs.

    `grid`: of the device's tokens. Raises SampleError as `teacher_view` does.
    """
    if not samples:
        return []
    views = [
        teacher_view(sample, example.positions, grid)
        for sample, example in zip(samples, examples, strict=True)
    ]
    tokens = teacher.encode(views)
    values = tokens.float().cpu().numpy()
    positions = np.arange(values.shape[1], dtype=np.int64)
    return [
        replace(example, values=own, positions=positions)
        for example, own in zip(examples, values, strict=True)
    ]

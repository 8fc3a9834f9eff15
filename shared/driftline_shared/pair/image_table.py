"""The part of export.json that says how a picture becomes pixels; `image_steps` does it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_FRAMES = 1_024
"""Most pictures of a clip."""

_MAX_SIDE = 8_192
_Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]

_Std = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Table(BaseModel):
    """Base of every table: unknown keys are errors, a text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Frames(Table):
    """A clip of `num` pictures, each of which the steps behind this one are done to."""

    step: Literal["frames"]
    num: Annotated[int, Field(ge=2, le=MAX_FRAMES)]


class Resize(Table):
    """To `height` x `width` by PIL's `resample` filter."""

    step: Literal["resize"]
    height: _Side
    width: _Side
    resample: Annotated[int, Field(ge=0, le=5)]


class ResizeShortest(Table):
    """The shorter edge to `edge`, the longer in proportion (rounded down)."""

    step: Literal["resize_shortest"]
    edge: _Side
    resample: Annotated[int, Field(ge=0, le=5)]


class CenterCrop(Table):
    """The middle `height` x `width`; zeros where the picture is smaller."""

    step: Literal["center_crop"]
    height: _Side
    width: _Side


class Split(Table):
    """Into views of `side` x `side`: tiles row by row, then the whole by PIL's `resample` filter.

    Sides of the picture are multiples of `side`; one that is no larger is its only view.
    """

    step: Literal["split"]
    side: _Side
    resample: Annotated[int, Field(ge=0, le=5)]


class Tiles(Table):
    """Into views of `side` x `side`: the whole first, then tiles row by row.

    Tiles are of the picture in `height` x `width`, in the middle of `rows` x `cols` tiles of zeros.
    Both by PIL's `resample` filter.
    """

    step: Literal["tiles"]
    height: _Side
    width: _Side
    rows: _Side
    cols: _Side
    side: _Side
    resample: Annotated[int, Field(ge=0, le=5)]

    @model_validator(mode="after")
    def _fits(self) -> Tiles:
        tall, wide = self.rows * self.side, self.cols * self.side
        if max(tall, wide) > _MAX_SIDE:
            raise ValueError(f"tiles make a picture of {tall} x {wide}, over {_MAX_SIDE} a side")
        if self.height > tall or self.width > wide:
            raise ValueError(f"{self.height} x {self.width} does not fit on {tall} x {wide}")
        return self


class Rescale(Table):
    """Times `factor`, in float64, rounded to float32."""

    step: Literal["rescale"]
    factor: Annotated[float, Field(gt=0.0, le=1e6)]


class Normalize(Table):
    """(x - mean) / std by channel, float32."""

    step: Literal["normalize"]
    mean: tuple[_Finite, _Finite, _Finite]
    std: tuple[_Std, _Std, _Std]


Step = Annotated[
    Frames | Resize | ResizeShortest | CenterCrop | Split | Tiles | Rescale | Normalize,
    Field(discriminator="step"),
]


class ImageTable(Table):
    """How a picture becomes pixels: `steps` in order (see `driftline_shared.pair.image_steps`).

    `height`, `width`: of the pixels that the tower reads; of one view where there are several.
    """

    height: _Side
    width: _Side
    steps: Annotated[tuple[Step, ...], Field(max_length=16)]

    @property
    def num_frames(self) -> int:
        """Pictures of a clip; 1 where single pictures are read."""
        return next((step.num for step in self.steps if isinstance(step, Frames)), 1)

    @model_validator(mode="after")
    def _leads_there(self) -> ImageTable:
        """Sizes are known before a picture is."""
        size: tuple[int, int] | None = None
        is_cut = False
        if any(isinstance(step, Frames) for step in self.steps[1:]):
            raise ValueError("the step frames is the first of all")
        if self.num_frames * self.height * self.width > _MAX_SIDE**2:
            raise ValueError(f"a clip has more than {_MAX_SIDE**2} pixels")
        for step in self.steps[self.num_frames > 1 :]:
            if isinstance(step, Rescale | Normalize):
                continue
            if is_cut:
                raise ValueError(f"the step {step.step} comes behind views")
            if self.num_frames > 1 and isinstance(step, Split | Tiles):
                raise ValueError(f"the step {step.step} is of single pictures")
            size, is_cut = _after(step, size), isinstance(step, Split | Tiles)
        if size is not None and size != (self.height, self.width):
            raise ValueError(f"the steps lead to {size}, not to {self.height} x {self.width}")
        return self


def _after(step: Step, size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width behind a step; None where the picture's own decide."""
    if isinstance(step, Resize | CenterCrop):
        return step.height, step.width
    if isinstance(step, Tiles):
        return step.side, step.side
    if isinstance(step, Split):
        if size is None or size[0] % step.side or size[1] % step.side:
            raise ValueError(f"views of {step.side} are cut from {size or 'any size'}")
        return step.side, step.side
    return None

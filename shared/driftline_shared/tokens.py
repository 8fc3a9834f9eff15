"""Visual tokens, the token space they live in, and the sample that carries them up.

Letters: V visual tokens of an image, K kept tokens, D width of the vision tower.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

MAX_TOKENS = 65_536
"""Most tokens of one image or clip: bounds every allocation made for outside bytes."""

MAX_TEXT_CHARS = 4_096
"""Most characters of a question or an answer."""

MAX_SAMPLE_BYTES = 1 << 20
"""Most bytes of one coded sample (1 MiB): tokens and regions together."""

MAX_PICTURE_SIDE = 2_048
"""Most pixels of a side of the picture that regions are parts of."""

MAX_PICTURE_PIXELS = 1 << 22
"""Most pixels of any picture that regions decode to (4 Mi): about 12 MiB of memory."""

MAX_THUMBNAIL_SIDE = 256
"""Most pixels of a side of a thumbnail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Where tokens sit; the flat index is (frame * rows + row) * cols + col."""

    frames: int = 1
    rows: int
    cols: int

    @property
    def num_tokens(self) -> int:
        return self.frames * self.rows * self.cols


@dataclass(frozen=True, kw_only=True, slots=True)
class VisualTokens:
    """Tokens of one image, before the projector.

    `values`: (K, D) float32. `positions`: (K,) int32, strictly rising flat indices into `grid`.
    """

    values: NDArray[np.float32]
    positions: NDArray[np.int32]
    grid: Grid

    @property
    def num_tokens(self) -> int:
        return int(self.values.shape[0])

    def keep(self, positions: NDArray[np.integer]) -> VisualTokens:
        """The tokens at `positions` (flat grid indices, all present), in rising order."""
        wanted = np.sort(np.asarray(positions, dtype=np.int32))
        rows = np.searchsorted(self.positions, wanted)
        return VisualTokens(values=self.values[rows], positions=wanted, grid=self.grid)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSpace:
    """What two models must share to read each other's tokens.

    `digest`: hex sha256 of vision tower weights + preprocessing. `low`, `high`: (D,) float32, the
    channel range on calibration images, from which integer codes take scale and zero point.
    `mean`: (D,) float32 and `precision`: (D, D) float32, or its diagonal (D,) for wide tokens:
    statistics of the pooled source tokens for the `ood` score (inverse of the shrunk covariance).
    """

    digest: str
    grid: Grid
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    precision: NDArray[np.float32]

    @property
    def width(self) -> int:
        return int(self.low.shape[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class CodedTokens:
    """Visual tokens as bytes: what the spool keeps and the wire carries."""

    codec: str
    num_tokens: int
    grid: Grid
    payload: bytes


class RegionLayout(StrEnum):
    """What the crops of `Regions` show.

    `mosaic`: the cells of the kept tokens side by side, in the order of their positions. `whole`:
    the whole picture, because that takes fewer bytes.
    """

    MOSAIC = "mosaic"
    WHOLE = "whole"


@dataclass(frozen=True, kw_only=True, slots=True)
class Regions:
    """The picture round the kept tokens, as JPEG: for a teacher that does not read our tokens.

    `height`, `width`: of the picture in pixels, brought to the pair's canvas. `thumbnail`: the
    whole picture, small; empty where `crops` is the whole picture.
    """

    layout: RegionLayout
    height: int
    width: int
    thumbnail: bytes = field(repr=False)
    crops: bytes = field(repr=False)

    @property
    def num_bytes(self) -> int:
        return len(self.thumbnail) + len(self.crops)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One interaction that leaves the device.

    `id`: 16 bytes. `answer`: what the device answered. `scores`: uncertainty by kind, higher =
    less sure. `priority`: what the spool keeps longest (higher = more informative); stays on the
    device. `created_unix_s`: seconds. `regions`: only where the device's owner and the cloud's
    policy both let images leave.
    """

    id: bytes
    question: str
    answer: str
    tokens: CodedTokens
    scores: dict[str, float] = field(default_factory=dict)
    priority: float = 0.0
    created_unix_s: int
    adapter_version: int
    audit: bool = False
    regions: Regions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingPolicy:
    """Thresholds, budgets and rates of UTS; set by the cloud, obeyed by the device.

    `gate_quantile`: a sample is uncertain when its score is above this quantile of the source
    calibration set. `token_share`: share of the V tokens to keep. `sample_bytes`, `day_bytes`,
    `samples_per_hour`: 0 means no limit. `max_sample_share`: most samples sent per sample seen.
    `images_may_leave`: samples carry regions, too, where the device's owner allows it.
    """

    revision: int = 0
    gate_score: str = "entropy"
    gate_quantile: float = 0.9
    token_scorer: str = "mc_dropout"
    token_share: float = 0.5
    token_codec: str = "int8"
    sample_bytes: int = 0
    day_bytes: int = 0
    samples_per_hour: float = 0.0
    audit_rate: float = 1e-3
    images_may_leave: bool = False
    max_sample_share: float = 0.3

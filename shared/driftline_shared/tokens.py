"""Visual tokens, the token space they live in, and the sample that carries them up.

Letters: V visual tokens of an image, K kept tokens, D width of the vision tower.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

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


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTransform:
    """Tables of the transform codec of a token space; made and read by `codec.transform`.

    `digest`: sha256 of all below. `mean`: (D,) float32. `basis`: (D, D) int16, rows by falling
    variance; a token is mean + scale * (numbers @ basis), `scale` float64. `unit`: float64, the
    finest step of the numbers, a power of two. `log_scales`: (L, D) int16, by level of the pyramid
    and row: eighths of octaves above `unit`. `frequencies`: (S, N, E, M) uint16, by predicted
    scale, neighbours, earlier value and magnitude, each alphabet summing to 2^15.
    """

    digest: bytes
    mean: NDArray[np.float32]
    basis: NDArray[np.int16]
    scale: float
    unit: float
    log_scales: NDArray[np.int16]
    frequencies: NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSpace:
    """What two models must share to read each other's tokens.

    `digest`: hex sha256 of vision tower weights + preprocessing. `low`, `high`: (D,) float32, the
    channel range on calibration images, from which integer codes take scale and zero point.
    `mean`: (D,) float32 and `precision`: (D, D) float32, or its diagonal (D,) for wide tokens:
    statistics of the pooled source tokens for the `ood` score (inverse of the shrunk covariance).
    `transform`: tables of the `klt` codecs, which are no part of the digest; None where the pair
    has none.
    """

    digest: str
    grid: Grid
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    precision: NDArray[np.float32]
    transform: TokenTransform | None = None

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
    policy both let images leave. `owner_answer`: what the device's owner says is right, where they
    let labels leave; empty: nothing. `wants_answer`: the teacher's answer is asked for, and soon.
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
    owner_answer: str = ""
    wants_answer: bool = False


def _setting(default: T, meaning: str) -> T:
    return field(default=default, metadata={"description": meaning})


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingPolicy:
    """Thresholds, budgets and rates of UTS; set by the cloud, obeyed by the device.

    `bounds.check_policy` says what each may be; docs/operations.md lists the meanings.
    """

    revision: int = _setting(0, "number of the policy; the cloud counts it itself")
    gate_score: str = _setting(
        "entropy",
        "which uncertainty the gate looks at: `entropy`, `margin`, `mutual_information`, `ood`, "
        "`p_ik`",
    )
    gate_quantile: float = _setting(
        0.9, "uncertain means above this quantile of the pair's source calibration set"
    )
    token_scorer: str = _setting(
        "question_attention",
        "`mc_dropout`, `vocabulary_entropy`, `answer_attribution`, `question_attention`, `random`, "
        "`magnitude`",
    )
    token_share: float = _setting(0.5, "share of an image's tokens that leaves")
    token_spread: float = _setting(
        0.0,
        "share of the leaving tokens that is drawn evenly over the image, not by score",
    )
    token_mass: float = _setting(
        0.0,
        "as few tokens leave as hold this share of the squared scores, `token_share` at most; 0: "
        "always `token_share`",
    )
    token_floor: float = _setting(
        0.0, "share of an image's tokens that leaves at least, where `token_mass` chooses"
    )
    token_codec: str = _setting(
        "auto",
        "`auto` (half a bit a channel for a pair with tables, `int8` for another), `int8`, `int4`, "
        "or, for a pair with tables, `klt64`, `klt96`, `klt128`, `klt192`, `klt224`, `klt256` "
        "(bits a token)",
    )
    sample_bytes: int = _setting(0, "most bytes of one coded sample; 0: no limit")
    day_bytes: int = _setting(0, "most uplink bytes in any 24 hours; 0: no limit")
    samples_per_hour: float = _setting(
        0.0, "0: no limit; after a pause a quarter of an hour's worth goes at once, one at least"
    )
    audit_rate: float = _setting(1e-3, "share of confident answers that are sent all the same")
    images_may_leave: bool = _setting(
        False,
        "ask for parts of images beside the tokens, see [images](#images); they leave only where "
        "the device's owner lets them, and only for a pair whose two models do not share a tower",
    )
    max_sample_share: float = _setting(0.3, "most samples sent per sample seen")
    repeat_distance: float = _setting(
        0.1,
        "a picture nearer than this (0..1) to one of the last 60 sent, under the same question and "
        "within 24 hours, is not sent; 0: sent like others",
    )

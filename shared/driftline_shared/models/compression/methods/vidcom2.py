"""VidCom2: more tokens for frames unlike the clip, and of each frame the tokens unlike the rest.

Liu et al., "Video Compression Commander" (arXiv 2505.14454), section 3, in the form of the public
code, which made the published numbers. T frames of M tokens, projected, before the language model:

    z          the tokens on the half of the channels that varies least, each of length 1
    g, c_t     the mean of all z, and of the z of frame t
    K(z, c)    = sum over a in {1/8, 1/4, 1/2, 1, 2} of exp(-|z - c|^2 / 2a)
    u_t        = -mean over frame t of K(z, g)                  how unlike the clip a frame is
    pi         = softmax((u - max u) / temperature)
    rho_t      = min(1, keep (1 + pi_t - mean pi))              share of the frame's tokens
    k_t        = max(1, round(rho_t M))                         those of least K(z, g) + K(z, c_t)

What the paper describes instead, the cosine to the two centres, is `similarity = "cosine"`.

A picture is a clip of one frame: pi - mean pi is 0, so rho is `keep`, both centres are one, and
what stays are the tokens least like the picture's mean. The paper says nothing of pictures.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from driftline_shared.models.compression.compressor import (
    Layers,
    Options,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.arrays import (
    Array,
    added,
    array_namespace,
    counted,
    device,
    filled,
    plain,
    ranked,
    softmax,
    unit,
)
from driftline_shared.models.compression.rows.rows import TokenRow

_SCALES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)

_ROUNDING = 1e-5
"""Scores that are as near are alike: tokens that are the same must not be told apart by it."""


class VidCom2Options(Options):
    """`keep`: r, the share of visual tokens that stays, by default the code's and the paper's 0.25.
    The total is about keep T M.

    It is off by T at most for rounding and for the one token that a frame is always left, and
    lower by up to (2 keep - 1) M where a frame would get more tokens than it has. `exact` repairs
    it: frames furthest above their share give one token at a time, or those furthest below get
    one, the earlier frame first, until the total is round(keep T M), T at least.

    `channels`: the share of channels that are compared. `temperature`: over how few frames tokens
    are drawn together.
    """

    keep: float = Field(default=0.25, gt=0.0, le=1.0)
    similarity: Literal["gaussian", "cosine"] = "gaussian"
    channels: float = Field(default=0.5, gt=0.0, le=1.0)
    temperature: float = Field(default=0.01, gt=0.0)
    exact: bool = False


class VidCom2Compressor(TokenCompressor):
    """Drops visual tokens of the row of embeddings; separators and text stay where they are."""

    options: VidCom2Options
    tolerance: ClassVar[float] = 0.25

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """Keep the tokens that say most, more of them in frames that say more."""
        places = row.visual
        if self.options.keep >= 1.0 or not len(places):
            return row
        xp = array_namespace(row.states)
        frame = xp.unique_inverse(row.frame).inverse_indices
        sizes = xp.unique_counts(row.frame).counts
        shared, own = _similarities(plain(row.states[places]), frame, self.options)
        counts = _counts(shared, frame, sizes.tolist(), self.options)
        wanted = xp.asarray(counts, device=device(frame))
        return row.keep_visual(_lowest(shared + own, frame, sizes, wanted))

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """keep T M visual tokens in every layer, T at least: exact with `exact`, else within the
        bounds that `VidCom2Options` gives.
        """
        least = min(self.facts.grid.frames, num_visual)
        return [max(least, self.num_kept(num_visual))] * self.facts.num_layers

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """2 T M d for variances; square distances to two centres on half of the channels, three
        operations a number: 3 T M d.
        """
        return 5 * num_visual * self.facts.width


def _similarities(x: Array, frame: Array, options: VidCom2Options) -> tuple[Array, Array]:
    """(k,) each: of tokens x (k, D) to the clip's mean and to the mean of their `frame` (k,)."""
    num = max(1, int(options.channels * x.shape[1]))
    xp = array_namespace(x)
    quiet = xp.argsort(xp.var(x, axis=0), stable=True)[:num]
    z = unit(x[:, quiet])
    frames = int(xp.max(frame)) + 1
    sums = added(filled((frames, num), 0.0, z), frame, z)
    means = sums / added(filled((frames, 1), 0.0, z), frame, filled((len(z), 1), 1.0, z))
    centre = xp.mean(z, axis=0)

    def square(v: Array) -> Array:
        return xp.sum(v * v, axis=-1)

    # Dot products in place of differences: no (k, D) array of them is ever held.
    to_clip = _alike(z @ centre, square(z), square(centre), options)
    dots = xp.sum(z * means[frame], axis=-1)
    to_frame = _alike(dots, square(z), square(means)[frame], options)
    return to_clip, to_frame


def _alike(dots: Array, own: Array, centre: Array, options: VidCom2Options) -> Array:
    """Similarity from z.c (k,), |z|^2 (k,) and |c|^2: (k,) or one."""
    xp = array_namespace(dots)
    if options.similarity == "cosine":
        return dots / xp.clip(xp.sqrt(own * centre), 1e-12, None)
    squared = xp.clip(own + centre - 2 * dots, 0.0, None)
    return sum(xp.exp(-squared / (2 * scale)) for scale in _SCALES)


def _counts(shared: Array, frame: Array, sizes: list[int], options: VidCom2Options) -> list[int]:
    """How many tokens each frame keeps, by the frames' likeness to the clip."""
    xp = array_namespace(shared)
    given = xp.asarray(sizes, dtype=shared.dtype, device=device(shared))
    unlike = -added(filled(len(sizes), 0.0, shared), frame, shared) / given
    weight = softmax((unlike - xp.max(unlike)) / options.temperature)
    share = xp.clip(options.keep * (1 + weight - xp.mean(weight)), None, 1.0)
    # Where one frame has all the weight the others want the same, often n and a half: the last
    # bits, which differ from machine to machine, are not to decide.
    wanted = [round(count, 4) for count in (share * given).tolist()]
    counts = [max(1, round(count)) for count in wanted]
    return _repaired(counts, wanted, sizes, options.keep) if options.exact else counts


def _repaired(counts: list[int], wanted: list[float], sizes: list[int], keep: float) -> list[int]:
    """`counts` with a total of round(keep T M), but one a frame at least."""
    counts = list(counts)
    target = max(len(counts), kept_count(keep, sum(sizes)))

    def above(t: int) -> float:
        return counts[t] - wanted[t]

    while (missing := target - sum(counts)) != 0:
        if missing > 0:
            counts[min((t for t, size in enumerate(sizes) if counts[t] < size), key=above)] += 1
        else:
            counts[max((t for t, count in enumerate(counts) if count > 1), key=above)] -= 1
    return counts


def _lowest(scores: Array, frame: Array, sizes: Array, counts: Array) -> Array:
    """Rising indices of the `counts` (T,) lowest `scores` (k,) of each frame."""
    xp = array_namespace(scores)
    order = xp.argsort(ranked(scores, _ROUNDING), stable=True)
    order = order[xp.argsort(frame[order], stable=True)]
    home = frame[order]
    place = counted(len(order), order) - (xp.cumulative_sum(sizes) - sizes)[home]
    return xp.sort(order[place < counts[home]])

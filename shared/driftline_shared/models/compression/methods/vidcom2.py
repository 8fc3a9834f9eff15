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

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from driftline_shared.models.compression.compressor import (
    Layers,
    Options,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.rows import TokenRow

_SCALES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)


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
        _, frame, sizes = row.frame.unique(return_inverse=True, return_counts=True)
        shared, own = _similarities(row.states[places].detach().float(), frame, self.options)
        counts = _counts(shared, frame, sizes.tolist(), self.options)
        return row.keep_visual(_lowest(shared + own, frame, sizes, torch.tensor(counts)))

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


def _similarities(x: Tensor, frame: Tensor, options: VidCom2Options) -> tuple[Tensor, Tensor]:
    """(k,) each: of tokens x (k, D) to the clip's mean and to the mean of their `frame` (k,)."""
    num = max(1, int(options.channels * x.shape[1]))
    quiet = x.var(dim=0, correction=0).topk(num, largest=False).indices
    z = torch.nn.functional.normalize(x[:, quiet], dim=-1)
    frames = int(frame.max()) + 1
    sums = z.new_zeros(frames, num).index_add(0, frame, z)
    sizes = frame.bincount(minlength=frames).to(z)
    means = sums / sizes[:, None]
    centre = z.mean(dim=0)
    # Dot products in place of differences: no (k, D) array of them is ever held.
    to_clip = _alike(z @ centre, z.square().sum(-1), centre.square().sum(), options)
    to_frame = _alike(
        (z * means[frame]).sum(-1), z.square().sum(-1), means.square().sum(-1)[frame], options
    )
    return to_clip, to_frame


def _alike(dots: Tensor, own: Tensor, centre: Tensor, options: VidCom2Options) -> Tensor:
    """Similarity from z.c (k,), |z|^2 (k,) and |c|^2: (k,) or one."""
    if options.similarity == "cosine":
        return dots / (own * centre).sqrt().clamp_min(1e-12)
    squared = (own + centre - 2 * dots).clamp_min(0)
    return torch.stack([(-squared / (2 * scale)).exp() for scale in _SCALES]).sum(dim=0)


def _counts(shared: Tensor, frame: Tensor, sizes: list[int], options: VidCom2Options) -> list[int]:
    """How many tokens each frame keeps, by the frames' likeness to the clip."""
    given = torch.tensor(sizes, device=shared.device)
    unlike = -shared.new_zeros(len(sizes)).index_add(0, frame, shared) / given
    weight = ((unlike - unlike.max()) / options.temperature).softmax(dim=0)
    share = (options.keep * (1 + weight - weight.mean())).clamp_max(1.0)
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


def _lowest(scores: Tensor, frame: Tensor, sizes: Tensor, counts: Tensor) -> Tensor:
    """Rising indices of the `counts` (T,) lowest `scores` (k,) of each frame."""
    order = scores.argsort(stable=True)
    order = order[frame[order].argsort(stable=True)]
    ranked = frame[order]
    rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[ranked]
    chosen: Any = order[rank < counts.to(order.device)[ranked]].sort().values
    return chosen

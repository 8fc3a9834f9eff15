"""Rotary embedding of a language model as tables, and of one with positions on several axes.

There (M-RoPE, arXiv 2409.12191) each channel of a head turns by the position on one of three axes:
frames, rows, columns. So a pass makes a rotary table of its own, with a row for each place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.models.export.graph import Graph

Table = NDArray[np.float32]


def rotary_table(net: Any, rows: int) -> tuple[Table, Table]:
    """Cosine and sine (rows, d / 2) of positions 0..rows-1, as `net` itself computes them."""
    cos, sin = _turned(net, torch.arange(rows)[None])
    return cos[0], sin[0]


def channel_axes(net: Any) -> NDArray[np.int64] | None:
    """(d / 2,) which axis of the positions turns each channel of a head, as `net` itself does it;
    None where there is one axis.
    """
    if getattr(net.rotary_emb, "mrope_section", None) is None:
        return None
    # Row b stands at 1 on axis b alone, so only the channels of that axis have a sine.
    _, sin = _turned(net, torch.eye(3, dtype=torch.long)[:, :, None])
    return np.abs(sin[:, 0]).argmax(axis=0)


def add_pass_table(
    graph: Graph, cos: str, sin: str, positions: str, axes: NDArray[np.int64]
) -> tuple[str, str, str]:
    """Cosine and sine (B * T, d / 2) of the places of a pass at `positions` (3, B, T), and their
    rows (B, T) in them; `cos`, `sin` (rows, d / 2) are of single positions.
    """
    by_place = graph.node("Transpose", [positions], perm=[1, 2, 0])
    shape = graph.node("Shape", [by_place], start=0, end=2)
    turned = graph.node("Gather", [by_place, graph.constant(axes, "rotary.axes")], axis=2)
    turned = graph.node("Reshape", [turned, graph.ints(-1, len(axes))])
    cos, sin = (graph.node("GatherElements", [table, turned], axis=0) for table in (cos, sin))
    none, one = (graph.node("Squeeze", [graph.ints(number)]) for number in (0, 1))
    num_places = graph.node("Squeeze", [graph.node("Shape", [turned], start=0, end=1)])
    rows = graph.node("Range", [none, num_places, one])
    return cos, sin, graph.node("Reshape", [rows, shape])


def _turned(net: Any, positions: torch.Tensor) -> tuple[Table, Table]:
    """Cosine and sine (B, T, d / 2) at these positions, of which both halves of a head are one."""
    with torch.no_grad():
        found = net.rotary_emb(torch.zeros(1, dtype=torch.float32), positions)
    half = found[0].shape[-1] // 2
    cos, sin = (one[..., :half].float().cpu().numpy() for one in found)
    return cos, sin

"""Exact sparse down: the weights that changed, as they are, with no quantization.

    bytes = where (a bitmap of ceil(n / 8), or gaps, the shorter) + 4 k

for each tensor with k of n weights changed, before zstd; the product's `exact` form. Sending only
what changed, as it is, is what AMS does with its chosen coordinates (Khani et al., ICCV 2021).
"""

from __future__ import annotations

from driftline_cloud.release.delta import no_residual
from driftline_cloud.release.packer import pack_exact
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.shipping import Candidate, Shipped


def pack_exact_sparse(candidate: Candidate) -> Shipped:
    """Bit for bit the candidate; nothing is owed afterwards."""
    packed = pack_exact(candidate.base, candidate.distilled.adapter)
    return Shipped(
        adapter=packed.adapter,
        residual=no_residual(candidate.base),
        num_bytes=candidate.cost(packed),
        label=packed.label,
    )


EXACT_SPARSE = Baseline(
    name="exact-sparse-down",
    kind=Kind.DOWNLINK,
    source="AMS, Khani et al., ICCV 2021",
    rule="where + 4 bytes for each weight that changed",
    pack=pack_exact_sparse,
)

"""Random tokens: which of a sample's tokens leave is drawn uniformly."""

from __future__ import annotations

from dataclasses import replace

from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_shared.tokens import SamplingPolicy


def drawn(policy: SamplingPolicy) -> SamplingPolicy:
    """`policy` with the scorer that knows nothing."""
    return replace(policy, token_scorer="random")


RANDOM_TOKENS = Baseline(
    name="random-tokens",
    kind=Kind.UPLINK,
    source="uniform drop of patches, as in MAE (He et al., arXiv 2111.06377)",
    rule="u_v ~ U(0, 1); the K largest leave",
    policy=drawn,
)

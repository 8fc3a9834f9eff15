"""Magnitude tokens: those of the largest norm leave.

    u_v = |z_v|^2

The effective rule of the public code that token sampling began with: dropout on a fixed feature has
the variance p / (1 - p) z^2 in each channel, so its sum ranks tokens by their energy.
"""

from __future__ import annotations

from dataclasses import replace

from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_shared.tokens import SamplingPolicy


def largest(policy: SamplingPolicy) -> SamplingPolicy:
    """`policy` with tokens ranked by their squared norm."""
    return replace(policy, token_scorer="magnitude")


MAGNITUDE_TOKENS = Baseline(
    name="magnitude-tokens",
    kind=Kind.UPLINK,
    source="effective rule of the public code: dropout variance of a fixed feature",
    rule="u_v = |z_v|^2; the K largest leave",
    policy=largest,
)

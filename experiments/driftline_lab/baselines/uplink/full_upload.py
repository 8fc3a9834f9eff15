"""Full upload: every token of a sample leaves.

    K = V

The samples are chosen as the product chooses them; only the share of tokens differs.
"""

from __future__ import annotations

from dataclasses import replace

from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_shared.tokens import SamplingPolicy


def all_tokens(policy: SamplingPolicy) -> SamplingPolicy:
    """`policy` with every token kept."""
    return replace(policy, token_share=1.0)


FULL_UPLOAD = Baseline(
    name="full-upload",
    kind=Kind.UPLINK,
    source="the usual cloud-edge loop; no choice of tokens",
    rule="K = V tokens of each sample",
    policy=all_tokens,
)

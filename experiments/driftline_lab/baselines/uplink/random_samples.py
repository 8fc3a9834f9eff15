"""Random samples: drawn uniformly, at the product's share.

    P(sent) = s        whatever the answer        s = max_sample_share

In the product's own terms: a gate at quantile 1, which no answer passes, and audits at rate s. The
hard limit sent <= s x seen stays, so a little less than s leaves.
"""

from __future__ import annotations

from dataclasses import replace

from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_shared.tokens import SamplingPolicy


def uniform(policy: SamplingPolicy) -> SamplingPolicy:
    """`policy` with its share of samples drawn by lot."""
    return replace(policy, gate_quantile=1.0, audit_rate=policy.max_sample_share)


RANDOM_SAMPLES = Baseline(
    name="random-samples",
    kind=Kind.UPLINK,
    source="uniform sampling, the usual control of active learning (Settles, 2009)",
    rule="P(sent) = share, whatever the answer",
    policy=uniform,
)

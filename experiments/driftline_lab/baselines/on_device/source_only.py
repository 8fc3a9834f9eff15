"""Source only: version 0 answers for ever; nothing is sent, nothing is learnt."""

from __future__ import annotations

from driftline_lab.baselines.baseline import Baseline, Kind

SOURCE_ONLY = Baseline(
    name="source-only",
    kind=Kind.ON_DEVICE,
    source="no adaptation",
    rule="C_v = C_0",
    sends=False,
)

"""The reference row: the product as it is, AKD, UTS and DWC.

docs/algorithms.md; the method of the paper that Driftline grew from, with our settings.
"""

from __future__ import annotations

from driftline_lab.baselines.baseline import Baseline, Kind

REFERENCE = Baseline(
    name="driftline",
    kind=Kind.REFERENCE,
    source="this repository, docs/algorithms.md",
    rule="UTS up, AKD in the cloud, DWC down",
)

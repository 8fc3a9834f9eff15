"""Every domain that can be streamed: those that recipes know, and the corruptions they do not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from driftline_lab.data.domains import DOMAINS, Domain
from driftline_lab.drift.corruptions import CORRUPTIONS

ALL_DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {**DOMAINS, **{name: Domain(name=name, drift=drift) for name, drift in CORRUPTIONS.items()}}
)
"""By name, the source first; recipes read `DOMAINS`, and so never see a corruption."""

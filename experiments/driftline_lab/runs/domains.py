"""Domains in the order people expect: the source, then as the stream met them.

Canonical JSON has them by name, whatever order they came in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from driftline_lab.data.domains import SOURCE
from driftline_lab.runs.run import Metrics, TimelineRow


def domains_met(rows: Iterable[TimelineRow], wanted: Collection[str]) -> list[str]:
    """Those of `wanted` as they come in `rows`, which are read until all have come."""
    missing, met = set(wanted), []
    for row in rows:
        if not missing:
            break
        if (domain := row.domain or row.segment) in missing:
            missing.remove(domain)
            met.append(domain)
    return met


def in_order(metrics: Metrics, domains: Sequence[str]) -> Metrics:
    """`metrics` with the accuracy of the source first, then of `domains`, then of all others."""
    names = dict.fromkeys([SOURCE, *domains, *metrics.accuracy])
    accuracy = {name: metrics.accuracy[name] for name in names if name in metrics.accuracy}
    return replace(metrics, accuracy=accuracy)

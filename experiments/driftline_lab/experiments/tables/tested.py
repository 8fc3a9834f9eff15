"""Which test sets a segment of the stream is judged by.

A world may test one drift in parts: a stream of `lineart` is tested on `lineart-seen` and
`lineart-unseen`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def sets_of(domain: str, tests: Iterable[str]) -> list[str]:
    """Those of `tests` that `domain` is judged by: its own, or else its parts, by name."""
    names = sorted(tests)
    return [domain] if domain in names else [n for n in names if n.startswith(f"{domain}-")]


def by_domain(accuracy: Mapping[str, float], domains: Iterable[str]) -> dict[str, float]:
    """Mean accuracy over the test sets of each of `domains`; one that has none is left out."""
    found = {}
    for domain in dict.fromkeys(domains):
        if names := sets_of(domain, accuracy):
            found[domain] = float(np.mean([accuracy[name] for name in names]))
    return found

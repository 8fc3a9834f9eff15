"""Density peaks by plain loops in float64, as SparseVLM's public `cluster_and_merge` steps: the
slow twin of `clustering.density_peaks`.
"""

from __future__ import annotations

import math


def density_peaks_by_loops(
    points: list[list[float]], num: int, near: int | None = None
) -> tuple[list[int], list[int]]:
    """Centres, best first, and the cluster of each point; densities of the `near` nearest."""
    near = num if near is None else near
    count, width = len(points), len(points[0])
    distance = [
        [math.dist(points[i], points[j]) / math.sqrt(width) for j in range(count)]
        for i in range(count)
    ]
    density = []
    for i in range(count):
        # A point is its own nearest neighbour; a single cluster would then know no densities.
        nearest = sorted(distance[i][j] for j in range(count) if j != i or near > 1)[:near]
        density.append(math.exp(-sum(d * d for d in nearest) / max(1, len(nearest))))
    farthest = max(max(row) for row in distance)
    score = []
    for i in range(count):
        denser = [
            distance[i][j]
            for j in range(count)
            if density[j] > density[i] or (density[j] == density[i] and j < i)
        ]
        score.append(density[i] * (min(denser) if denser else farthest))
    centres = sorted(range(count), key=lambda i: (-score[i], i))[:num]
    member = []
    for i in range(count):
        if i in centres:
            member.append(centres.index(i))
        else:
            member.append(min(range(num), key=lambda c: distance[i][centres[c]]))
    return centres, member

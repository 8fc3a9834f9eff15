"""Whether devices fall into groups, and which: pure.

A device is the mean of its samples' features. Devices are joined by Ward's method (J. Am. Stat.
Assoc. 58, 1963) into 2..K clusters; one of too few devices goes to the nearest that has enough, and
of all K the one with the highest mean silhouette S is taken (Rousseeuw, J. Comput. Appl. Math. 20,
1987). Any cloud of points has some best clustering, so S is held against what the same procedure
finds when the samples are dealt to the devices anew, each as many as before:

    p = (1 + #{b: S_b >= S}) / (1 + B)        B = `NUM_SHUFFLES`

a permutation test, exact for every number of samples (Phipson & Smyth, Stat. Appl. Genet. Mol. 9,
2010). Devices that differ by chance are told apart with probability `error_rate` at most; that they
differ so much that it matters is the silhouette's own bound, and whether it pays is the gate's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

from driftline_cloud.grouping.settings import GroupingSettings

NUM_SHUFFLES = 199
MOST_DEVICES = 200
"""That are clustered, those with most samples; any further one goes to the nearest group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Groups of devices, the largest first; one group, or none, where devices do not differ.

    `groups`: ids, each sorted. `silhouette`: of the best clustering, -1..1; `p`: how often chance
    gives one as clear. `reason`: why there is one group, in words; empty where there are more.
    """

    groups: tuple[tuple[str, ...], ...] = ()
    silhouette: float = 0.0
    p: float = 1.0
    reason: str = ""


def find_groups(
    rows: NDArray[np.float64],
    devices: Sequence[str],
    settings: GroupingSettings,
    *,
    most: int,
    seed: int,
) -> Found:
    """At most `most` groups of the devices that sent `rows` (N, R), the n-th by `devices[n]`."""
    counts = Counter(devices)
    known = sorted(one for one, count in counts.items() if count >= settings.least_samples)
    if most < 2 or len(known) < 2 * settings.least_devices:
        return Found(
            reason=f"{len(known)} devices sent {settings.least_samples} samples or more, "
            f"{2 * settings.least_devices} would make two groups"
        )
    clustered = sorted(sorted(known, key=lambda one: (-counts[one], one))[:MOST_DEVICES])
    place = {one: number for number, one in enumerate(clustered)}
    mine = np.array([device in place for device in devices])
    owner = np.array([place[device] for device in devices if device in place])
    own = rows[mine]
    best, labels = _clustered(_means(own, owner), settings.least_devices, most)
    if labels is None:
        return Found(
            groups=(tuple(known),),
            reason=f"no two groups of {settings.least_devices} devices or more",
        )
    rng = np.random.default_rng([seed, 29])
    as_clear = sum(
        _clustered(_means(own, rng.permutation(owner)), settings.least_devices, most)[0] >= best
        for _ in range(NUM_SHUFFLES)
    )
    p = (1 + as_clear) / (1 + NUM_SHUFFLES)
    reason = ""
    if p > settings.error_rate:
        reason = f"devices differ no more than by chance (p = {p:.3f})"
    elif best < settings.least_silhouette:
        reason = (
            f"groups are too near each other (silhouette {best:.2f}, "
            f"{settings.least_silhouette:.2f} is asked)"
        )
    groups = ((*known,),) if reason else _named(own, owner, labels, clustered, rows, devices, known)
    return Found(groups=groups, silhouette=best, p=p, reason=reason)


def _means(rows: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """(M, R): each owner's mean row."""
    counts = np.bincount(owner)
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, owner, rows)
    return sums / counts[:, None]


def _clustered(
    points: NDArray[np.float64], least: int, most: int
) -> tuple[float, NDArray[np.int64] | None]:
    """The highest mean silhouette of 2..`most` clusters of at least `least` points, and the cluster
    of each point; (-1, None) where there are none.
    """
    tree, distances = linkage(points, "ward"), cdist(points, points)
    best: tuple[float, NDArray[np.int64] | None] = (-1.0, None)
    # One far point takes a cluster of its own: more cuts than groups are looked at.
    for num in range(2, min(2 * most + 1, len(points)) + 1):
        labels = _merged(points, fcluster(tree, num, "maxclust"), least)
        if not 2 <= len(np.unique(labels)) <= most:
            continue
        score = _silhouette(distances, labels)
        if score > best[0]:
            best = score, labels
    return best


def _merged(
    points: NDArray[np.float64], labels: NDArray[np.int64], least: int
) -> NDArray[np.int64]:
    """Labels in which points of clusters that are too small are with the nearest large one."""
    counts = Counter(labels.tolist())
    large = sorted(label for label, count in counts.items() if count >= least)
    if not large:
        return np.zeros(len(points), np.int64)
    centres = np.stack([points[labels == label].mean(axis=0) for label in large])
    nearest = cdist(points, centres).argmin(axis=1)
    kept = np.array([label in large for label in labels.tolist()])
    own = np.searchsorted(large, labels)
    return np.where(kept, own, nearest).astype(np.int64)


def _silhouette(distances: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean of (b - a) / max(a, b) over points: a to the own cluster's others, b to the nearest."""
    names = np.unique(labels)
    sums = np.stack([distances[:, labels == name].sum(axis=1) for name in names], axis=1)
    sizes = np.array([(labels == name).sum() for name in names])
    own = np.searchsorted(names, labels)
    every = np.arange(len(labels))
    inner = sums[every, own] / np.maximum(sizes[own] - 1, 1)
    others = sums / sizes
    others[every, own] = np.inf
    outer = others.min(axis=1)
    widest = np.maximum(inner, outer)
    # A cluster of one counts for nothing, and so do points that are all alike.
    scores = (outer - inner) / np.maximum(widest, 1e-12)
    return float(np.where(sizes[own] > 1, scores, 0.0).mean())


def _named(
    own: NDArray[np.float64],
    owner: NDArray[np.int64],
    labels: NDArray[np.int64],
    clustered: Sequence[str],
    rows: NDArray[np.float64],
    devices: Sequence[str],
    known: Sequence[str],
) -> tuple[tuple[str, ...], ...]:
    """Ids by group; devices that were not clustered are with the nearest one."""
    points = _means(own, owner)
    names = np.unique(labels)
    centres = np.stack([points[labels == name].mean(axis=0) for name in names])
    groups: list[list[str]] = [[] for _ in names]
    of: Mapping[str, int] = {
        one: int(np.searchsorted(names, label))
        for one, label in zip(clustered, labels.tolist(), strict=True)
    }
    left = [one for one in known if one not in of]
    if left:
        place = {one: number for number, one in enumerate(left)}
        mine = np.array([device in place for device in devices])
        of_left = np.array([place[device] for device in devices if device in place])
        nearest = cdist(_means(rows[mine], of_left), centres).argmin(axis=1)
        of = {**of, **dict(zip(left, nearest.tolist(), strict=True))}
    for one in known:
        groups[of[one]].append(one)
    return tuple(sorted((tuple(group) for group in groups), key=lambda one: (-len(one), one)))

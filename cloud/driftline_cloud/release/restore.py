"""An earlier version released again: the same bits under a new number.

Devices, digests and chains of updates know only one direction. So nothing is taken back: version
N + 1 has the bits of version K. From N it is an exact update, from K one that changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import pack_exact
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.p_ik.head import head_from_bytes, head_to_bytes
from driftline_shared.update import Manifest

_TRIES = 5
"""Releases of rounds that may come between."""


def publish_restored(
    registry: ReleaseRegistry, line: str, version: int, *, round_id: str, created_unix_s: int
) -> Manifest:
    """Make the bits of `version` the next version of `line`; again under the same `round_id` gives
    the version it made.

    What earlier coding lost (E) is that of `version` while it is kept, else nothing. Raises
    UpdateError (base_mismatch) if the line moves on all the time.
    """
    for left in reversed(range(_TRIES)):
        done = registry.find_round(line, round_id)
        if done is not None:
            return done
        newest = registry.newest_version(line)
        target = registry.canonical(line, version)
        packed = replace(
            pack_exact(registry.canonical(line, newest), target),
            label=f"version {version} again",
            residual=registry.residual_of(line, version),
        )
        lineage = _lineage(registry, line, version, newest + 1)
        try:
            return registry.publish(
                line, packed, replace(lineage, round_id=round_id, created_unix_s=created_unix_s)
            )
        except UpdateError as error:
            if error.reason is not Reason.BASE_MISMATCH or not left:
                raise
    raise AssertionError("not reached")


def _lineage(registry: ReleaseRegistry, line: str, version: int, number: int) -> Lineage:
    """Samples, gate and P(IK) head of `version`, the head under its new number."""
    if version == 0:
        return Lineage(round_id="", num_samples=0, created_unix_s=0)
    manifest = registry.manifest(line, version)
    head = manifest.ik_head
    return Lineage(
        round_id=manifest.round_id,
        num_samples=manifest.num_samples,
        created_unix_s=manifest.created_unix_s,
        gate=manifest.gate,
        ik_head=head_to_bytes(replace(head_from_bytes(head), version=number)) if head else b"",
    )
